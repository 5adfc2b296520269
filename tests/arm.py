"""Programs for 64-bit Arm on this machine: a cross compiler and an emulator, where both are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
# What every such processor has, and what most have had since 2018.
LEVELS = ("armv8-a", "armv8.2-a+dotprod")
FLAGS = (
    "-std=c++17",
    "-O2",
    "-ftree-vectorize",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-pthread",
    "-static",
)

needs_arm = pytest.mark.skipif(
    not (shutil.which(COMPILER) and shutil.which(EMULATOR)),
    reason=f"{COMPILER} and {EMULATOR} are not both installed",
)


def compile_for_arm(source: Path, folder: Path, level: str, target: Path, *flags: str) -> None:
    """Compile the program `source`, which includes files of `folder`, for a level of the architecture."""
    command = [COMPILER, *FLAGS, *flags, f"-march={level}", f"-I{folder}", "-o", str(target), str(source)]
    subprocess.run(command, check=True)


def emulate(program: Path, given: bytes, folder: Path) -> tuple[bytes, str]:
    """What the program writes, and what it says on standard error, when it is given a file of these bytes."""
    file = folder / "given"
    file.write_bytes(given)
    done = subprocess.run([EMULATOR, str(program), str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.decode().strip()
