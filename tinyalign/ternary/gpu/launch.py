"""Runs the Triton kernels on tensors, and tries them once. Importing this imports Triton."""

from __future__ import annotations

import contextlib
import subprocess

import torch
from jaxtyping import Float, Float32, Int8, Int32, UInt8
from torch import Tensor
from triton.errors import TritonError
from triton.runtime.jit import JITFunction

from tinyalign.common.errors import InputError
from tinyalign.ternary import reference
from tinyalign.ternary.gpu import kernels
from tinyalign.ternary.gpu.plan import Plan, plan, power_above
from tinyalign.ternary.packing import pack, packing_named
from tinyalign.ternary.quantize import SMALLEST_SCALE, QuantizedTokens, absmax_int8

# Tokens, outputs, inputs and packing of the trial run: every tile of the table, loops over inputs, inputs
# that several programs share, rows of trits that end inside a byte, and every packing.
TRIALS = (
    (1, 64, 2048, "2bit"),
    (16, 64, 1024, "2bit"),
    (64, 64, 320, "2bit"),
    (160, 64, 320, "2bit"),
    (2048, 2048, 320, "2bit"),
    (16, 64, 321, "2bit"),
    (1, 64, 320, "base3"),
    (160, 64, 320, "base3"),
    (160, 64, 320, "1bit"),
)

# Without fusion of products and sums, which would round otherwise than torch.
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


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
    steps = _planned(values, packed, shape, packing)
    make = torch.empty if steps.splits == 1 else torch.zeros
    sums = make((values.shape[0], shape[0]), dtype=torch.int32, device=values.device)
    return _multiply(steps, values, packed, packing, sums)


