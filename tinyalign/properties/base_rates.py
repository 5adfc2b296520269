"""How often antecedents and outcomes occur in real stories: `python -m tinyalign.properties.base_rates`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyalign.common.errors import InputError
from tinyalign.common.files import sha256_file, write_json
from tinyalign.common.resources import data_folder, shared_folder
from tinyalign.properties.definition import Property
from tinyalign.properties.registry import all_properties
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.statistics.interval import Interval
from tinyalign.stories.annotating import annotate

DECIDED = ("satisfied", "violated", "unknown")


@dataclass(frozen=True)
class BaseRate:
    """How often one property's antecedent occurs in a set of stories, and what then happens.

    `antecedent` is the share of stories with an occasion; `outcomes` gives the share of each verdict among
    those (95% Clopper-Pearson intervals; None where there is no such story); `counts` are numbers of stories.
    """

    property_id: str
    property_name: str
    stories: int
    counts: dict[str, int]
    antecedent: Interval
    outcomes: dict[str, Interval | None]

    def __post_init__(self) -> None:
        if set(self.counts) != set(DECIDED) or sum(self.counts.values()) > self.stories:
            raise InputError(f"Counts are given for {', '.join(DECIDED)} and add up to at most the stories.")

    def to_json(self) -> dict[str, object]:
        """The row as JSON values."""
        return {
            "id": self.property_id,
            "name": self.property_name,
            "stories": self.stories,
            "counts": dict(self.counts),
            "antecedent": self.antecedent.to_json(),
            "outcomes": {name: one and one.to_json() for name, one in self.outcomes.items()},
        }


def read_texts(path: str | Path) -> Iterator[str]:
    """The `text` of every line of a JSON-lines file; raises `InputError` with the line where it fails."""
    with Path(path).open(encoding="utf-8") as opened:
        for number, line in enumerate(opened, start=1):
            try:
                yield json.loads(line)["text"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise InputError(f"{path}, line {number}: expected a JSON object with 'text'.") from error


def base_rates(texts: Iterable[str], props: Sequence[Property]) -> tuple[BaseRate, ...]:
    """Annotate every text once and count each property's outcome for the whole story."""
    counts = {prop.id: Counter[str]() for prop in props}
    stories = 0
    for text in texts:
        story = annotate(text)
        stories += 1
        for prop in props:
            counts[prop.id][prop.outcome(story).verdict] += 1
    if not stories:
        raise InputError("There is no story to count: give at least one.")
    return tuple(_row(prop, counts[prop.id], stories) for prop in props)


def _row(prop: Property, counted: Counter[str], stories: int) -> BaseRate:
    counts = {verdict: counted[verdict] for verdict in DECIDED}
    present = sum(counts.values())
    return BaseRate(
        prop.id,
        prop.name,
        stories,
        counts,
        clopper_pearson(present, stories),
        {verdict: clopper_pearson(k, present) if present else None for verdict, k in counts.items()},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table for the training stories (or `--stories FILE`) to `--out FILE`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--stories", type=Path, help="JSON lines with 'text' (default: the shared train.jsonl)"
    )
    parser.add_argument("--out", type=Path, default=data_folder() / "measurements" / "base_rates.json")
    options = parser.parse_args(arguments)
    shared = shared_folder("tinystories")
    stories = options.stories or (shared / "train.jsonl" if shared else None)
    if stories is None:
        raise InputError("The shared stories are absent: name a file of JSON lines with --stories.")
    table = base_rates(read_texts(stories), all_properties())
    write_json(
        options.out,
        {
            "command": "python -m tinyalign.properties.base_rates",
            "stories": {"file": stories.name, "sha256": sha256_file(stories), "count": table[0].stories},
            "interval": "Clopper-Pearson, 95%",
            "properties": [row.to_json() for row in table],
        },
    )


if __name__ == "__main__":
    main()
