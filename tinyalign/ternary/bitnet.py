"""The 2-bit layout of BitNet checkpoints on disk, as `transformers.integrations.bitnet` reads it.

Output rows are split into four bands of R = ceil(d_out / 4); byte [r, k] holds the codes (trit + 1) of
the rows r, r + R, r + 2R and r + 3R in its bits 0-1, 2-3, 4-5 and 6-7.
"""

from __future__ import annotations

import torch
from jaxtyping import Int8, UInt8
from torch import Tensor

from tinyalign.common.errors import CheckpointError
from tinyalign.ternary.quantize import check_trits

ROWS_PER_BYTE = 4


def pack_bitnet(trits: Int8[Tensor, "d_out d_in"]) -> UInt8[Tensor, "rows d_in"]:
    """Trits [d_out, d_in] as bytes [ceil(d_out / 4), d_in], equal to transformers' `pack_weights`.

    Places beyond the last row hold the bits 00, as there. transformers loads such bytes into its
    `AutoBitLinear` only where d_out is a multiple of 4. Raises `InputError` on other values than trits.
    """
    check_trits(trits)
    d_out, d_in = trits.shape
    rows = -(-d_out // ROWS_PER_BYTE)
    codes = torch.zeros(rows * ROWS_PER_BYTE, d_in, dtype=torch.uint8, device=trits.device)
    codes[:d_out] = (trits + 1).to(torch.uint8)
    bands = codes.view(ROWS_PER_BYTE, rows, d_in)
    return bands[0] | (bands[1] << 2) | (bands[2] << 4) | (bands[3] << 6)


def unpack_bitnet(packed: UInt8[Tensor, "rows d_in"], d_out: int | None = None) -> Int8[Tensor, "d_out d_in"]:
    """The trits [d_out, d_in] of `pack_bitnet`; without `d_out` it is four times the packed rows.

    Raises `CheckpointError` on a code 3, and when `d_out` rows do not fit the bytes.
    """
    rows, d_in = packed.shape
    full = rows * ROWS_PER_BYTE
    wanted = full if d_out is None else d_out
    if packed.dtype != torch.uint8 or rows != -(-wanted // ROWS_PER_BYTE):
        raise CheckpointError(
            f"BitNet weights of {wanted} rows need {-(-wanted // ROWS_PER_BYTE)} rows of torch.uint8, found "
            f"{rows} of {packed.dtype}: the checkpoint is damaged or not in BitNet's packing."
        )
    shifts = torch.arange(0, 8, 2, dtype=torch.uint8, device=packed.device).view(-1, 1, 1)
    codes = ((packed >> shifts) & 3).reshape(full, d_in)[:wanted]
    if codes.numel() and bool((codes == 3).any()):
        raise CheckpointError(
            f"{int((codes == 3).sum())} codes of the BitNet weights are 3, expected 0, 1 or 2: "
            "the checkpoint is damaged."
        )
    return codes.to(torch.int8) - 1