def quantize(x: Float[Tensor, "tokens d_in"]) -> QuantizedTokens:
    """`absmax_int8(x)`, bit for bit, in two launches."""
    tokens, d_in = x.shape
    if tokens == 0 or d_in == 0:
        return absmax_int8(x)
    x = x.contiguous()
    values = torch.empty_like(x, dtype=torch.int8)
    largest = torch.empty((tokens, 1), dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        kernels.quantized[(tokens,)](
            x,
            values,
            largest,
            d_in,
            smallest=SMALLEST_SCALE,
            BLOCK=min(1024, max(32, power_above(d_in))),
            **_OPTIONS,
        )
    # Divided by torch, which on CUDA multiplies by an inverse instead: whatever it does, these are its bits.
    return QuantizedTokens(values, largest / 127.0)


def linear(
    x: Float32[Tensor, "tokens d_in"],
    packed: UInt8[Tensor, " bytes"],
    shape: tuple[int, int],
    packing: str,
    scale: Float32[Tensor, ""],
    bias: Float32[Tensor, " d_out"] | None,
) -> Float32[Tensor, "tokens d_out"]:
    """The whole layer: `absmax_int8(x)`, the exact sums, both scales and the bias, in three launches.

    Bit for bit what torch gives with one after the other. Raises as `matmul` does.
    """
    steps = _planned(x, packed, shape, packing)
    tokens = quantize(x)
    if steps.splits > 1:
        # The sums of a split are whole only when all its programs have ended.
        y = matmul(tokens.values, packed, shape, packing).float().mul_(tokens.scale * scale)
        return y if bias is None else y.add_(bias)
    y = torch.empty((x.shape[0], shape[0]), dtype=torch.float32, device=x.device)
    return _multiply(steps, tokens.values, packed, packing, y, (tokens.scale, scale, bias))


def _planned(rows: Tensor, packed: Tensor, shape: tuple[int, int], packing: str) -> Plan:
    chosen = packing_named(packing)
    expected = chosen.packed_bytes(shape[0] * shape[1])
    if rows.shape[1] != shape[1] or packed.numel() != expected:
        raise InputError(
            f"{packed.numel()} packed bytes and {rows.shape[1]} inputs do not fit a {packing} layer of "
            f"{list(shape)}: expected {expected} bytes and {shape[1]} inputs."
        )
    # Five trits a byte never fill a tile whose side is a power of two.
    whole_bytes = chosen.base != 3 and shape[1] % chosen.per_byte == 0
    return plan(rows.shape[0], *shape, whole_bytes)


def _multiply(
    steps: Plan,
    values: Tensor,
    packed: Tensor,
    packing: str,
    out: Tensor,
    scaling: tuple[Tensor, Tensor, Tensor | None] | None = None,
) -> Tensor:
    """Launches the plan, which writes `out` [tokens, d_out]; `scaling`: scales [tokens, 1], scale, bias."""
    (tokens, d_in), d_out = values.shape, out.shape[1]
    if tokens == 0:
        return out
    # In place of what a kernel does not read it gets `out`: Triton wants a pointer.
    scales, scale, bias = (out, out, None) if scaling is None else scaling
    biases = out if bias is None else bias.contiguous()
    pointers = (values.contiguous(), packed.contiguous(), out, scales, scale, biases)
    chosen = packing_named(packing)
    options = {
        "BASE": chosen.base,
        "PER_BYTE": chosen.per_byte,
        "WHOLE_BYTES": steps.whole_bytes,
        "BLOCK_OUT": steps.block_out,
        "BLOCK_IN": steps.block_in,
        "SPLIT": steps.splits > 1,
        "SCALED": scaling is not None,
        "BIASED": bias is not None,
        **_OPTIONS,
        "num_warps": steps.warps,
        "num_stages": steps.stages,
    }
    out_blocks = -(-d_out // steps.block_out)
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(values):
        if steps.kernel == "gemv":
            grid = (out_blocks, steps.splits, tokens)
            kernels.gemv[grid](*pointers, d_out, d_in, steps.split_in, **options)
        else:
            grid = (out_blocks * -(-tokens // steps.block_tokens), steps.splits)
            options["BLOCK_TOKENS"] = steps.block_tokens
            kernels.tiled[grid](*pointers, tokens, d_out, d_in, out_blocks, steps.split_in, **options)
    return out


def trial(device: str) -> str | None:
    """None where all kernels compile on `device` and give the reference's numbers; otherwise the reason.

    Waits for the device. Raises `InputError` while a CUDA graph is being captured, which waiting would break,
    and where no memory is left.
    """
    if device == "cuda" and torch.cuda.is_current_stream_capturing():
        raise InputError("A ternary layer runs first inside a CUDA graph's capture: run it once before.")
    # Interpreted, tiles differ in their sizes only, and the large ones take seconds.
    trials = TRIALS if device == "cuda" else TRIALS[:2]
    generator = torch.Generator().manual_seed(0)
    try:
        scale, bias = (torch.rand(size, generator=generator).to(device) for size in ((), (2048,)))
        for tokens, d_out, d_in, packing in trials:
            trits = torch.randint(-1, 2, (d_out, d_in), generator=generator).to(torch.int8)
            if packing == "1bit":
                trits = trits.masked_fill(trits == 0, 1)
            x = torch.randn(tokens, d_in, generator=generator).to(device)
            if not _agrees(x, (pack(trits, packing).to(device), (d_out, d_in), packing), scale, bias[:d_out]):
                return (
                    f"a trial run gave wrong numbers for {tokens} tokens, {d_in} inputs and {d_out} outputs "
                    f"in {packing}"
                )
    except torch.OutOfMemoryError as error:
        # No reason to do without the kernels from now on, as what is returned would be.
        raise InputError(
            "The GPU has no memory left to try the Triton kernels: free some, or ask for the reference "
            "kernel."
        ) from error
    except (RuntimeError, OSError, subprocess.SubprocessError, TritonError) as error:
        return f"a trial run failed with {type(error).__name__}: {_first_line(error)}"
    return None


def _agrees(
    x: Float32[Tensor, "tokens d_in"],
    layer: tuple[UInt8[Tensor, " bytes"], tuple[int, int], str],
    scale: Float32[Tensor, ""],
    bias: Float32[Tensor, " d_out"],
) -> bool:
    """Whether the kernels give the reference's sums and outputs, bit for bit."""
    made = absmax_int8(x)
    sums = reference.matmul(made.values, *layer)
    y = sums.mul(made.scale * scale).add_(bias)
    same = torch.equal(matmul(made.values, *layer), sums.int())
    return same and torch.equal(linear(x, *layer, scale, bias), y)


def _first_line(error: Exception) -> str:
    with contextlib.suppress(StopIteration):
        return next(line for line in str(error).splitlines() if line.strip()).strip()
    return "no message"
