"""Compiling C and C++ once into a cache folder, safely for processes that start together."""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

from tinyalign.common.errors import InputError
from tinyalign.common.files import atomic_path, sha256_file, write_text

CACHE_VARIABLE = "TINYALIGN_CACHE"
MARCH_VARIABLE = "TINYALIGN_MARCH"

_FLAGS = ("-std=c++17", "-fPIC", "-shared", "-pthread", "-fno-math-errno", "-fno-trapping-math")
# With GCC as fast as -O3 on every embedded model, and built in two thirds of the time.
_GCC_LEVEL = ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic")
_OTHER_LEVEL = ("-O3",)
# Code for these processors has run and agreed with the reference, Arm's under emulation; no other's has.
_PROCESSORS = ("x86_64", "AMD64", "aarch64")
# What compilers use on an Ice Lake server beyond x86-64-v4.
_ICE_LAKE = {"avx512_vnni", "avx512_vbmi2", "avx512_bitalg", "avx512_vpopcntdq", "avx512vbmi", "avx512ifma"}


@dataclass(frozen=True)
class Sources:
    """C++ for one shared library: the file `main`, and the headers (.h) in its folder.

    `name` begins the library's file name and names it in messages; `user` is who needs it there
    ("The CPU backend"), `otherwise` what its user can do without it, `flags` more options.
    """

    name: str
    main: Path
    user: str
    otherwise: str
    flags: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """All files that the library depends on."""
        return sorted(path for path in self.main.parent.iterdir() if path.suffix in (".h", ".cpp"))


