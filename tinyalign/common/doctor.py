"""What this machine has, and which parts of tinyalign work on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinyalign.common.resources import data_folder, shared_folder

_PACKAGES = ("tinyalign", "torch", "transformers", "transformer-lens", "tokenizers", "numpy", "triton")
# Flags that decide which kernels can run.
_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp")


@dataclass(frozen=True)
class Check:
    """One thing that works here or does not, and why."""

    name: str
    works: bool
    detail: str


@dataclass(frozen=True)
class Report:
    """Facts about the machine by name, and the checks."""

    facts: dict[str, str]
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def examine(more: Iterable[Check] = ()) -> Report:
    """Look at versions, compiler, CPU, GPU and caches; imports torch, touches no network.

    `more` are checks that other rooms made; they stand last.
    """
    import torch

    facts = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in _PACKAGES},
        "cores": str(os.cpu_count()),
        "CPU features": ", ".join(cpu_features()) or "not known on this system",
        "torch threads": str(torch.get_num_threads()),
        "compiler": _compiler() or "none found",
        "GPU": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
    }
    return Report(facts, (*_checks(torch.cuda.is_available()), *more))


def cpu_features() -> list[str]:
    """The CPU flags that kernels care about, empty where the system does not tell."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return []
    for line in info.read_text(errors="replace").splitlines():
        if line.lower().startswith(("flags", "features")):
            present = set(line.split(":", 1)[1].split())
            return [flag for flag in _FLAGS if flag in present]
    return []


def _checks(cuda: bool) -> list[Check]:
    shared = {kind: shared_folder(kind) for kind in ("models", "tinystories")}
    embedded = sorted(p.parent.name for p in (data_folder() / "models").glob("*/config.json"))
    compiler = _compiler()
    return [
        Check("load, sample, convert", True, "torch and transformers are installed"),
        Check("embedded models", bool(embedded), ", ".join(embedded) or "none are in data/models"),
        Check(
            "real stories",
            shared["tinystories"] is not None,
            _where(shared["tinystories"], "the shared folder"),
        ),
        Check("shared models", shared["models"] is not None, _where(shared["models"], "the shared folder")),
        Check("C++ compiler", compiler is not None, compiler or "install g++ or clang++"),
        Check(
            "CUDA",
            cuda,
            "a device is visible" if cuda else "no device is visible; everything runs on the CPU",
        ),
        Check("Triton", _version("triton") != "not installed", _version("triton")),
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _where(folder: Path | None, what: str) -> str:
    return str(folder) if folder is not None else f"{what} is absent; set TINYALIGN_SHARED to its parent"


def _compiler() -> str | None:
    """The first line of the C++ compiler's version, or None."""
    found = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    if found is None:
        return None
    run = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return run.stdout.splitlines()[0] if run.returncode == 0 and run.stdout else None
