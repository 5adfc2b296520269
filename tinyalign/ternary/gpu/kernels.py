"""The Triton kernels: int8 activations by packed trits, exact int32 sums. Importing this imports Triton.

Trits are unpacked in registers. Sums are integers, and integers add up the same in any order: neither the
tiling nor the atomic additions of a split can change a result.

`no_type_check` keeps checkers of jaxtyping's import hook off these functions: Triton compiles their source.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _trits(
    packed,
    rows,
    first,
    d_out,
    d_in,
    BASE: tl.constexpr,
    PER_BYTE: tl.constexpr,
    WHOLE_BYTES: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """Trits int8 [rows, BLOCK_IN] of the columns from `first`; any value where a row or column is outside.

    With WHOLE_BYTES every row of the matrix begins with a byte of its own, and a byte is loaded once;
    otherwise rows share bytes, and every trit looks for its own.
    """
    if WHOLE_BYTES:
        bits: tl.constexpr = 8 // PER_BYTE
        columns = first // PER_BYTE + tl.arange(0, BLOCK_IN // PER_BYTE)
        row_bytes = d_in // PER_BYTE
        inside = (rows[:, None] < d_out) & (columns[None, :] < row_bytes)
        codes = tl.load(packed + rows[:, None] * row_bytes + columns[None, :], mask=inside, other=0)
        shifts = (tl.arange(0, PER_BYTE) * bits).to(tl.uint8)
        places = (codes[:, :, None] >> shifts[None, None, :]) & (BASE - 1)
        digits = tl.reshape(places, (rows.shape[0], BLOCK_IN))
    else:
        columns = first + tl.arange(0, BLOCK_IN)
        inside = (rows[:, None] < d_out) & (columns[None, :] < d_in)
        flat = rows[:, None] * d_in + columns[None, :]
        codes = tl.load(packed + flat // PER_BYTE, mask=inside, other=0)
        place = flat % PER_BYTE
        if BASE == 3:
            # ceil(2^16 / 3^place): the product shifted by 16 is the exact quotient for every byte.
            inverse = tl.where(place == 0, 65536, tl.where(place == 1, 21846, 7282))
            inverse = tl.where(place == 3, 2428, tl.where(place == 4, 810, inverse))
            quotient = (codes.to(tl.int32) * inverse) >> 16
            digits = quotient - 3 * ((quotient * 21846) >> 16)
        else:
            bits: tl.constexpr = 8 // PER_BYTE
            digits = (codes >> (place * bits).to(tl.uint8)) & (BASE - 1)
    if BASE == 2:
        return 2 * digits.to(tl.int8) - 1
    return digits.to(tl.int8) - 1


# The number of tokens changes from call to call: it must not decide which code is compiled.
@triton.jit(do_not_specialize=["tokens", "out_blocks"])
@no_type_check
def tiled(
    values,
    packed,
    sums,
    tokens,
    d_out,
    d_in,
    out_blocks,
    split_in,
    BASE: tl.constexpr,
    PER_BYTE: tl.constexpr,
    WHOLE_BYTES: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """`sums[t, o] = sum_i values[t, i] * trit[o, i]`, a tile of BLOCK_OUT x BLOCK_TOKENS a program.

    Grid: (tiles, outputs the fastest; splits of `split_in` inputs each). With SPLIT the programs of a tile
    add to `sums`, which must be zeros. The trits are the left factor: tensor cores read that one from
    registers, and few tokens fill the narrow side of their tile.
    """
    tile = tl.program_id(0)
    rows = (tile % out_blocks) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    columns = (tile // out_blocks) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    begin = tl.program_id(1) * split_in
    end = tl.minimum(begin + split_in, d_in)
    sources = values + columns[None, :].to(tl.int64) * d_in
    total = tl.zeros((BLOCK_OUT, BLOCK_TOKENS), dtype=tl.int32)
    for first in range(begin, end, BLOCK_IN):
        trits = _trits(packed, rows, first, d_out, d_in, BASE, PER_BYTE, WHOLE_BYTES, BLOCK_IN)
        inputs = first + tl.arange(0, BLOCK_IN)
        # Zeros beyond the last input: whatever the trits are there, they add nothing.
        inside = (columns[None, :] < tokens) & (inputs[:, None] < d_in)
        block = tl.load(sources + inputs[:, None], mask=inside, other=0)
        total = tl.dot(trits, block, total, out_dtype=tl.int32)
    targets = sums + columns[None, :].to(tl.int64) * d_out + rows[:, None]
    inside = (columns[None, :] < tokens) & (rows[:, None] < d_out)
    if SPLIT:
        tl.atomic_add(targets, total, mask=inside, sem="relaxed")
    else:
        tl.store(targets, total, mask=inside)


@triton.jit
@no_type_check
def gemv(
    values,
    packed,
    sums,
    d_out,
    d_in,
    split_in,
    BASE: tl.constexpr,
    PER_BYTE: tl.constexpr,
    WHOLE_BYTES: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """The same sums, BLOCK_OUT outputs of one token a program, without tensor cores.

    Grid: (blocks of outputs; splits of `split_in` inputs each; tokens). With SPLIT the programs of a block
    add to `sums`, which must be zeros.
    """
    token = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    begin = tl.program_id(1) * split_in
    end = tl.minimum(begin + split_in, d_in)
    products = tl.zeros((BLOCK_OUT, BLOCK_IN), dtype=tl.int32)
    for first in range(begin, end, BLOCK_IN):
        trits = _trits(packed, rows, first, d_out, d_in, BASE, PER_BYTE, WHOLE_BYTES, BLOCK_IN)
        inputs = first + tl.arange(0, BLOCK_IN)
        block = tl.load(values + token * d_in + inputs, mask=inputs < d_in, other=0)
        products += trits.to(tl.int32) * block.to(tl.int32)[None, :]
    total = tl.sum(products, axis=1)
    targets = sums + token * d_out + rows
    if SPLIT:
        tl.atomic_add(targets, total, mask=rows < d_out, sem="relaxed")
    else:
        tl.store(targets, total, mask=rows < d_out)