def cache_folder() -> Path:
    """Where compiled kernels lie: `TINYALIGN_CACHE`, or `kernels` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("tinyalign")) / "kernels"


def library(sources: Sources) -> ctypes.CDLL:
    """The compiled library, built now if this machine has not built it yet.

    `CXX` names the compiler (otherwise c++, g++ or clang++, or the `ziglang` package where there is none of
    them; its first build takes longer, as it builds its own C++ library), `TINYALIGN_MARCH` the instruction
    set (`native` unless given). Raises `InputError`, in one sentence, when the processor is untested, there
    is no compiler, it fails, or the cache folder cannot be written.
    """
    march = os.environ.get(MARCH_VARIABLE, "native")
    return _library(sources, os.environ.get("CXX", ""), march, str(cache_folder()))


def supports(march: str) -> bool:
    """Whether this processor has the instructions of `native`, an x86-64 level or `icelake-server` (VNNI)."""
    if march == "native" or platform.machine() == "aarch64":
        return march == "native"
    needed = {"x86-64": set(), "x86-64-v3": {"avx2", "fma", "bmi2"}}
    needed["x86-64-v4"] = needed["x86-64-v3"] | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
    needed["icelake-server"] = needed["x86-64-v4"] | _ICE_LAKE
    return march in needed and needed[march] <= set(_processor().split())


def digest(parts: Iterable[str], files: Iterable[Path]) -> str:
    """A hash of texts, files (names and bytes) and the processor: what machine code depends on."""
    found = hashlib.sha256()
    for part in (*parts, _processor()):
        found.update(f"{len(part)}:{part}".encode())
    for path in files:
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:24]


def keep(target: Path, make: Callable[[Path], object]) -> None:
    """Has `make` write a file that becomes `target`, unless it is there, once for all processes.

    A hash is kept beside it: a library that was cut short would not fail to load but end the process with a
    signal, so a target without its bytes is made again. Raises `OSError` where the folder cannot be written.
    """
    seal = target.with_name(f"{target.name}.sha256")
    if _is_whole(target, seal):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if _is_whole(target, seal):
            return
        for left in target.parent.glob(f".{target.name}.*"):
            left.unlink(missing_ok=True)  # by a process that was killed while it held the lock
        with atomic_path(target) as temporary:
            make(temporary)
            write_text(seal, sha256_file(temporary))


def _is_whole(target: Path, seal: Path) -> bool:
    try:
        return seal.read_bytes() == sha256_file(target).encode()
    except OSError:
        return False


def build(command: list[str], target: Path, *, name: str, otherwise: str) -> None:
    """Run `command` with `-o` a temporary path that becomes `target`, unless that is there (see `keep`).

    Raises `InputError` when the compiler fails or the folder cannot be written; `name` says what is
    compiled, `otherwise` ends the sentence.
    """
    try:
        keep(target, lambda temporary: run_compiler([*command, "-o", str(temporary)], otherwise))
    except OSError as error:
        raise InputError(
            f"The compiled {name} cannot be kept in {target.parent} ({error.strerror}): name another folder "
            f"in {CACHE_VARIABLE}, or {otherwise}."
        ) from error


def run_compiler(command: list[str], otherwise: str) -> str:
    """What the compiler prints; raises `InputError` with its first complaint when it fails."""
    name = "ziglang" if "ziglang" in command else command[0]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise InputError(
            f"The C++ compiler {name!r} cannot be started ({error.strerror}): name another in CXX, or "
            f"{otherwise}."
        ) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        # Compilers write to the cache folder and to one of their own.
        full = os.strerror(errno.ENOSPC) in done.stderr
        advice = (
            f"make room, name another cache folder in {CACHE_VARIABLE}" if full else "name another in CXX"
        )
        raise InputError(
            f"The C++ compiler {name!r} failed with code {done.returncode} "
            f"({said[0].strip() if said else 'it said nothing'}): {advice}, or {otherwise}."
        )
    return done.stdout


@functools.lru_cache(maxsize=16)
def version_of(command: tuple[str, ...], otherwise: str) -> str:
    """What the compiler says of itself; raises as `run_compiler` does."""
    return run_compiler([*command, "--version"], otherwise)


@functools.lru_cache(maxsize=16)
def _library(sources: Sources, compiler: str, march: str, folder: str) -> ctypes.CDLL:
    if platform.machine() not in _PROCESSORS:
        raise InputError(
            f"{sources.user} has never run on a {platform.machine()} processor, only on x86_64 and "
            f"(under Linux) aarch64: {sources.otherwise}."
        )
    if not supports(march):
        raise InputError(
            f"{MARCH_VARIABLE} asks for {march!r}, which is unknown or has instructions that this processor "
            "lacks: use native, or on x86-64 processors x86-64, x86-64-v3, x86-64-v4 or icelake-server."
        )
    command = _compiler(compiler, sources)
    options = (*_options(command, march, sources.otherwise), *sources.flags)
    version = version_of(command, sources.otherwise)
    key = digest((version, " ".join(command), " ".join(options)), sources.files)
    target = Path(folder) / f"{sources.name}-{key}.so"
    made = [*command, *options, str(sources.main)]
    build(made, target, name=sources.name, otherwise=sources.otherwise)
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise InputError(
            f"The compiled {sources.name} {target} cannot be loaded ({error}): delete it."
        ) from error


def _compiler(named: str, sources: Sources) -> tuple[str, ...]:
    try:
        words = shlex.split(named)
    except ValueError as error:
        raise InputError(f"CXX is {named!r}, which is no command ({error}): name a compiler.") from None
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
        f"{sources.user} needs a C++ compiler and found no c++, g++ or clang++: install one (or "
        f"`pip install tinyalign[compiler]`), name it in CXX, or {sources.otherwise}."
    )


def _zig_is_there() -> bool:
    """Whether the compiler of the optional extra `[compiler]` is installed."""
    return importlib.util.find_spec("ziglang") is not None


def _options(command: tuple[str, ...], march: str, otherwise: str) -> tuple[str, ...]:
    # Clang refuses one of GCC's options, and Zig, a Clang, writes names of processors with underscores.
    level = _OTHER_LEVEL if "clang" in version_of(command, otherwise).lower() else _GCC_LEVEL
    if platform.machine() == "aarch64":
        # There this, and with Clang not -march, takes what the processor has.
        return (*level, *_FLAGS, f"-mcpu={march}")
    return (*level, *_FLAGS, f"-march={march.replace('-', '_') if 'ziglang' in command else march}")


def _processor() -> str:
    """The processor's features where the system tells them, else its name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return line.partition(":")[2].strip()
    return platform.processor()
