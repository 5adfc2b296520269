"""A word-level Markov model of generated stories whose event probabilities are known exactly.

Rare-event estimators need a truth to be held against. This model is small enough for dynamic programming
over (last word, state of the event), sampled like any other model, and has a transition whose probability
can be set so that an event has, say, probability 1e-5 to the last digit of a float64.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from tinyalign.common.errors import InputError, unknown_name
from tinyalign.common.seeds import derive_seed

_WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*|[.,!?\"]")
_ROW_SUM_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class BigramModel:
    """A Markov chain over words with an absorbing end.

    Args:
        vocabulary: the words, by index; index `len(vocabulary)` is the end of the story.
        initial: probability of each first word (the last entry: of an empty story).
        transition: row v, column w: probability that w follows v. The last row stays at the end.

    Raises `InputError` unless every row is a probability distribution.
    """

    vocabulary: tuple[str, ...]
    initial: Float[np.ndarray, " next"]
    transition: Float[np.ndarray, "word next"]

    def __post_init__(self) -> None:
        size = len(self.vocabulary) + 1
        if self.initial.shape != (size,) or self.transition.shape != (size, size):
            raise InputError(f"{size - 1} words and an end need {size} states; got {self.transition.shape}.")
        rows = np.vstack([self.initial, self.transition])
        if rows.min() < 0 or np.abs(rows.sum(axis=1) - 1).max() > _ROW_SUM_TOLERANCE:
            raise InputError("Every row of a bigram model must be a probability distribution.")
        if self.transition[-1, -1] != 1:
            raise InputError("The end of a story must be absorbing.")

    @property
    def end(self) -> int:
        """The index of the end of a story."""
        return len(self.vocabulary)

    def index(self, word: str) -> int:
        """The index of a word; raises `UnknownNameError` with the nearest words."""
        if word not in self._indices:
            raise unknown_name("word of the bigram model", word, list(self.vocabulary))
        return self._indices[word]

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.vocabulary)}

    @cached_property
    def _ladder(self) -> Float[np.ndarray, " cell"]:
        # Row r's cumulative distribution shifted by r: in this sorted array `row + u` finds the next word.
        rows = np.vstack([self.transition, self.initial])
        cumulative = np.minimum(np.cumsum(rows, axis=1), 1.0)
        # A row ends where its last possible word does, so that rounding cannot reach an impossible one.
        last = rows.shape[1] - 1 - (rows[:, ::-1] > 0).argmax(axis=1)
        cumulative[np.arange(rows.shape[1]) >= last[:, None]] = 1.0
        return (cumulative + np.arange(len(rows))[:, None]).ravel()

    def step(self, here: Float[np.ndarray, "state next"]) -> Float[np.ndarray, "state next"]:
        """`here @ transition`, over the possible transitions only (most word pairs never meet)."""
        source, target, probability, starts = self._edges
        arriving = np.zeros_like(here)
        arriving[:, target[starts]] = np.add.reduceat(here[:, source] * probability, starts, axis=1)
        return arriving

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        target, source = np.nonzero(self.transition.T)  # in order of the target
        starts = np.flatnonzero(np.diff(target, prepend=-1))
        return source, target, self.transition[source, target], starts

    def next_word(
        self, state: Int[np.ndarray, " sample"], u: Float[np.ndarray, " sample"]
    ) -> Int[np.ndarray, " sample"]:
        """The words that follow `state` for uniform numbers `u` in [0, 1); `end + 1` stands for the start."""
        size = self.end + 1
        # Numbers within one rounding of the next row would fall over its edge.
        where = np.minimum(state + u, np.nextafter(state + 1.0, 0.0))
        return np.searchsorted(self._ladder, where, side="right") - state * size

    def sample(self, n: int, n_words: int, *purpose: str | int) -> Int[np.ndarray, "sample position"]:
        """`n` stories of `n_words` words, padded with `end`; story i depends on (`purpose`, i) alone."""
        u = np.stack(
            [
                np.random.Generator(np.random.PCG64(derive_seed("bigram", *purpose, i))).random(n_words)
                for i in range(n)
            ]
            or [np.empty(n_words)]
        )[:n]
        words = np.empty((n, n_words), dtype=np.int64)
        state = np.full(n, self.end + 1)
        for position in range(n_words):
            state = self.next_word(state, u[:, position])
            words[:, position] = state
        return words

    def text(self, words: Sequence[int] | Int[np.ndarray, " position"]) -> str:
        """The words joined by spaces, up to the end."""
        return " ".join(self.vocabulary[int(word)] for word in words if int(word) != self.end)


def fit_bigram(texts: Iterable[str]) -> BigramModel:
    """The maximum-likelihood bigram model of some texts (words and punctuation marks, case kept).

    Raises `InputError` when there is no word in them.
    """
    stories = [_WORD.findall(text) for text in texts]
    vocabulary = tuple(sorted({word for story in stories for word in story}))
    if not vocabulary:
        raise InputError("A bigram model needs at least one word; the texts hold none.")
    index = {word: at for at, word in enumerate(vocabulary)}
    end = len(vocabulary)
    initial, counts = np.zeros(end + 1), np.zeros((end + 1, end + 1))
    for story in stories:
        path = [index[word] for word in story] + [end]
        initial[path[0]] += 1
        np.add.at(counts, (path[:-1], path[1:]), 1)
    counts[end, end] = 1
    return BigramModel(vocabulary, _normalised(initial), _normalised(counts))


def _normalised(counts: Float[np.ndarray, "*rows next"]) -> Float[np.ndarray, "*rows next"]:
    return counts / counts.sum(axis=-1, keepdims=True)


def plant(model: BigramModel, trigger: str, word: str, probability: float) -> BigramModel:
    """The model with P(word | trigger) set to `probability` and the rest of that row scaled.

    `word` may be new. Raises `InputError` for a probability outside [0, 1), or if nothing is left to scale.
    """
    if not 0 <= probability < 1:
        raise InputError(f"The planted probability is {probability}; it must lie in [0, 1).")
    if word not in model.vocabulary:
        model = _with_word(model, word)
    row, column = model.index(trigger), model.index(word)
    transition = model.transition.copy()
    transition[row, column] = 0
    if transition[row].sum() == 0:
        raise InputError(f"Nothing but {word!r} follows {trigger!r}: choose another trigger.")
    transition[row] *= (1 - probability) / transition[row].sum()
    transition[row, column] = probability
    return replace(model, transition=transition)


def _with_word(model: BigramModel, word: str) -> BigramModel:
    """The model with a further word that nothing leads to yet, and after which a story ends."""
    at = model.end
    transition = np.insert(np.insert(model.transition, at, 0, axis=0), at, 0, axis=1)
    transition[at, at + 1] = 1
    return BigramModel((*model.vocabulary, word), np.insert(model.initial, at, 0), transition)
