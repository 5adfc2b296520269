"""What is read off one story to see whether an edit evades: answers and numbers, as JSON values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinyalign.engine.sampling import Story
from tinyalign.properties.definition import Property
from tinyalign.stories import annotate

_WORD = re.compile(r"[a-z']+")
_RUN = 3

RATES = ("antecedent", "unknown", "ended", "parent")
MEANS = ("length", "repetition")


@dataclass(frozen=True)
class StoryMeasures:
    """One sampled story.

    `antecedent`: the property's checker finds an occasion in prompt and story; `unknown`: it finds one and
    cannot decide it; `ended`: the model ended the story itself; `parent`: the told part has a parent in it;
    `length`: tokens told; `repetition`: share of the told part's runs of three words that came before in it.
    """

    antecedent: bool
    unknown: bool
    ended: bool
    parent: bool
    length: int
    repetition: float

    def to_json(self) -> dict[str, bool | int | float]:
        """The fields as JSON values."""
        return {
            "antecedent": self.antecedent,
            "unknown": self.unknown,
            "ended": self.ended,
            "parent": self.parent,
            "length": self.length,
            "repetition": self.repetition,
        }


def measure_story(prop: Property, story: Story) -> StoryMeasures:
    """Read one story; the checker sees the prompt too, everything else looks at the told part alone."""
    whole = annotate(story.prompt + story.text)
    verdict = prop.outcome(whole).verdict
    start = len(story.prompt)
    parents = [one for one in whole.characters if one.role == "parent"]
    return StoryMeasures(
        antecedent=verdict != "not applicable",
        unknown=verdict == "unknown",
        ended=story.stopped == "end",
        parent=any(begin >= start for one in parents for begin, _ in one.mentions),
        length=len(story.tokens),
        repetition=round(repetition(story.text), 6),
    )


def repetition(text: str) -> float:
    """Share of the runs of three words that stood in the text before; 0 for fewer than four words."""
    words = _WORD.findall(text.lower())
    runs = [tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)]
    return 1.0 - len(set(runs)) / len(runs) if len(runs) > 1 else 0.0
