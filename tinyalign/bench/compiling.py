"""Small C programs of the benchmark, compiled once into the cache of kernels."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from tinyalign.common.compiling import build, cache_folder, digest, version_of
from tinyalign.common.errors import InputError

_OTHERWISE = "leave this part of the benchmark out"


def compiled(source: Path, flags: tuple[str, ...], *, compiler: str | None = None) -> Path:
    """The shared library of one source file; raises `InputError` when the compiler is missing or fails.

    `compiler` is a name such as `cc`; by default `CXX`, else `c++`.
    """
    command = tuple(shlex.split(compiler or os.environ.get("CXX") or "c++"))
    if shutil.which(command[0]) is None:
        raise InputError(f"The benchmark needs the compiler {command[0]!r}, which is not there: install it.")
    version = version_of(command, _OTHERWISE)
    key = digest((version, " ".join(command), " ".join(flags)), [source])
    target = cache_folder() / f"bench-{source.stem}-{key}.so"
    made = [*command, *flags, "-shared", "-fPIC", str(source), "-lm"]
    build(made, target, name=source.stem, otherwise=_OTHERWISE)
    return target
