"""Random decisions for the tiny random models of `tests/models/tiny.py`."""

from __future__ import annotations

import numpy as np
import torch

from tests.models.tiny import D_VOCAB
from tinyalign.circuits.decisions import Decision, Word
from tinyalign.circuits.reading import Positions, Reading, read
from tinyalign.models import StoryModel

# One word of one token, one of two, one of three that begins as the second does.
WORDS = ((5,), (7, 8), (7, 9, 11))


def decision(prefix: tuple[int, ...], last: int, words: tuple[tuple[int, ...], ...] = WORDS) -> Decision:
    """A decision with the first word for the property and the others against it."""
    inputs = [(last, *word[:-1]) for word in words]
    tails: list[tuple[int, ...]] = []
    for ids in sorted(set(inputs), key=lambda ids: (-len(ids), ids)):
        if not any(known[: len(ids)] == ids for known in tails):
            tails.append(ids)
    where = [next(t for t, known in enumerate(tails) if known[: len(ids)] == ids) for ids in inputs]
    return Decision(
        prefix, tuple(tails), tuple(Word(t, word) for t, word in zip(where, words, strict=True)), 1
    )


def pairs(
    n: int = 5, equal: bool = True, words: tuple[tuple[int, ...], ...] = WORDS, seed: int = 0
) -> tuple[tuple[Decision, ...], tuple[Decision, ...]]:
    """(clean, corrupted): `n` random prompts of 10 to 13 tokens; the corrupted side has one token changed.

    Without `equal` it has one token more besides.
    """
    rng = np.random.default_rng(seed)
    clean, corrupted = [], []
    for _ in range(n):
        ids = rng.integers(0, D_VOCAB, int(rng.integers(10, 14))).tolist()
        other = list(ids)
        other[4] = (ids[4] + 1 + int(rng.integers(0, D_VOCAB - 1))) % D_VOCAB
        if not equal:
            other.insert(2, int(rng.integers(0, D_VOCAB)))
        last = int(rng.integers(0, D_VOCAB))
        clean.append(decision(tuple(ids), last, words))
        corrupted.append(decision(tuple(other), last, words))
    return tuple(clean), tuple(corrupted)


def readings(
    model: StoryModel, positions: Positions = "decision", equal: bool = True, n: int = 5
) -> tuple[Reading, Reading]:
    """(clean, corrupted) readings of random prompts."""
    clean, corrupted = pairs(n, equal)
    return read(model, clean, positions), read(model, corrupted, positions)


@torch.no_grad()
def reference_preference(model: StoryModel, one: Decision) -> float:
    """log p(S) - log p(V) in nats, one full forward pass a word, without a cache."""
    scores = []
    for word in one.words:
        ids = [*one.prefix, one.tails[0][0], *word.tokens]
        table = model.network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        start = len(one.prefix)
        scores.append(sum(table[start + i, token] for i, token in enumerate(word.tokens)))
    stacked = torch.stack([torch.as_tensor(score) for score in scores])
    return float(stacked[: one.satisfying].logsumexp(0) - stacked[one.satisfying :].logsumexp(0))
