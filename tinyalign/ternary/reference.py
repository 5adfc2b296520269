"""The reference kernel: exact integer accumulators from a plain float32 matrix product, on any device."""

from __future__ import annotations

import torch
from jaxtyping import Float32, Int8, UInt8
from torch import Tensor, nn

from tinyalign.common.errors import InputError
from tinyalign.ternary.packing import unpack_float

# Integers are exact in float32 below 2^24, and no partial sum exceeds 127 * d_in.
LARGEST_D_IN = (2**24 - 1) // 127


def matmul(
    values: Int8[Tensor, "tokens d_in"], packed: UInt8[Tensor, " bytes"], shape: tuple[int, int], packing: str
) -> Float32[Tensor, "tokens d_out"]:
    """`values @ trits.T` for trits of shape (d_out, d_in), exact integers held in float32.

    Exact whatever the order of summation, and under TF32 too: both factors fit its mantissa. Raises
    `InputError` where d_in exceeds 132,104, beyond which float32 would round.
    """
    check_inputs(shape[1], "reference")
    trits = unpack_float(packed, shape, packing)
    if torch.is_autocast_enabled(values.device.type):
        # Autocast would round the accumulators to its own dtype.
        with torch.autocast(values.device.type, enabled=False):
            return nn.functional.linear(values.float(), trits)
    return nn.functional.linear(values.float(), trits)


def check_inputs(d_in: int, kernel: str) -> None:
    """Raises `InputError` where float32 could not hold the sums of so many inputs."""
    if d_in > LARGEST_D_IN:
        raise InputError(
            f"A ternary layer with {d_in} inputs exceeds the {LARGEST_D_IN} for which the {kernel} "
            "kernel is exact: split the layer."
        )
