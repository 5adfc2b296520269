"""The Triton kernels: floats to int8, and int8 by packed trits to exact int32. Importing this imports Triton.

Trits are unpacked in registers. Sums are integers, and integers add up the same in any order: neither the
tiling nor the atomic additions of a split can change a result. What is done in floats has torch's operations
in torch's order, so torch's bits, as long as the compiler contracts no product and sum
(`enable_fp_fusion=False`).

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
    out,
    scales,
    scale,
    bias,
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
    SCALED: tl.constexpr,
    BIASED: tl.constexpr,
):
    """`out[t, o] = sum_i values[t, i] * trit[o, i]`, a tile of BLOCK_OUT x BLOCK_TOKENS a program.

    Grid: (tiles, outputs the fastest; splits of `split_in` inputs each). With SPLIT the programs of a tile
    add to `out`, which must be zeros. With SCALED (never both) `out` is float32: the sums times
    `scales[t] * scale[0]`, plus `bias[o]` with BIASED. The trits are the left factor: tensor cores read that
    one from registers, and few tokens fill the narrow side of their tile.
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
    targets = out + columns[None, :].to(tl.int64) * d_out + rows[:, None]
    inside = (columns[None, :] < tokens) & (rows[:, None] < d_out)
    if SCALED:
        factors = tl.load(scales + columns, mask=columns < tokens, other=0.0) * tl.load(scale)
        y = total.to(tl.float32) * factors[None, :]
        if BIASED:
            y += tl.load(bias + rows, mask=rows < d_out, other=0.0)[:, None]
        tl.store(targets, y, mask=inside)
    elif SPLIT:
        tl.atomic_add(targets, total, mask=inside, sem="relaxed")
    else:
        tl.store(targets, total, mask=inside)


@triton.jit
@no_type_check
def gemv(
    values,
    packed,
    out,
    scales,
    scale,
    bias,
    d_out,
    d_in,
    split_in,
    BASE: tl.constexpr,
    PER_BYTE: tl.constexpr,
    WHOLE_BYTES: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    SPLIT: tl.constexpr,
    SCALED: tl.constexpr,
    BIASED: tl.constexpr,
):
    """The same as `tiled`, BLOCK_OUT outputs of one token a program, without tensor cores.

    Grid: (blocks of outputs; splits of `split_in` inputs each; tokens).
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
    targets = out + token * d_out + rows
    if SCALED:
        y = total.to(tl.float32) * (tl.load(scales + token) * tl.load(scale))
        if BIASED:
            y += tl.load(bias + rows, mask=rows < d_out, other=0.0)
        tl.store(targets, y, mask=rows < d_out)
    elif SPLIT:
        tl.atomic_add(targets, total, mask=rows < d_out, sem="relaxed")
    else:
        tl.store(targets, total, mask=rows < d_out)


@triton.jit
@no_type_check
def quantized(x, values, largest, d_in, smallest: tl.constexpr, BLOCK: tl.constexpr):
    """`absmax_int8` without its scales: `values` int8 and `largest` float32, a row of `x` a program."""
    row = tl.program_id(0).to(tl.int64)
    highest = tl.zeros((BLOCK,), dtype=tl.float32)
    damaged = tl.zeros((BLOCK,), dtype=tl.int32)
    for first in range(0, d_in, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        numbers = tl.load(x + row * d_in + columns, mask=columns < d_in, other=0.0).to(tl.float32)
        highest = tl.maximum(highest, tl.abs(numbers))
        # A maximum may pass over NaN, which must spoil its token.
        damaged += (numbers != numbers).to(tl.int32)
    most = tl.maximum(tl.max(highest, axis=0), smallest)
    most = tl.where(tl.sum(damaged, axis=0) > 0, float("nan"), most)
    tl.store(largest + row, most)
    factor = tl.div_rn(1.0, most) * 127.0
    for first in range(0, d_in, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        numbers = tl.load(x + row * d_in + columns, mask=columns < d_in, other=0.0).to(tl.float32)
        # Beyond 1.5 * 2^23 float32 holds no fractions: adding it rounds half to even.
        rounded = (numbers * factor + 12582912.0) - 12582912.0
        rounded = tl.where(rounded == rounded, rounded, 0.0)
        tl.store(values + row * d_in + columns, rounded.to(tl.int8), mask=columns < d_in)
