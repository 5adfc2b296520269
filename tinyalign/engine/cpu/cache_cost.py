"""What the int8 cache costs: log-probabilities of given texts, step by step under each cache."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from tinyalign.common.errors import CheckpointError
from tinyalign.engine.cpu import native
from tinyalign.engine.cpu.weights import checked, current, memory_error
from tinyalign.engine.encoding import Ids, encode_texts
from tinyalign.engine.sampling import Cache
from tinyalign.models import StoryModel

_LANES, _STEPS = 32, 64


@dataclass(frozen=True)
class CacheCost:
    """Nats a token over all tokens but the first of `texts` texts.

    `float32` and `int8` are mean losses (-log p), `cost` the second less the first (above 0: int8 is worse),
    `spread` the mean absolute difference of a token's two log-probabilities, `worst` the largest.
    """

    texts: int
    tokens: int
    float32: float
    int8: float
    cost: float
    spread: float
    worst: float

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def cache_cost(model: StoryModel, texts: Sequence[str | Sequence[int]]) -> CacheCost:
    """Compare both caches on texts (or their token ids) read token by token, as in sampling.

    Raises `InputError` as `score_texts` does and for a model that the CPU backend doesn't serve.
    """
    sequences = encode_texts(model, texts)
    exact = np.concatenate(stepwise(model, sequences, "float32"))
    coarse = np.concatenate(stepwise(model, sequences, "int8"))
    off = np.abs(exact - coarse)
    return CacheCost(
        texts=len(sequences),
        tokens=len(exact),
        float32=-float(exact.mean()),
        int8=-float(coarse.mean()),
        cost=float((exact - coarse).mean()),
        spread=float(off.mean()),
        worst=float(off.max()),
    )


def stepwise(
    model: StoryModel, sequences: Sequence[Ids], cache: Cache
) -> list[Float64[np.ndarray, " length"]]:
    """log p in nats of all tokens but the first of each sequence, decoded like sampled stories.

    Raises `CheckpointError` on logits that are not finite or when memory runs out.
    """
    cpu = current(model, cache)
    count, limit = len(sequences), max(map(len, sequences)) - 1
    forced = np.zeros((count, limit), dtype=np.int32)
    for row, ids in zip(forced, sequences, strict=True):
        row[: len(ids) - 1] = ids[1:]
    prompts = np.array([ids[0] for ids in sequences], dtype=np.int32)
    offsets = np.arange(count + 1, dtype=np.int64)
    tokens, log_probs = np.zeros_like(forced), np.zeros(forced.shape)
    lengths, status = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.int8)
    job = native.Job(
        prompts=native.address(prompts),
        offsets=native.address(offsets),
        first=0,
        count=count,
        each=1,
        limit=limit,
        end=-1,
        capacity=min(cpu.context, limit + 1),
        lanes=_LANES,
        draw=native.Draw(0.0, 0.0, 0, 0),
        tokens=native.address(tokens),
        lengths=native.address(lengths),
        status=native.address(status),
        forced=native.address(forced),
        log_probs=native.address(log_probs),
    )
    session = cpu.lib.ta_session(cpu.handle, ctypes.byref(job), 1)
    if not session:
        raise memory_error()
    try:
        code = 1
        while code == 1:
            code = checked(cpu.lib.ta_run(session, _STEPS))
    finally:
        cpu.lib.ta_session_free(session)
    if code < 0:
        raise CheckpointError(f"{model.name} gives logits that are not finite: its weights are damaged.")
    return [own[: len(ids) - 1] for own, ids in zip(log_probs, sequences, strict=True)]
