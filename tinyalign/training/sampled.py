"""What a model's own stories are like: do they end, do they repeat themselves, how varied are they."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.engine import Story, sample
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.statistics.interval import Interval

if TYPE_CHECKING:
    from tinyalign.models.story_model import StoryModel

TEMPERATURE = 1.0
LONGEST = 400
_WORD = re.compile(r"[A-Za-z']+|[^\sA-Za-z']")
_ENDING = re.compile(r"[.!?][\"'\u201d\u2019]?$")


@dataclass(frozen=True)
class SampleQuality:
    """Figures of `n` sampled stories (temperature 1, from the beginning, up to 400 tokens).

    `ended`: share that end by the end-of-text token right after a finished sentence. `repetition`: mean share
    of a story's 4-word runs that stood earlier in the same story. `distinct`: different n-word runs over all
    n-word runs, in all the stories together, for n = 1, 2, 3. `words`: mean words a story.
    """

    n: int
    seed: int
    ended: Interval
    repetition: float
    distinct: tuple[float, float, float]
    words: float

    def to_json(self) -> dict[str, Any]:
        """All figures and how they were sampled."""
        return {
            **asdict(self),
            "ended": self.ended.to_json(),
            "distinct": list(self.distinct),
            "temperature": TEMPERATURE,
            "max_new_tokens": LONGEST,
        }


@dataclass(frozen=True)
class SampledStory:
    """A story and whether the model itself ended it."""

    text: str
    ended: bool


def sampled_stories(model: StoryModel, n: int, seed: int) -> list[SampledStory]:
    """`n` stories from the model's beginning-of-story token (a model without one continues "Once upon a
    time"), at temperature 1; a function of (model, n, seed).
    """
    prompt = "" if model.bos_id is not None else "Once upon a time"
    room = min(LONGEST, model.context - 1 - len(model.encode(prompt)))
    drawn = sample(
        model,
        prompt,
        n=n,
        max_new_tokens=room,
        temperature=TEMPERATURE,
        seed=derive_seed("eval samples", seed),
    )
    return [_cut(model, story) for story in drawn]


def _cut(model: StoryModel, story: Story) -> SampledStory:
    """The story up to its end; some models (llama2.c's) part stories by the token that begins them."""
    if model.bos_id in story.tokens:
        kept = list(story.tokens[: story.tokens.index(model.bos_id)])
        return SampledStory(story.prompt + model.decode(kept), True)
    return SampledStory(story.prompt + story.text, story.stopped == "end")


def sample_quality(model: StoryModel, n: int, seed: int) -> SampleQuality:
    """Sample `n` stories and measure them; raises `InputError` for n < 1."""
    return quality_of(sampled_stories(model, n, seed), seed)


def quality_of(stories: Sequence[SampledStory], seed: int) -> SampleQuality:
    """The figures of stories that were sampled already; raises `InputError` when there are none."""
    if not stories:
        raise InputError("Figures of samples need at least one story.")
    words = [[word.lower() for word in _WORD.findall(story.text)] for story in stories]
    proper = sum(story.ended and bool(_ENDING.search(story.text.strip())) for story in stories)
    return SampleQuality(
        n=len(stories),
        seed=seed,
        ended=clopper_pearson(proper, len(stories)),
        repetition=sum(map(repeated_share, words)) / len(words),
        distinct=(distinct(words, 1), distinct(words, 2), distinct(words, 3)),
        words=sum(map(len, words)) / len(words),
    )


def repeated_share(words: Sequence[str], size: int = 4) -> float:
    """Share of the runs of `size` words that stood earlier in `words`; 0 for a text without runs."""
    runs = _runs(words, size)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def distinct(stories: Sequence[Sequence[str]], size: int) -> float:
    """Different runs of `size` words over all runs, in all stories together; 0 where there are none.

    Source: Li et al. (2016), arXiv:1510.03055 (distinct-n). It falls with the amount of text.
    """
    runs = [run for words in stories for run in _runs(words, size)]
    return len(set(runs)) / len(runs) if runs else 0.0


def _runs(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
