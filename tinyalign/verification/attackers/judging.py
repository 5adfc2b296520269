"""Whether a prompt is a counterexample: the antecedent holds in it and the model prefers to violate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from tinyalign.models.story_model import StoryModel
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.stories import annotate
from tinyalign.stories.grammar import ContrastPrompt
from tinyalign.verification.hardcoded.drawing import word_log_probs

_QUOTE = re.compile(r'"[^"]+"')


@dataclass(frozen=True)
class Reading:
    """What a model prefers after a text: log p(S) - log p(V) in nats, and the likeliest word of the pair."""

    preference: float
    word: str


def read(model: StoryModel, pair: LogitPair, prompt: ContrastPrompt, text: str) -> Reading:
    """Ask a model about one text, alone in its batch; slots and the word's prefix are those of `prompt`."""
    scores = word_log_probs(model, pair, [prompt], [text])[0]
    cut = len(pair.satisfying)
    return Reading(
        float(logsumexp(scores[:cut]) - logsumexp(scores[cut:])),
        pair.words(prompt.slots)[int(np.argmax(scores))],
    )


@dataclass(frozen=True)
class Judge:
    """Decides about texts made from one prompt: `fails` is true for a counterexample.

    The antecedent must still hold. What is said in the sentences that carry it has to be there word for word
    (up to `swaps` of names), and where the property's text checker sees the antecedent in the prompt it must
    see it in the text; where it does not, or where nothing is said, those sentences must be there as a whole.
    """

    model: StoryModel
    prop: Property
    pair: LogitPair
    prompt: ContrastPrompt
    swaps: tuple[tuple[str, str], ...] = ()

    def fails(self, text: str) -> bool:
        """Whether the antecedent holds in `text` and the model prefers to violate after it."""
        return self.holds(text) and read(self.model, self.pair, self.prompt, text).preference <= 0

    def holds(self, text: str) -> bool:
        """Whether the antecedent holds in `text`."""
        renamed = self._renamed(text)
        if not all(self._renamed(words) in renamed for words in self._required):
            return False
        return not self._seen or self._sees(text)

    @cached_property
    def _seen(self) -> bool:
        return self._sees(self.prompt.clean)

    @cached_property
    def _required(self) -> tuple[str, ...]:
        sentences = self.essential()
        said = tuple(quote for sentence in sentences for quote in _QUOTE.findall(sentence))
        return said if self._seen and said else sentences

    def _renamed(self, text: str) -> str:
        for old, new in self.swaps:
            text = re.sub(rf"\b{re.escape(old)}\b", new, text)
        return text

    def essential(self) -> tuple[str, ...]:
        """The sentences of the prompt in which the clean side differs from the corrupted one."""
        clean, corrupted = self.prompt.clean, self.prompt.corrupted
        start = _agree(clean, corrupted)
        end = len(clean) - _agree(clean[start:][::-1], corrupted[start:][::-1])
        return tuple(
            clean[one.start : one.end]
            for one in annotate(clean).sentences
            if one.start < max(end, start + 1) and one.end > start
        )

    def sentences(self) -> tuple[str, ...]:
        """The prompt's sentences, the decision's words last."""
        clean = self.prompt.clean
        return tuple(clean[one.start : one.end] for one in annotate(clean).sentences)

    def _sees(self, text: str) -> bool:
        # The checker reads stories: without a word after it a prompt's last sentence would not be one.
        word = self.pair.words(self.prompt.slots)[len(self.pair.satisfying)]
        story = annotate(f"{text}{self.prompt.continuation_prefix}{word}.")
        return bool(self.prop.occasions(story))


def _agree(first: str, second: str) -> int:
    """How many characters two texts begin with in common."""
    for at, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return at
    return min(len(first), len(second))
