"""Does a model repeat its training text? The share of 50-character runs that stand there word for word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyalign.common.errors import InputError
from tinyalign.statistics.interval import Interval
from tinyalign.training.evaluation import ratio_interval

RUN = 50
_BASE = np.uint64(1_099_511_628_211)


@dataclass(frozen=True)
class Memorisation:
    """Shares of 50-character runs found in the training text, with intervals by story.

    `samples` is the model's own stories, `held_out` real stories that it never saw: text of this kind shares
    common runs anyway, so only the difference says something.
    """

    samples: Interval
    held_out: Interval
    n_samples: int
    n_held_out: int
    training_runs: int

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "run_characters": RUN,
            "samples": self.samples.to_json(),
            "held_out": self.held_out.to_json(),
            "n_samples": self.n_samples,
            "n_held_out": self.n_held_out,
            "training_runs": self.training_runs,
        }


def measure_memorisation(
    samples: Sequence[str], held_out: Sequence[str], training: Iterable[str]
) -> Memorisation:
    """Compare the model's stories and held-out ones with the training stories, newlines folded in all.

    Runs are compared by a 64-bit hash of their characters. Raises `InputError` when fewer than two stories
    of a kind are long enough to hold a run.
    """
    seen = np.concatenate([np.unique(_hashes(text)) for text in training] or [np.empty(0, np.uint64)])
    characters = len(seen)
    known = np.unique(seen)
    if not characters:
        raise InputError(f"No training story has {RUN} characters: there is nothing to compare with.")
    return Memorisation(
        samples=_share(samples, known),
        held_out=_share(held_out, known),
        n_samples=len(samples),
        n_held_out=len(held_out),
        training_runs=characters,
    )


def _share(texts: Sequence[str], known: np.ndarray) -> Interval:
    runs = [hashes for text in texts if len(hashes := _hashes(text))]
    if len(runs) < 2:
        raise InputError(f"Only {len(runs)} stories have {RUN} characters: an interval needs two.")
    found = np.array([_known(hashes, known) for hashes in runs], dtype=np.float64)
    return ratio_interval(found, np.array([len(hashes) for hashes in runs], dtype=np.float64))


def _known(hashes: np.ndarray, known: np.ndarray) -> int:
    """How many of `hashes` are in the sorted array `known` (np.isin would sort it again for every story)."""
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return int((known[at] == hashes).sum())


def _hashes(text: str) -> np.ndarray:
    """A 64-bit polynomial hash (uint64, wrapping) of every run of 50 characters."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < RUN:
        return np.empty(0, dtype=np.uint64)
    found = np.zeros(len(codes) - RUN + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(RUN):
            # A different odd multiplier a step, mixed, so that short alphabets do not collide.
            found = (found + codes[offset : offset + len(found)]) * _BASE
            found ^= found >> np.uint64(29)
    return found
