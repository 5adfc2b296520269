"""The order of packed trits against PTX's own formulas for the fragments of mma.m16n8k32."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.engine.cuda.fragments import float_fragments, one_bit_words, ternary_words


def place(lane: int, i: int) -> tuple[int, int]:
    """(row, column) of element i of a lane, as the PTX manual has it for .u8 and .s8."""
    group, thread = lane // 4, lane % 4
    row = group if i < 4 or 8 <= i < 12 else group + 8
    column = thread * 4 + i % 4 + (16 if i >= 8 else 0)
    return row, column


def matrix(rows: int, columns: int, seed: int, values: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(values, dtype=np.int8), (rows, columns))


@given(st.integers(1, 40), st.integers(1, 140), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_a_lane_finds_its_ternary_codes(rows: int, columns: int, seed: int) -> None:
    trits = matrix(rows, columns, seed, (-1, 0, 1))
    words = ternary_words(trits)
    assert words.shape == (-(-rows // 16), 2 * -(-columns // 64), 32)
    codes = np.ones((words.shape[0] * 16, words.shape[1] * 32), dtype=int)
    codes[:rows, :columns] += trits
    for tile, part, lane in np.ndindex(words.shape):
        word = int(words[tile, part, lane])
        for i in range(16):
            row, column = place(lane, i)
            register = (word >> (2 * (i // 4))) & 0x03030303
            assert (register >> (8 * (i % 4))) & 255 == codes[16 * tile + row, 32 * part + column]


@given(st.integers(1, 40), st.integers(1, 140), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_a_lane_finds_its_signs(rows: int, columns: int, seed: int) -> None:
    signs = matrix(rows, columns, seed, (-1, 1))
    words = one_bit_words(signs)
    assert words.shape == (-(-rows // 16), -(-columns // 64), 32)
    codes = np.zeros((words.shape[0] * 16, words.shape[1] * 64), dtype=int)
    codes[:rows, :columns] = (signs + 1) // 2
    for tile, pair, lane in np.ndindex(words.shape):
        word = int(words[tile, pair, lane])
        for half in range(2):
            for i in range(16):
                row, column = place(lane, i)
                register = (word >> (4 * half + i // 4)) & 0x01010101
                at = codes[16 * tile + row, 64 * pair + 32 * half + column]
                assert (register >> (8 * (i % 4))) & 255 == at


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_a_lane_finds_its_floats(rows: int, columns: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    found = float_fragments(weight)
    assert found.shape == (-(-rows // 16), -(-columns // 8), 32, 4)
    whole = np.zeros((found.shape[0] * 16, found.shape[1] * 8), dtype=np.float32)
    whole[:rows, :columns] = weight
    for tile, part, lane, i in np.ndindex(found.shape):
        # The manual's mma.m16n8k8 of .tf32: a0 and a2 are of row `group`, a2 and a3 four columns on.
        row = lane // 4 + (8 if i in (1, 3) else 0)
        column = lane % 4 + (4 if i in (2, 3) else 0)
        assert found[tile, part, lane, i] == whole[16 * tile + row, 8 * part + column]
