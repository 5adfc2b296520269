"""Compiling the C++ sources once into a cache folder, safely for processes that start together."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
from filelock import FileLock

from tinyalign.common.errors import InputError
from tinyalign.common.files import atomic_path

CACHE_VARIABLE = "TINYALIGN_CACHE"
MARCH_VARIABLE = "TINYALIGN_MARCH"

_SOURCES = Path(__file__).resolve().parent / "csrc"
_FLAGS = ("-std=c++17", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-fno-trapping-math")
# With GCC as fast as -O3 on every embedded model, and built in two thirds of the time.
_GCC_LEVEL = ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic")
_OTHER_LEVEL = ("-O3",)
# Code for these processors has run and agreed with the reference; no other's has.
_PROCESSORS = ("x86_64", "AMD64")


def cache_folder() -> Path:
    """Where compiled kernels lie: `TINYALIGN_CACHE`, or `kernels` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("tinyalign")) / "kernels"


def library() -> ctypes.CDLL:
    """The compiled decoder, built now if this machine has not built it yet.

    `CXX` names the compiler (otherwise c++, g++ or clang++, or the `ziglang` package where there is none of
    them; its first build takes longer, as it builds its own C++ library), `TINYALIGN_MARCH` the instruction
    set (`native` unless given). Raises `InputError`, in one sentence, when the processor is untested, there
    is no compiler, it fails, or the cache folder cannot be written.
    """
    return _library(os.environ.get("CXX", ""), os.environ.get(MARCH_VARIABLE, "native"), str(cache_folder()))


def supports(march: str) -> bool:
    """Whether this processor has the instructions of `native` or an x86-64 level such as `x86-64-v3`."""
    needed = {"native": set(), "x86-64": set(), "x86-64-v3": {"avx2", "fma", "bmi2"}}
    needed["x86-64-v4"] = needed["x86-64-v3"] | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
    return march in needed and needed[march] <= set(_processor().split())


@functools.lru_cache(maxsize=8)
def _library(compiler: str, march: str, folder: str) -> ctypes.CDLL:
    if platform.machine() not in _PROCESSORS:
        raise InputError(
            f"The CPU backend has never run on a {platform.machine()} processor, only on x86_64: use "
            "backend='torch'."
        )
    if not supports(march):
        raise InputError(
            f"{MARCH_VARIABLE} asks for {march!r}, which is unknown or has instructions that this processor "
            "lacks: use native, x86-64, x86-64-v3 or x86-64-v4."
        )
    command = _compiler(compiler)
    target = Path(folder) / f"decoder-{_key(command, march)}.so"
    if not target.is_file():
        _build(command, march, target)
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise InputError(f"The compiled decoder {target} cannot be loaded ({error}): delete it.") from error


def _compiler(named: str) -> tuple[str, ...]:
    words = shlex.split(named)
    if words:
        if shutil.which(words[0]) is None:
            raise InputError(f"CXX names the compiler {words[0]!r}, which is not there: install or unset it.")
        return tuple(words)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return (name,)
    if _zig_is_there():
        return (sys.executable, "-m", "ziglang", "c++")
    raise InputError(
        "The CPU backend needs a C++ compiler and found no c++, g++ or clang++: install one (or "
        "`pip install tinyalign[compiler]`), name it in CXX, or use backend='torch'."
    )


def _zig_is_there() -> bool:
    """Whether the compiler of the optional extra `[compiler]` is installed."""
    return importlib.util.find_spec("ziglang") is not None


def _flags(command: tuple[str, ...], march: str) -> tuple[str, ...]:
    # Clang refuses one of GCC's options, and Zig, a Clang, writes names of processors with underscores.
    level = _OTHER_LEVEL if "clang" in _version(command).lower() else _GCC_LEVEL
    return (*level, *_FLAGS, f"-march={march.replace('-', '_') if 'ziglang' in command else march}")


@functools.lru_cache(maxsize=8)
def _version(command: tuple[str, ...]) -> str:
    return _run([*command, "--version"])


def _key(command: tuple[str, ...], march: str) -> str:
    """A hash of everything that the machine code depends on."""
    digest = hashlib.sha256()
    for part in (_version(command), " ".join(command), march, " ".join(_flags(command, march)), _processor()):
        digest.update(f"{len(part)}:{part}".encode())
    for source in sorted(_SOURCES.iterdir()):
        if source.suffix in (".h", ".cpp"):
            digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:24]


def _processor() -> str:
    """The processor's features where the system tells them, else its name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _build(command: tuple[str, ...], march: str, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock")
        with lock:
            if target.is_file():
                return
            with atomic_path(target) as temporary:
                source = str(_SOURCES / "decoder.cpp")
                _run([*command, *_flags(command, march), "-o", str(temporary), source])
    except OSError as error:
        raise InputError(
            f"The compiled decoder cannot be kept in {target.parent} ({error.strerror}): name another folder "
            f"in {CACHE_VARIABLE}, or use backend='torch'."
        ) from error


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        name = "ziglang" if "ziglang" in command else command[0]
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise InputError(
            f"The C++ compiler {name!r} failed with code {done.returncode} "
            f"({said[0].strip() if said else 'it said nothing'}): name another in CXX, or use "
            "backend='torch'."
        )
    return done.stdout
