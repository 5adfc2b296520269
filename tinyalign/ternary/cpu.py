"""The C++ kernel: packed trits are read as they lie and multiplied by int8 codes in exact integer sums.

`csrc/` is compiled on first use (see `tinyalign.common.compiling`). Weights are unpacked in registers at
every call, so that no copy of them can go stale.
"""

from __future__ import annotations

import functools
from ctypes import c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Int8, UInt8
from torch import Tensor

from tinyalign.common import compiling
from tinyalign.common.errors import InputError
from tinyalign.ternary import reference
from tinyalign.ternary.packing import packing_named

PACKINGS = ("2bit", "1bit")
SOURCES = compiling.Sources(
    name="ternary",
    main=Path(__file__).resolve().parent / "csrc" / "linear.cpp",
    user="The C++ kernel of ternary layers",
    otherwise="let the reference kernel serve",
    # Scales and biases are rounded one after the other, as torch does.
    flags=("-ffp-contract=off",),
)
# Multiply-adds that are worth a thread of their own, started at every call.
_FOR_A_THREAD = 1 << 24


def unavailable() -> str | None:
    """None where the kernel runs, otherwise the reason; the first call compiles it (seconds, once)."""
    try:
        _library()
    except InputError as error:
        return str(error)
    return None


def matmul(
    values: Int8[Tensor, "tokens d_in"], packed: UInt8[Tensor, " bytes"], shape: tuple[int, int], packing: str
) -> Float32[Tensor, "tokens d_out"]:
    """`values @ trits.T` for trits of shape (d_out, d_in), exact integers held in float32.

    Bit for bit the reference's: a byte that is no code of the packing gives NaN. Raises `InputError` where
    d_in exceeds 132,104 or the bytes do not fit the shape.
    """
    values, packed = values.contiguous(), packed.contiguous()
    sums = torch.empty(len(values), shape[0], dtype=torch.float32)
    sizes = _checked_sizes(values, packed, shape, packing)
    return _done(
        _library().ta_ternary_sums(values.data_ptr(), *sizes, sums.data_ptr(), _threads(sizes)), sums
    )


def linear(
    x: Float32[Tensor, "tokens d_in"],
    packed: UInt8[Tensor, " bytes"],
    shape: tuple[int, int],
    packing: str,
    scale: Float32[Tensor, ""],
    bias: Float32[Tensor, " d_out"] | None,
) -> Float32[Tensor, "tokens d_out"]:
    """The whole layer in one pass: `absmax_int8(x)`, the exact sums, both scales and the bias.

    Bit for bit what `absmax_int8`, `matmul` and torch's products give one after the other. Raises as
    `matmul` does.
    """
    x, packed = x.contiguous(), packed.contiguous()
    bias = None if bias is None else bias.contiguous()
    y = torch.empty(len(x), shape[0], dtype=torch.float32)
    sizes = _checked_sizes(x, packed, shape, packing)
    more = (scale.data_ptr(), None if bias is None else bias.data_ptr(), y.data_ptr(), _threads(sizes))
    return _done(_library().ta_ternary_linear(x.data_ptr(), *sizes, *more), y)


def _checked_sizes(
    values: Tensor, packed: Tensor, shape: tuple[int, int], packing: str
) -> tuple[int, int, int, int, int, int]:
    """Tokens, place and size of the bytes, d_out, d_in and trits a byte, as the C functions take them."""
    (tokens, d_in), d_out = values.shape, shape[0]
    reference.check_inputs(shape[1], "C++")
    chosen = packing_named(packing)
    found, expected = packed.numel(), chosen.packed_bytes(d_out * shape[1])
    if d_in != shape[1] or found != expected:
        raise InputError(
            f"{found} packed bytes and {d_in} inputs do not fit a {packing} layer of "
            f"{list(shape)}: expected {expected} bytes and {shape[1]} inputs."
        )
    return tokens, packed.data_ptr(), found, d_out, d_in, chosen.per_byte


def _threads(sizes: tuple[int, int, int, int, int, int]) -> int:
    work = sizes[0] * sizes[3] * sizes[4] // _FOR_A_THREAD
    return 1 if work < 2 else min(work, torch.get_num_threads())


def _done(code: int, y: Tensor) -> Tensor:
    if code:
        raise InputError("The C++ kernel of ternary layers got no memory: give it fewer tokens at a time.")
    return y


@functools.lru_cache(maxsize=1)
def _library() -> Any:
    lib = compiling.library(SOURCES)
    sizes = [c_int64, c_void_p, c_int64, c_int64, c_int64, c_int]
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "ta_ternary_instructions": (c_char_p, []),
        "ta_ternary_sums": (c_int, [c_void_p, *sizes, c_void_p, c_int]),
        "ta_ternary_linear": (c_int, [c_void_p, *sizes, c_void_p, c_void_p, c_void_p, c_int]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
