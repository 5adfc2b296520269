"""Weights in the order in which a warp's tensor-core products take them.

Of trits a lane has one word a tile. A tile is 16 outputs x 32 inputs, the left factor of PTX's
`mma.m16n8k32` (PTX ISA, "Matrix fragments for mma.m16n8k32"): lane 4g + t holds outputs g and g + 8 at inputs
4t to 4t + 3 and 16 + 4t to 19 + 4t, in four registers of four bytes. Byte j of register i is stored at bit
8j + 2i of the lane's word, so that one shift and one mask give a register; of 1-bit weights two neighbouring
tiles share a word, at bits 8j + i and 8j + 4 + i.

Of floats a tile is 16 outputs x 8 inputs, for `mma.m16n8k8` of tf32: lane 4g + t holds outputs g and g + 8 at
input t, then both at input t + 4.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int8, UInt32

TILE_OUTPUTS, TILE_INPUTS = 16, 32
FLOAT_INPUTS = 8
# Inputs are padded so that a 1-bit word, which spans two tiles, is whole.
PADDED_INPUTS = 2 * TILE_INPUTS


def ternary_words(trits: Int8[np.ndarray, "d_out d_in"]) -> UInt32[np.ndarray, "tiles_out tiles_in 32"]:
    """Words of trits -1, 0, 1 as codes trit + 1; padding is the trit 0, which counts in no sum."""
    return (_registers(trits + 1, filler=1) << _BITS_OF_REGISTER).sum(axis=(-2, -1), dtype=np.uint32)


def one_bit_words(signs: Int8[np.ndarray, "d_out d_in"]) -> UInt32[np.ndarray, "tiles_out tile_pairs 32"]:
    """Words of signs -1, 1 as codes (sign + 1) / 2; what padding stands for meets activations of 0 only."""
    codes = _registers((signs + 1) // 2, filler=0)
    tiles_out, tiles_in = codes.shape[:2]
    pairs = codes.reshape(tiles_out, tiles_in // 2, 2, *codes.shape[2:])
    second = np.arange(2, dtype=np.uint32).reshape(2, 1, 1, 1) * 4
    shifts = np.arange(4, dtype=np.uint32)[:, None] + 8 * np.arange(4, dtype=np.uint32) + second
    return (pairs << shifts).sum(axis=(2, -2, -1), dtype=np.uint32)


def float_fragments(
    weight: Float32[np.ndarray, "d_out d_in"],
) -> Float32[np.ndarray, "tiles_out tiles_in 32 4"]:
    """Floats by [tile of outputs, tile of inputs, lane, register], padded with 0."""
    whole = np.pad(weight, [(0, -weight.shape[0] % TILE_OUTPUTS), (0, -weight.shape[1] % FLOAT_INPUTS)])
    # Outputs are (tile, low, g), inputs (tile, half, t); registers are counted as 2 * half + low.
    parts = whole.reshape(-1, 2, 8, whole.shape[1] // FLOAT_INPUTS, 2, 4)
    ordered = parts.transpose(0, 3, 2, 5, 4, 1)
    return np.ascontiguousarray(ordered.reshape(*ordered.shape[:2], 32, 4))


# [register, byte]
_BITS_OF_REGISTER = 2 * np.arange(4, dtype=np.uint32)[:, None] + 8 * np.arange(4, dtype=np.uint32)


def _registers(
    codes: Int8[np.ndarray, "d_out d_in"], *, filler: int
) -> UInt32[np.ndarray, "tiles_out tiles_in 32 4 4"]:
    """Codes by [tile of outputs, tile of inputs, lane, register, byte]."""
    missing = [(0, -codes.shape[0] % TILE_OUTPUTS), (0, -codes.shape[1] % PADDED_INPUTS)]
    whole = np.pad(codes, missing, constant_values=filler).astype(np.uint32)
    # Outputs are (tile, low, g), inputs (tile, half, t, byte); registers are counted as 2 * half + low.
    parts = whole.reshape(-1, 2, 8, whole.shape[1] // TILE_INPUTS, 2, 4, 4)
    ordered = parts.transpose(0, 3, 2, 5, 4, 1, 6)
    return ordered.reshape(*ordered.shape[:2], 32, 4, 4)
