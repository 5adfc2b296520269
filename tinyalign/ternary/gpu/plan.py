"""Which Triton kernel serves a shape, and in which tiles: a fixed table, so that nothing varies between runs.

Nothing is tuned at run time. The tiles were chosen for models of some hundred inputs, whose products are
bound by latency: enough programs first, large tiles only where there is work for all of them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from tinyalign.common.errors import InputError

# Sums of int8 (at most 128) by trits stay inside int32, and so do indices of trits.
LARGEST_D_IN = (2**31 - 1) // 128
LARGEST_MATRIX = 2**31 - 1

GEMV_TOKENS = 4
SMALL_BATCH = 16
# Outputs x tokens from which large tiles still give every multiprocessor something to do.
LARGE_PRODUCT = 2**22


@dataclass(frozen=True)
class Plan:
    """A kernel and its tile: tokens, outputs and inputs a step; `splits` programs share the inputs.

    `split_in` inputs go to each split. With `whole_bytes` every row of trits ends with a byte.
    """

    kernel: Literal["gemv", "tiled"]
    block_tokens: int
    block_out: int
    block_in: int
    splits: int
    split_in: int
    warps: int
    stages: int
    whole_bytes: bool


@functools.lru_cache(maxsize=4096)
def plan(tokens: int, d_out: int, d_in: int, whole_bytes: bool) -> Plan:
    """The plan for `tokens` x `d_in` by `d_in` x `d_out`, where rows of trits end with a byte or do not.

    Raises `InputError` where indices or sums could leave int32.
    """
    if d_in > LARGEST_D_IN or d_out * d_in > LARGEST_MATRIX:
        raise InputError(
            f"A ternary layer of {d_out} x {d_in} weights exceeds the {LARGEST_D_IN} inputs or the "
            f"{LARGEST_MATRIX} weights that the Triton kernels index: split the layer."
        )
    if tokens <= GEMV_TOKENS:
        tile, share, most = (1, 8, min(512, max(32, power_above(d_in)))), 1024, 16
    elif tokens <= SMALL_BATCH:
        tile, share, most = (16, 32, 64), 512, 8
    # Trits that each look for their own byte take registers: large tiles would spill them.
    elif whole_bytes and tokens * d_out >= LARGE_PRODUCT:
        return Plan("tiled", 128, 128, 64, 1, d_in, warps=8, stages=3, whole_bytes=True)
    else:
        tile, share, most = (32 if tokens <= 128 else 64, 64, 64), d_in, 1
    # About `share` inputs to a split, and at most `most` splits.
    steps = -(-d_in // tile[2])
    steps_each = -(-steps // min(most, -(-d_in // share)))
    splits = -(-steps // steps_each)
    kernel = "gemv" if tokens <= GEMV_TOKENS else "tiled"
    return Plan(kernel, *tile, splits, steps_each * tile[2], warps=4, stages=3, whole_bytes=whole_bytes)


def power_above(number: int) -> int:
    """The least power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()
