"""Compiling the kernel through NVRTC, once for each shape and kind of GPU, into the cache of kernels."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyalign.common.compiling import CACHE_VARIABLE, cache_folder, keep
from tinyalign.common.errors import InputError

SOURCES = Path(__file__).resolve().parent / "csrc"
# Tensor cores multiply int8 by mma.m16n8k32 from here on.
LEAST_ARCHITECTURE = 80
_NOT_INSTALLED = "the package cuda-bindings is not installed (`pip install tinyalign[gpu]`)"


def missing() -> str | None:
    """Why nothing can be compiled here, in a few words, or None."""
    try:
        if importlib.util.find_spec("cuda.bindings.nvrtc") is None:
            return _NOT_INSTALLED
        nvrtc_version()
    except ModuleNotFoundError:
        return _NOT_INSTALLED
    except (ImportError, RuntimeError) as error:
        # The package looks for the library at the first call.
        return f"NVRTC's library cannot be loaded ({str(error).strip().splitlines()[0]})"
    return None


def nvrtc_version() -> tuple[int, int]:
    """(major, minor); raises what a package without its library raises."""
    nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
    major, minor = _checked(nvrtc.nvrtcVersion())
    return int(major), int(minor)


def check_compiler() -> None:
    """Raises `InputError` where NVRTC is missing."""
    reason = missing()
    if reason is not None:
        raise InputError(f"The CUDA backend cannot be compiled: {reason}.")


def check_architecture(architecture: int) -> None:
    """Raises `InputError` for a GPU too old for the kernel or too new for NVRTC, which must be there."""
    if architecture < LEAST_ARCHITECTURE:
        raise InputError(
            f"The CUDA backend needs compute capability {LEAST_ARCHITECTURE / 10:.1f} or more and the device "
            f"has {architecture / 10:.1f}: use backend='static' or 'torch'."
        )
    nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
    (count,) = _checked(nvrtc.nvrtcGetNumSupportedArchs())
    (known,) = _checked(nvrtc.nvrtcGetSupportedArchs())
    if architecture not in list(known)[:count]:
        major, minor = nvrtc_version()
        raise InputError(
            f"NVRTC {major}.{minor} does not compile for the device's compute capability "
            f"{architecture / 10:.1f}: install a newer cuda-bindings, or use backend='static' or 'torch'."
        )


def compiled(macros: Mapping[str, int], architecture: int) -> bytes:
    """The machine code (a cubin) of csrc/decode.cu for `sm_<architecture>`, from the cache where it is there.

    No GPU is needed. Raises `InputError`, in one sentence, when NVRTC is missing or refuses, the
    architecture is too old, or the cache folder cannot be written.
    """
    check_compiler()
    check_architecture(architecture)
    options = _options(macros, architecture)
    target = cache_folder() / f"decode-{_key(options)}.cubin"
    try:
        keep(target, lambda temporary: temporary.write_bytes(_compile(options)))
        return target.read_bytes()
    except OSError as error:
        raise InputError(
            f"The compiled kernel cannot be kept in {target.parent} ({error.strerror}): name another folder "
            f"in {CACHE_VARIABLE}, or use backend='static' or 'torch'."
        ) from error


def _options(macros: Mapping[str, int], architecture: int) -> list[str]:
    defined = [f"-D{name}={value}" for name, value in sorted(macros.items())]
    # What is fused is written so: a compiler that chose would choose otherwise for another shape.
    return ["--std=c++17", "--fmad=false", f"--gpu-architecture=sm_{architecture}", *defined]


def _key(options: list[str]) -> str:
    """A hash of everything that the machine code depends on."""
    digest = hashlib.sha256("\0".join([*map(str, nvrtc_version()), *options]).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:24]


def _compile(options: list[str]) -> bytes:
    nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
    main = SOURCES / "decode.cu"
    headers = sorted(SOURCES.glob("*.cuh"))
    (program,) = _checked(
        nvrtc.nvrtcCreateProgram(
            main.read_bytes(),
            main.name.encode(),
            len(headers),
            [header.read_bytes() for header in headers],
            [header.name.encode() for header in headers],
        )
    )
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise InputError(
                f"NVRTC refused the CUDA backend's kernel ({_first_error(nvrtc, program)}): use "
                "backend='static' or 'torch'."
            )
        (size,) = _checked(nvrtc.nvrtcGetCUBINSize(program))
        code = bytearray(size)
        _checked(nvrtc.nvrtcGetCUBIN(program, code))
        return bytes(code)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _first_error(nvrtc: Any, program: Any) -> str:
    (size,) = _checked(nvrtc.nvrtcGetProgramLogSize(program))
    log = bytearray(size)
    _checked(nvrtc.nvrtcGetProgramLog(program, log))
    lines = bytes(log).rstrip(b"\0").decode(errors="replace").splitlines()
    said = [line for line in lines if "error" in line] or [line for line in lines if line.strip()]
    return said[0].strip() if said else "it did not say why"


def _checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a call of NVRTC gives, without its status; raises `InputError` where that is not success."""
    status, *rest = result
    if status.value:
        raise InputError(f"NVRTC failed with {status.name}: use backend='static' or 'torch'.")
    return tuple(rest)
