"""Small C programs of the benchmark, compiled once into the cache of kernels."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tinyalign.common.doctor import cpu_features
from tinyalign.common.errors import InputError
from tinyalign.common.files import atomic_path
from tinyalign.engine.cpu.build import cache_folder


def compiled(source: Path, flags: tuple[str, ...], *, compiler: str | None = None) -> Path:
    """The shared library of one source file; raises `InputError` when the compiler is missing or fails.

    `compiler` is a name such as `cc`; by default `CXX`, else `c++`.
    """
    command = compiler or os.environ.get("CXX") or "c++"
    found = shutil.which(command.split()[0])
    if found is None:
        raise InputError(f"The benchmark needs the compiler {command!r}, which is not there: install it.")
    version = _run([*command.split(), "--version"])
    digest = hashlib.sha256(
        "\0".join([version, command, *flags, *cpu_features()]).encode() + source.read_bytes()
    )
    target = cache_folder() / f"bench-{source.stem}-{digest.hexdigest()[:16]}.so"
    if not target.is_file():
        with atomic_path(target) as temporary:
            _run([*command.split(), *flags, "-shared", "-fPIC", "-o", str(temporary), str(source), "-lm"])
    return target


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or ["it did not say why"]
        raise InputError(f"The compiler {command[0]!r} failed: {said[0].strip()}.")
    return done.stdout
