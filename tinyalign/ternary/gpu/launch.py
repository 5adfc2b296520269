"""Runs the Triton kernels on tensors, and tries them once. Importing this imports Triton."""

from __future__ import annotations

import contextlib
import subprocess

import torch
from jaxtyping import Int8, Int32, UInt8
from torch import Tensor
from triton.errors import TritonError
from triton.runtime.jit import JITFunction

from tinyalign.common.errors import InputError
from tinyalign.ternary import reference
from tinyalign.ternary.gpu import kernels
from tinyalign.ternary.gpu.plan import plan
from tinyalign.ternary.packing import pack, packing_named

# Tokens and outputs of the trial run: one of every tile in the table.
TRIALS = ((1, 64), (16, 64), (64, 64), (160, 64), (2048, 2048))


def interpreted() -> bool:
    """Whether Triton was imported under TRITON_INTERPRET=1: kernels then run as numpy on the CPU."""
    return not isinstance(kernels.tiled, JITFunction)


def matmul(
    values: Int8[Tensor, "tokens d_in"], packed: UInt8[Tensor, " bytes"], shape: tuple[int, int], packing: str
) -> Int32[Tensor, "tokens d_out"]:
    """`values @ trits.T` for trits of shape (d_out, d_in): exact int32 sums, the same in every run.

    Waits for nothing and allocates the sums alone, so that a CUDA graph can hold it once each shape has
    run before (a first call compiles). The bytes are not checked, as they were when they were loaded.
    Raises `InputError` on a layer whose indices leave int32 and on bytes that do not fit the shape.
    """
    chosen = packing_named(packing)
    (tokens, d_in), d_out = values.shape, shape[0]
    if d_in != shape[1] or packed.numel() != chosen.packed_bytes(d_out * d_in):
        raise InputError(
            f"{packed.numel()} packed bytes and {d_in} inputs do not fit a {packing} layer of "
            f"{list(shape)}: expected {chosen.packed_bytes(d_out * shape[1])} bytes and {shape[1]} inputs."
        )
    # Five trits a byte never fill a tile whose side is a power of two.
    whole_bytes = chosen.base != 3 and d_in % chosen.per_byte == 0
    steps = plan(tokens, d_out, d_in, whole_bytes)
    make = torch.empty if steps.splits == 1 else torch.zeros
    sums = make((tokens, d_out), dtype=torch.int32, device=values.device)
    if tokens == 0:
        return sums
    values, packed = values.contiguous(), packed.contiguous()
    out_blocks = -(-d_out // steps.block_out)
    options = {
        "BASE": chosen.base,
        "PER_BYTE": chosen.per_byte,
        "WHOLE_BYTES": whole_bytes,
        "BLOCK_OUT": steps.block_out,
        "BLOCK_IN": steps.block_in,
        "SPLIT": steps.splits > 1,
        "num_warps": steps.warps,
        "num_stages": steps.stages,
        "enable_fp_fusion": False,
    }
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(values):
        if steps.kernel == "gemv":
            grid = (out_blocks, steps.splits, tokens)
            kernels.gemv[grid](values, packed, sums, d_out, d_in, steps.split_in, **options)
        else:
            grid = (out_blocks * -(-tokens // steps.block_tokens), steps.splits)
            options["BLOCK_TOKENS"] = steps.block_tokens
            kernels.tiled[grid](
                values, packed, sums, tokens, d_out, d_in, out_blocks, steps.split_in, **options
            )
    return sums


def trial(device: str) -> str | None:
    """None where every tile of the table compiles on `device` and gives the reference's sums; or the reason.

    Waits for the device. Raises `InputError` while a CUDA graph is being captured, which waiting would break.
    """
    if device == "cuda" and torch.cuda.is_current_stream_capturing():
        raise InputError("A ternary layer runs first inside a CUDA graph's capture: run it once before.")
    generator = torch.Generator().manual_seed(0)
    # The interpreter would take seconds for the last.
    for tokens, d_out in TRIALS if device == "cuda" else TRIALS[:-1]:
        trits = torch.randint(-1, 2, (d_out, 64), generator=generator).to(torch.int8)
        values = torch.randint(-128, 128, (tokens, 64), generator=generator).to(device, torch.int8)
        packed = pack(trits, "2bit").to(device)
        expected = reference.matmul(values, packed, (d_out, 64), "2bit")
        try:
            found = matmul(values, packed, (d_out, 64), "2bit")
        except (RuntimeError, OSError, subprocess.SubprocessError, TritonError) as error:
            return f"a trial run failed with {type(error).__name__}: {_first_line(error)}"
        if not torch.equal(found, expected.int()):
            return f"a trial run gave wrong sums for {tokens} tokens and {d_out} outputs"
    return None


def _first_line(error: Exception) -> str:
    with contextlib.suppress(StopIteration):
        return next(line for line in str(error).splitlines() if line.strip()).strip()
    return "no message"
