"""Scoring with the C++ decoder: sequences sorted, so that what they share is read once."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float64

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.cpu import native
from tinyalign.engine.cpu.weights import CpuModel, checked, current
from tinyalign.engine.encoding import Ids
from tinyalign.models import StoryModel

# Tokens that one call of the decoder reads: between two calls a run can be interrupted.
_TOKENS_A_CALL = 8_192


def score_sequences(model: StoryModel, sequences: Iterable[Ids], threads: int) -> dict[Ids, list[float]]:
    """log p in nats of every token but the first of each sequence; raises as `score_texts` does."""
    order = sorted(set(sequences))
    return {
        ids: scores[1:].tolist()
        for ids, scores in zip(order, _scored(model, order, [1] * len(order), threads), strict=True)
    }


def score_tails(
    model: StoryModel, tails: Mapping[Ids, set[Ids]], threads: int
) -> dict[tuple[Ids, Ids], float]:
    """log p(tail | prefix) in nats for every tail of every prefix; raises as `score_continuations` does."""
    asked = sorted((prefix + tail, len(prefix)) for prefix, own in tails.items() for tail in own)
    found = _scored(model, [ids for ids, _ in asked], [start for _, start in asked], threads)
    return {
        (ids[:start], ids[start:]): float(scores[start:].sum())
        for (ids, start), scores in zip(asked, found, strict=True)
    }


def _scored(
    model: StoryModel, order: list[Ids], starts: list[int], threads: int
) -> list[Float64[np.ndarray, " length"]]:
    """Scores of sorted sequences at their tokens' places, NaN before the first that is asked for."""
    cpu = current(model, "scoring")
    sizes = np.array([len(ids) for ids in order], dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
    tokens = np.fromiter((token for ids in order for token in ids), dtype=np.int32, count=int(offsets[-1]))
    if tokens.size and not (tokens.min() >= 0 and tokens.max() < cpu.vocab):
        raise InputError(f"A token id is unknown to {model.name}: expected 0 to {cpu.vocab - 1}.")
    first = np.array(starts, dtype=np.int32)
    out = np.full(len(tokens), np.nan)
    asked = native.Sequences(*map(native.address, (tokens, offsets, first, out)))
    # A call begins a new sequence of its own, so where the parts are cut changes no number.
    cuts = np.searchsorted(offsets, np.arange(0, len(tokens), _TOKENS_A_CALL)).tolist()
    parts = sorted({*cuts, len(order)})
    calls = list(itertools.pairwise(parts))
    _run(cpu, asked, calls, min(threads, len(calls)), model.name)
    return [out[begin:end] for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]


def _run(
    cpu: CpuModel, asked: native.Sequences, calls: list[tuple[int, int]], threads: int, name: str
) -> None:
    def run(call: tuple[int, int]) -> int:
        return checked(cpu.lib.ta_score(cpu.handle, ctypes.byref(asked), *call))

    if threads <= 1:
        codes = [run(call) for call in calls]
    else:
        pool = ThreadPoolExecutor(threads)
        try:
            codes = list(pool.map(run, calls))
        finally:
            pool.shutdown(cancel_futures=True)
    if min(codes, default=0) < 0:
        raise CheckpointError(
            f"{name} gives logits that are not numbers: its weights are damaged or overflow; load another "
            "copy."
        )
