"""Triton kernels for packed trits: tiles on tensor cores, and a matrix-vector product for a few tokens.

Importing this does not import Triton; the first product does. `dispatch` chooses the kernels on CUDA; in
Triton's interpreter (TRITON_INTERPRET=1, on the CPU) they run only when forced, to check their arithmetic.
"""

from __future__ import annotations

import torch
from jaxtyping import Float32, Int8, Int32, UInt8
from torch import Tensor

from tinyalign.ternary import reference
from tinyalign.ternary.gpu.availability import check, unavailable_in_interpreter, unavailable_on_cuda
from tinyalign.ternary.quantize import absmax_int8

__all__ = ["check", "linear", "matmul", "unavailable_in_interpreter", "unavailable_on_cuda"]


def matmul(
    values: Int8[Tensor, "tokens d_in"], packed: UInt8[Tensor, " bytes"], shape: tuple[int, int], packing: str
) -> Int32[Tensor, "tokens d_out"] | Float32[Tensor, "tokens d_out"]:
    """`launch.matmul`, which imports Triton; `torch.compile` traces the reference instead."""
    if torch.compiler.is_compiling():
        return reference.matmul(values, packed, shape, packing)
    from tinyalign.ternary.gpu import launch

    return launch.matmul(values, packed, shape, packing)


def linear(
    x: Float32[Tensor, "tokens d_in"],
    packed: UInt8[Tensor, " bytes"],
    shape: tuple[int, int],
    packing: str,
    scale: Float32[Tensor, ""],
    bias: Float32[Tensor, " d_out"] | None,
) -> Float32[Tensor, "tokens d_out"]:
    """`launch.linear`, which imports Triton; as `matmul` while `torch.compile` traces."""
    if torch.compiler.is_compiling():
        tokens = absmax_int8(x)
        y = reference.matmul(tokens.values, packed, shape, packing).float().mul_(tokens.scale * scale)
        return y if bias is None else y.add_(bias)
    from tinyalign.ternary.gpu import launch

    return launch.linear(x, packed, shape, packing, scale, bias)
