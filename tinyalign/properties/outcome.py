"""What a text checker answers about one occasion in a story."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from tinyalign.common.errors import InputError
from tinyalign.stories.annotation import Story

Verdict = Literal["satisfied", "violated", "unknown", "not applicable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

Span = tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """One occasion (an antecedent in the text) and what came of it.

    `antecedent` is the span (code points, half open) that makes the property applicable, None only for
    "not applicable". `decided` is the span that settled it, given exactly for "satisfied" and "violated".
    `rule` names the checker's rule, for readers and error analyses.
    """

    verdict: Verdict
    antecedent: Span | None = None
    decided: Span | None = None
    rule: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"A verdict is one of {', '.join(VERDICTS)}, not {self.verdict!r}.")
        if (self.antecedent is None) != (self.verdict == "not applicable"):
            raise InputError(f"The verdict {self.verdict!r} does not go with antecedent {self.antecedent}.")
        if (self.decided is None) != (self.verdict in ("unknown", "not applicable")):
            raise InputError(f"The verdict {self.verdict!r} does not go with a deciding span {self.decided}.")
        for span in (self.antecedent, self.decided):
            if span is not None and not 0 <= span[0] < span[1]:
                raise InputError(f"A span is (start, end) with 0 <= start < end, not {span}.")

    def to_json(self) -> dict[str, object]:
        """The fields as JSON values."""
        return asdict(self)


Checker = Callable[[Story], Sequence[Outcome]]
"""A text checker: every occasion in the story, in order; an empty list where the property doesn't apply."""

NOT_APPLICABLE = Outcome("not applicable")


def story_outcome(occasions: Sequence[Outcome]) -> Outcome:
    """One answer for a whole story: the first violation, else the first satisfaction, else unknown.

    A story without an occasion is "not applicable".
    """
    for verdict in ("violated", "satisfied", "unknown"):
        for occasion in occasions:
            if occasion.verdict == verdict:
                return occasion
    return NOT_APPLICABLE
