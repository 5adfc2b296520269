"""Ahead-of-time compilation of the Triton kernels, as a launch would compile them, without a GPU."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tinyalign.ternary.gpu import kernels
from tinyalign.ternary.gpu.plan import plan, power_above
from tinyalign.ternary.packing import PACKINGS
from tinyalign.ternary.quantize import SMALLEST_SCALE

POINTERS = {
    "values": "*i8",
    "packed": "*u8",
    "out": "*fp32",
    "scales": "*fp32",
    "scale": "*fp32",
    "bias": "*fp32",
}
INT8_PRODUCT = re.compile(r"(wgmma\.mma_async|tcgen05\.mma|mma\.sync)\S*?(?:s8\.s8|kind::i8)")


@dataclass(frozen=True)
class Compiled:
    """A cubin, the PTX it came from, and the shared memory that a program takes, in bytes."""

    cubin: bytes
    ptx: str
    shared: int

    @property
    def int8_products(self) -> set[str]:
        """Which kinds of tensor-core instruction with int8 factors the PTX holds."""
        return set(INT8_PRODUCT.findall(self.ptx))

    @property
    def spilled(self) -> int:
        """Bytes of stack that a thread takes: more than none means that registers were spilled."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "kernel.cubin"
            file.write_bytes(self.cubin)
            command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        return max(int(found) for found in re.findall(r"STACK:(\d+)", done.stdout))


def compiled(capability: int, tokens: int, d_out: int, d_in: int, packing: str) -> Compiled:
    """The kernel of the plan for this shape, with scales and bias, compiled for sm_`capability`."""
    chosen = PACKINGS[packing]
    whole_bytes = chosen.base != 3 and d_in % chosen.per_byte == 0
    steps = plan(tokens, d_out, d_in, whole_bytes)
    kernel = kernels.gemv if steps.kernel == "gemv" else kernels.tiled
    constants = {
        "BASE": chosen.base,
        "PER_BYTE": chosen.per_byte,
        "WHOLE_BYTES": whole_bytes,
        "BLOCK_OUT": steps.block_out,
        "BLOCK_IN": steps.block_in,
        "SPLIT": steps.splits > 1,
        "SCALED": steps.splits == 1,
        "BIASED": steps.splits == 1,
    }
    if steps.kernel == "tiled":
        constants["BLOCK_TOKENS"] = steps.block_tokens
    names = kernel.arg_names
    pointers = POINTERS if steps.splits == 1 else {**POINTERS, "out": "*i32"}
    signature = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names}
    # What a launch finds divisible by 16 is compiled in.
    sizes = {"d_out": d_out, "d_in": d_in, "split_in": steps.split_in}
    divisible = [*POINTERS, *(name for name, size in sizes.items() if size % 16 == 0)]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in divisible}
    return _compiled(kernel, capability, signature, constants, attributes, steps.warps, steps.stages)


def compiled_quantizer(capability: int, d_in: int) -> Compiled:
    """The kernel that makes int8 of floats, compiled for sm_`capability`."""
    signature = {"x": "*fp32", "values": "*i8", "largest": "*fp32", "d_in": "i32"}
    attributes = {(place,): [["tt.divisibility", 16]] for place in range(4 if d_in % 16 == 0 else 3)}
    constants = {"smallest": SMALLEST_SCALE, "BLOCK": min(1024, max(32, power_above(d_in)))}
    signature |= dict.fromkeys(constants, "constexpr")
    return _compiled(kernels.quantized, capability, signature, constants, attributes, 4, 3)


def _compiled(
    kernel: Any,
    capability: int,
    signature: dict[str, str],
    constants: dict[str, Any],
    attributes: dict[tuple[int], list[list[Any]]],
    warps: int,
    stages: int,
) -> Compiled:
    made = triton.compile(
        ASTSource(kernel, signature, constexprs=constants, attrs=attributes),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": warps, "num_stages": stages, "enable_fp_fusion": False},
    )
    return Compiled(made.asm["cubin"], made.asm["ptx"], made.metadata.shared)
