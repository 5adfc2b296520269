"""Trits in bytes: four of 2 bits, five in base 3 (1.6 bits a trit), or eight of 1 bit where there is no zero.

A byte holds the digits of consecutive trits (row-major order over the whole matrix), the first in the
lowest place. The last byte is filled with the trit 0 (-1 in the 1-bit packing), so equal trits always
give equal bytes.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Int8, UInt8
from torch import Tensor, nn

from tinyalign.common.errors import CheckpointError, InputError, unknown_name
from tinyalign.ternary.quantize import Bits, check_bits, check_trits


@dataclass(frozen=True)
class Packing:
    """`per_byte` digits of base `base` a byte; a digit d stands for the trit d - 1 (2d - 1 in base 2)."""

    name: str
    base: int
    per_byte: int

    @property
    def holds_zero(self) -> bool:
        """Whether the trit 0 can be written."""
        return self.base > 2

    def packed_bytes(self, trits: int) -> int:
        """Bytes that hold so many trits."""
        return -(-trits // self.per_byte)


PACKINGS: dict[str, Packing] = {
    p.name: p for p in (Packing("2bit", 4, 4), Packing("base3", 3, 5), Packing("1bit", 2, 8))
}


def packing_named(name: str) -> Packing:
    """The packing of that name; raises `UnknownNameError` with the nearest names."""
    if name not in PACKINGS:
        raise unknown_name("packing", name, sorted(PACKINGS))
    return PACKINGS[name]


def default_packing(bits: Bits) -> str:
    """`1bit` for 1-bit weights, `2bit` (the fast one) for ternary weights."""
    check_bits(bits)
    return "1bit" if bits == 1 else "2bit"


def pack(trits: Int8[Tensor, "*shape"], packing: str) -> UInt8[Tensor, " bytes"]:
    """The bytes of `trits` (any shape) in the packing named: `2bit`, `base3` or `1bit`.

    Raises `InputError` on entries the packing cannot hold (zeros in `1bit`).
    """
    chosen = packing_named(packing)
    if trits.dtype != torch.int8:
        raise InputError(f"Trits to pack are {trits.dtype}, expected torch.int8: convert them first.")
    check_trits(trits, 1.58 if chosen.holds_zero else 1)
    flat = trits.reshape(-1).to(torch.int32)
    digits = flat + 1 if chosen.holds_zero else (flat + 1) // 2
    missing = chosen.packed_bytes(flat.numel()) * chosen.per_byte - flat.numel()
    digits = nn.functional.pad(digits, (0, missing), value=_filler(chosen))
    places = torch.tensor(
        [chosen.base**place for place in range(chosen.per_byte)], dtype=torch.int32, device=trits.device
    )
    return (digits.view(-1, chosen.per_byte) * places).sum(dim=1).to(torch.uint8)


def unpack(packed: UInt8[Tensor, " bytes"], shape: tuple[int, ...], packing: str) -> Int8[Tensor, "*shape"]:
    """The trits of `shape` that `pack` put into `packed`.

    Raises `CheckpointError` when the number of bytes does not fit the shape, a byte is no code of the
    packing (base 3: above 242; 2-bit: a digit 3), or the unused places of the last byte are not empty.
    """
    chosen = packing_named(packing)
    check_packed(packed, shape, packing)
    digits = nn.functional.embedding(packed.int(), digit_table(chosen, packed.device, torch.int8))
    return digits.view(-1)[: math.prod(shape)].view(shape).clone()


def unpack_float(packed: UInt8[Tensor, " bytes"], shape: tuple[int, int], packing: str) -> Tensor:
    """The trits as float32 [d_out, d_in], for the inner loop: nothing is checked, a bad byte gives NaN."""
    chosen = packing_named(packing)
    digits = nn.functional.embedding(packed.int(), digit_table(chosen, packed.device, torch.float32))
    return digits.view(-1)[: shape[0] * shape[1]].view(shape)


def check_packed(packed: Tensor, shape: tuple[int, ...], packing: str) -> None:
    """Raises `CheckpointError`, as `unpack` does, unless `packed` holds trits of `shape`."""
    chosen = packing_named(packing)
    trits = math.prod(shape)
    if packed.dtype != torch.uint8 or packed.dim() != 1 or packed.numel() != chosen.packed_bytes(trits):
        raise CheckpointError(
            f"Packed weights of shape {list(shape)} need {chosen.packed_bytes(trits)} bytes in the "
            f"{packing} packing, found {list(packed.shape)} of {packed.dtype}: the checkpoint is damaged "
            "or was packed in another way."
        )
    if packed.numel() == 0:
        return
    table = digit_table(chosen, packed.device, torch.float32)
    bad = table.isnan().any(dim=1)[packed.int()]
    if bool(bad.any()):
        where = int(bad.nonzero()[0])
        raise CheckpointError(
            f"Byte {where} of the packed weights is {int(packed[where])}, which is no code of the {packing} "
            f"packing ({int(bad.sum())} such bytes): the checkpoint is damaged."
        )
    unused = table[packed[-1].int()][
        chosen.per_byte - (chosen.packed_bytes(trits) * chosen.per_byte - trits) :
    ]
    if bool((unused != _trit(chosen, _filler(chosen))).any()):
        raise CheckpointError(
            f"The last packed byte holds more than the {trits} trits of shape {list(shape)}: "
            "the checkpoint is damaged or its shape is wrong."
        )


@functools.lru_cache(maxsize=32)
def digit_table(packing: Packing, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The trits of every byte, [256, per_byte]; bytes that are no code give NaN (float) or 0 (int8)."""
    bad = float("nan") if dtype.is_floating_point else 0
    rows = [[bad if trit is None else trit for trit in _trits_of_byte(packing, byte)] for byte in range(256)]
    # A table made first under inference mode must still serve a later backward pass.
    with torch.inference_mode(False):
        return torch.tensor(rows, dtype=dtype, device=device)


def _trits_of_byte(packing: Packing, byte: int) -> list[int | None]:
    if byte >= packing.base**packing.per_byte:
        return [None] * packing.per_byte
    digits = [byte // packing.base**place % packing.base for place in range(packing.per_byte)]
    if packing.base == 4 and 3 in digits:
        return [None] * packing.per_byte
    return [_trit(packing, digit) for digit in digits]


def _trit(packing: Packing, digit: int) -> int:
    return digit - 1 if packing.holds_zero else 2 * digit - 1


def _filler(packing: Packing) -> int:
    return 1 if packing.holds_zero else 0
