"""A machine for the CUDA backend without a GPU: its sources compiled as C++, run fiber by fiber on a CPU."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tinyalign.common.compiling import cache_folder
from tinyalign.common.files import atomic_path
from tinyalign.engine.cuda.compiling import SOURCES
from tinyalign.engine.cuda.layout import Shape

_HERE = Path(__file__).resolve().parent / "emulation"
_FLAGS = (
    "-std=c++17",
    "-O2",
    "-U_FORTIFY_SOURCE",
    "-fPIC",
    "-shared",
    "-Wno-unknown-pragmas",
    "-DTA_EMULATED",
)


@functools.lru_cache(maxsize=32)
def library(shape: Shape) -> Any:
    """The kernel for a shape as a library of this machine, compiled in a few seconds and kept."""
    sources = sorted([*SOURCES.iterdir(), *_HERE.iterdir()])
    digest = hashlib.sha256(repr(shape).encode() + b"".join(source.read_bytes() for source in sources))
    target = cache_folder() / f"emulated-{digest.hexdigest()[:24]}.so"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Test processes that come to the same name at once write the same bytes.
        with atomic_path(target) as temporary:
            macros = [f"-D{name}={value}" for name, value in shape.macros.items()]
            compiler = shutil.which("c++") or "g++"
            places = [f"-I{SOURCES}", f"-I{_HERE}"]
            command = [compiler, *_FLAGS, *macros, *places, "-o", str(temporary), str(_HERE / "emulate.cpp")]
            subprocess.run(command, check=True)
    lib = ctypes.CDLL(str(target))
    lib.ta_emulate.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    lib.ta_emulate.restype = None
    lib.ta_sizes.argtypes = [ctypes.c_void_p]
    lib.ta_sizes.restype = None
    return lib


@dataclass
class EmulatedKernel:
    """`machine.Kernel`; `order` seeds the order in which threads run."""

    shape: Shape
    resident: int
    blocks: int
    order: int
    launches: int = 0

    def launch(self, model: torch.Tensor, job: torch.Tensor, blocks: int) -> None:
        """Run the blocks one after the other."""
        self.launches += 1
        library(self.shape).ta_emulate(
            model.data_ptr(), job.data_ptr(), blocks, self.order + 1000 * self.launches
        )


@dataclass
class EmulatedMachine:
    """`machine.Machine` with so many multiprocessors and so much shared memory, `resident` for weights."""

    order: int = 0
    processors: int = 2
    resident: int = 0
    memory: int = 1 << 30
    shared_memory: int = 1 << 18

    def free_memory(self) -> int:
        """As told."""
        return self.memory

    def kernel(self, shape: Shape, packed_bytes: int) -> EmulatedKernel:
        """The emulated kernel."""
        return EmulatedKernel(shape, min(self.resident, packed_bytes), self.processors, self.order)
