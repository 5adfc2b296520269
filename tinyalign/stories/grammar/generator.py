"""Whole short stories with known truth: who speaks to whom, and whether the property held."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from tinyalign.common.errors import InputError, unknown_name
from tinyalign.common.seeds import derive_seed
from tinyalign.stories.grammar.lexicon import SPLITS, Entry, Split
from tinyalign.stories.grammar.plot import CHOICE, Outcome, Plot, load_plot, plot_ids
from tinyalign.stories.grammar.template import Person, Writer

_T = TypeVar("_T")
_ROLES = {"child": "child", "friend": "child", "parent": "parent"}


@dataclass(frozen=True)
class StoryCharacter:
    """Somebody in a generated story: the slot, the name (or "mom"), the role and the gender (f or m)."""

    slot: str
    name: str
    role: str
    gender: str


@dataclass(frozen=True)
class StoryQuote:
    """A quote: offsets of the words between its marks, and who says it to whom (slots and roles)."""

    start: int
    end: int
    text: str
    speaker: str
    addressee: str
    speaker_role: str
    addressee_role: str


@dataclass(frozen=True)
class StorySpan:
    """Where a step of the plot stands in the text."""

    step: str
    start: int
    end: int


@dataclass(frozen=True)
class GeneratedStory:
    """A story and everything that is true of it.

    `outcomes` gives, for each property the plot settles, `satisfied`, `violated`, or `absent` (the
    antecedent never came up); other properties are not claimed either way. `deciding` is the span that
    settles it, `spans` are all steps in order, `characters` those who occur, `slots` the words chosen.
    """

    text: str
    property_id: str
    outcomes: Mapping[str, Outcome]
    deciding: StorySpan
    spans: tuple[StorySpan, ...]
    characters: tuple[StoryCharacter, ...]
    quotes: tuple[StoryQuote, ...]
    slots: Mapping[str, str]
    seed: int
    index: int

    def __post_init__(self) -> None:
        for quote in self.quotes:
            if self.text[quote.start : quote.end] != quote.text:
                raise InputError(f"The quote {quote.text!r} does not stand at {quote.start}:{quote.end}.")
        if self.deciding not in self.spans:
            raise InputError(f"The deciding span {self.deciding} is none of the story's spans.")

    @property
    def outcome(self) -> Outcome:
        """The outcome of the story's own property."""
        return self.outcomes[self.property_id]

    def to_json(self) -> dict[str, object]:
        """A JSON-able mapping of all fields."""
        return asdict(self)


@dataclass(frozen=True)
class StoryGenerator:
    """Stories about some properties, each of them a function of (seed, index) alone.

    Args:
        property_ids: which properties the stories are about (default: all thirteen).
        violation_rate: share of violations among the stories in which the antecedent comes up.
        absent_rate: share of stories in which it does not (the parent allows, nobody is hurt, ...): without
            them a model trained on the stories could not learn what the outcome depends on.
        weights: how often each property is told about, relative to the others (default: equally).
        split: the part of the lexicons that words come from; training mixtures must stay with "train".

    Raises `InputError` for rates outside [0, 1] or unusable weights, `UnknownNameError` for unknown names.
    """

    property_ids: tuple[str, ...] = ()
    violation_rate: float = 0.1
    absent_rate: float = 0.3
    weights: tuple[float, ...] = ()
    split: Split = "train"

    def __post_init__(self) -> None:
        object.__setattr__(self, "property_ids", tuple(self.property_ids) or plot_ids())
        object.__setattr__(self, "weights", tuple(self.weights) or (1.0,) * len(self.property_ids))
        for name, rate in (("violation_rate", self.violation_rate), ("absent_rate", self.absent_rate)):
            if not 0 <= rate <= 1:
                raise InputError(f"{name} is {rate}; it is a share, between 0 and 1.")
        if len(self.weights) != len(self.property_ids) or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise InputError(
                f"weights are {self.weights} for properties {self.property_ids}; "
                "give one non-negative number each, not all zero."
            )
        if self.split not in SPLITS:
            raise unknown_name("split", self.split, list(SPLITS))
        for property_id in self.property_ids:
            load_plot(property_id)

    @property
    def sha256(self) -> str:
        """Identity of the generator: its plots, lexicons and settings."""
        plots = ",".join(load_plot(property_id).sha256 for property_id in self.property_ids)
        settings = f"{self.violation_rate!r} {self.absent_rate!r} {self.weights!r} {self.split}"
        return hashlib.sha256(f"{plots} {settings}".encode()).hexdigest()

    def story(self, seed: int, index: int) -> GeneratedStory:
        """Story number `index` of a seed; the words come from `split` only."""
        draw = random.Random(derive_seed("story", seed, index, self.split, *self.property_ids))
        cumulative = list(itertools.accumulate(self.weights))
        at = bisect.bisect_right(cumulative, draw.random() * cumulative[-1])
        plot = load_plot(self.property_ids[min(at, len(self.property_ids) - 1)])
        outcome: Outcome = "absent"
        # Both numbers are always drawn, so that changing one rate leaves the other's stories alone.
        absent, violated = draw.random() < self.absent_rate, draw.random() < self.violation_rate
        if not absent:
            outcome = "violated" if violated else "satisfied"
        return _tell(plot, outcome, self.split, draw, seed, index)

    def stories(self, seed: int, n: int) -> Iterator[GeneratedStory]:
        """Stories 0 to n-1 of a seed."""
        return (self.story(seed, index) for index in range(n))


