"""Counter-based random numbers: the draw for (seed, story, position) is a function of these three alone.

Philox4x32-10 of Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (SC'11), section 3.3.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt32

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(
    counter: UInt32[np.ndarray, "n 4"], key: UInt32[np.ndarray, "n 2"]
) -> UInt32[np.ndarray, "n 4"]:
    """Four random words for each row of `counter` under its `key`."""
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k = [key[:, i].astype(np.uint64) for i in range(2)]
    for _ in range(_ROUNDS):
        first, second = c[0] * _MULTIPLIERS[0], c[2] * _MULTIPLIERS[1]
        c = [
            (second >> _HALF) ^ c[1] ^ k[0],
            second & _LOW,
            (first >> _HALF) ^ c[3] ^ k[1],
            first & _LOW,
        ]
        k = [(k[i] + np.uint64(_WEYL[i])) & _LOW for i in range(2)]
    return np.stack(c, axis=1).astype(np.uint32)


def uniforms(
    seed: int, stories: Int[np.ndarray, " n"], positions: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """One float64 in (0, 1) for each (story, position) under `seed` (its low 64 bits).

    The counter is (position, 0, story low, story high), the key the two halves of the seed, the number
    the first word plus a half, divided by 2^32.
    """
    n = len(stories)
    counter = np.zeros((n, 4), dtype=np.uint32)
    counter[:, 0] = positions
    story = stories.astype(np.uint64)
    counter[:, 2] = story & _LOW
    counter[:, 3] = story >> _HALF
    key = np.empty((n, 2), dtype=np.uint32)
    key[:, 0] = seed & 0xFFFFFFFF
    key[:, 1] = (seed >> 32) & 0xFFFFFFFF
    return (philox4x32(counter, key)[:, 0].astype(np.float64) + 0.5) / 2.0**32
