"""Packings: exact round trips at any shape, sizes, and bytes that are no code."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyalign.common.errors import CheckpointError, InputError, UnknownNameError
from tinyalign.ternary.packing import PACKINGS, check_packed, default_packing, pack, unpack, unpack_float

SHAPES = st.lists(st.integers(0, 9), min_size=0, max_size=4).map(tuple)


def _trits(shape: tuple[int, ...], seed: int, packing: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if packing == "1bit":
        return (torch.randint(0, 2, shape, generator=generator) * 2 - 1).to(torch.int8)
    return torch.randint(-1, 2, shape, generator=generator).to(torch.int8)


def _bytes_one_by_one(trits: list[int], base: int, per_byte: int) -> list[int]:
    """An independent packer: plain integers, one digit at a time."""
    digits = [(t + 1) // 2 if base == 2 else t + 1 for t in trits]
    digits += [0 if base == 2 else 1] * (-len(digits) % per_byte)
    found = []
    for start in range(0, len(digits), per_byte):
        byte = 0
        for digit in reversed(digits[start : start + per_byte]):
            byte = byte * base + digit
        found.append(byte)
    return found


@given(SHAPES, st.integers(0, 2**32), st.sampled_from(sorted(PACKINGS)))
def test_round_trip_at_any_shape(shape: tuple[int, ...], seed: int, packing: str) -> None:
    trits = _trits(shape, seed, packing)
    packed = pack(trits, packing)
    chosen = PACKINGS[packing]
    assert packed.tolist() == _bytes_one_by_one(trits.reshape(-1).tolist(), chosen.base, chosen.per_byte)
    assert packed.numel() == math.ceil(math.prod(shape) / chosen.per_byte)
    again = unpack(packed, shape, packing)
    assert again.dtype == torch.int8
    assert torch.equal(again, trits)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32), st.sampled_from(sorted(PACKINGS)))
def test_float_unpacking_agrees(d_out: int, d_in: int, seed: int, packing: str) -> None:
    trits = _trits((d_out, d_in), seed, packing)
    assert torch.equal(unpack_float(pack(trits, packing), (d_out, d_in), packing), trits.float())


def test_non_contiguous_trits_pack_in_row_major_order() -> None:
    trits = _trits((6, 7), 0, "base3")
    assert torch.equal(unpack(pack(trits.T, "base3"), (7, 6), "base3"), trits.T)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_of_base_3(byte: int) -> None:
    packed = torch.tensor([byte], dtype=torch.uint8)
    if byte > 242:
        with pytest.raises(CheckpointError, match=f"is {byte}, which is no code of the base3"):
            unpack(packed, (5,), "base3")
        assert unpack_float(packed, (1, 5), "base3").isnan().all()
    else:
        assert pack(unpack(packed, (5,), "base3"), "base3").item() == byte


@pytest.mark.parametrize("place", range(4))
def test_a_two_bit_three_is_found_anywhere(place: int) -> None:
    packed = pack(_trits((64, 4), 3, "2bit"), "2bit")
    packed[40] |= 3 << (2 * place)
    with pytest.raises(CheckpointError, match=r"Byte 40 .* no code of the 2bit"):
        unpack(packed, (64, 4), "2bit")


@pytest.mark.parametrize("packing", sorted(PACKINGS))
def test_wrong_sizes_are_refused(packing: str) -> None:
    packed = pack(_trits((6, 7), 1, packing), packing)
    for bad in (packed[:-1], torch.cat([packed, packed[:1]]), packed.to(torch.int32), packed[None]):
        with pytest.raises(CheckpointError, match="damaged or was packed in another way"):
            check_packed(bad, (6, 7), packing)


@pytest.mark.parametrize(("packing", "last"), [("2bit", 0b01_01_10_01), ("base3", 1 + 3 + 9), ("1bit", 0b10)])
def test_unused_places_must_be_empty(packing: str, last: int) -> None:
    with pytest.raises(CheckpointError, match="more than the 1 trits"):
        unpack(torch.tensor([last], dtype=torch.uint8), (1, 1), packing)


def test_what_cannot_be_packed() -> None:
    with pytest.raises(InputError, match="found 0"):
        pack(torch.tensor([0, 1], dtype=torch.int8), "1bit")
    with pytest.raises(InputError, match="from -1 to 2"):
        pack(torch.tensor([2, -1], dtype=torch.int8), "2bit")
    with pytest.raises(UnknownNameError, match="2bit"):
        pack(torch.tensor([1], dtype=torch.int8), "2bits")
    assert (default_packing(1), default_packing(1.58)) == ("1bit", "2bit")