def mixture(
    seed: int,
    n: int,
    violation_rate: float = 0.1,
    absent_rate: float = 0.3,
    property_ids: Sequence[str] = (),
    weights: Sequence[float] = (),
    split: Split = "train",
) -> Iterator[str]:
    """Texts of `n` generated stories for a training mixture; see `StoryGenerator` for the arguments."""
    generator = StoryGenerator(tuple(property_ids), violation_rate, absent_rate, tuple(weights), split)
    return (story.text for story in generator.stories(seed, n))


def _pick(draw: random.Random, options: Sequence[_T]) -> _T:
    # random() alone is stable over Python versions; choice() is not promised to be.
    return options[int(draw.random() * len(options))]


def _cast(plot: Plot, split: Split, draw: random.Random) -> dict[str, Entry]:
    chosen: dict[str, Entry] = {}
    for slot, lexicon in plot.slots.items():
        free = [entry for entry in lexicon.parts[split] if entry not in chosen.values()]
        chosen[slot] = _pick(draw, free)
    return chosen


def _bind(plot: Plot, chosen: Mapping[str, Entry]) -> dict[str, Person | Entry]:
    bound: dict[str, Person | Entry] = dict(chosen)
    for slot, kind in plot.people.items():
        if kind == "parent":
            bound[slot] = Person("parent", chosen[slot], chosen["child"])
        else:
            bound[slot] = Person("friend" if kind == "friend" else "child", chosen[slot])
    return bound


def _tell(
    plot: Plot, outcome: Outcome, split: Split, draw: random.Random, seed: int, index: int
) -> GeneratedStory:
    chosen = _cast(plot, split, draw)
    writer = Writer(_bind(plot, chosen))
    paragraphs = draw.random() < 0.4
    spans: list[StorySpan] = []
    for step in plot.steps:
        if outcome not in step.lines or draw.random() >= step.chance:
            continue
        line = CHOICE.sub(lambda found: _pick(draw, found[1].split("|")), _pick(draw, step.lines[outcome]))
        joint = "\n" if paragraphs and draw.random() < 0.4 else " "
        start, end = writer.write(line, joint)
        spans.append(StorySpan(step.name, start, end))
    text = writer.text
    deciding = next(step.name for step in plot.steps if step.decides)
    return GeneratedStory(
        text=text,
        property_id=plot.id,
        outcomes=dict.fromkeys((plot.id, *plot.also), outcome),
        deciding=next(span for span in spans if span.step == deciding),
        spans=tuple(spans),
        characters=tuple(
            StoryCharacter(slot, chosen[slot].word, _ROLES[kind], chosen[slot].forms["gender"])
            for slot, kind in plot.people.items()
            if slot in writer.roles
        ),
        quotes=tuple(
            StoryQuote(
                start=spoken.start,
                end=spoken.end,
                text=text[spoken.start : spoken.end],
                speaker=spoken.speaker,
                addressee=spoken.addressee,
                speaker_role=_ROLES[plot.people[spoken.speaker]],
                addressee_role=_ROLES[plot.people[spoken.addressee]],
            )
            for spoken in writer.spoken
        ),
        slots={slot: entry.word for slot, entry in chosen.items()},
        seed=seed,
        index=index,
    )
