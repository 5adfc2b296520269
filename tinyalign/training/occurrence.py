"""How often a property's occasions come up in stories, and how they end, by the text checkers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tinyalign.properties import all_properties
from tinyalign.stories.annotating import annotate


@dataclass(frozen=True)
class Occurrence:
    """Of `stories` stories, how many settle the property either way, and how many leave it open.

    `not_applicable` stories have no occasion for it at all.
    """

    property_id: str
    property_name: str
    stories: int
    satisfied: int
    violated: int
    unknown: int
    not_applicable: int

    def to_json(self) -> dict[str, Any]:
        """The counts."""
        return asdict(self)


def occurrences(texts: Sequence[str]) -> list[Occurrence]:
    """One row for each of P1 to P13, over `texts`; a text checker may err, so these are its verdicts."""
    stories = [annotate(text) for text in texts]
    rows = []
    for prop in all_properties():
        counts = Counter(prop.outcome(story).verdict for story in stories)
        rows.append(
            Occurrence(
                property_id=prop.id,
                property_name=prop.name,
                stories=len(stories),
                satisfied=counts["satisfied"],
                violated=counts["violated"],
                unknown=counts["unknown"],
                not_applicable=len(stories) - sum(counts[v] for v in ("satisfied", "violated", "unknown")),
            )
        )
    return rows
