"""Whether the Triton kernels can run on this machine, in a few words where they cannot."""

from __future__ import annotations

import functools
import importlib.util
import os
from importlib.metadata import PackageNotFoundError, version

import torch

from tinyalign.common.doctor import Check

INTERPRETER_VARIABLE = "TRITON_INTERPRET"
# Tensor cores multiply int8 in the layout that Triton needs from here on.
LEAST_CAPABILITY = (8, 0)
LEAST_TRITON = (3, 6)


def unavailable_on_cuda() -> str | None:
    """None where the kernels run on a CUDA device, tried once; otherwise the reason."""
    if not torch.cuda.is_available():
        return "no CUDA device is visible"
    if torch.version.cuda is None:
        return "torch was built without CUDA"
    if _interpreting():
        return f"{INTERPRETER_VARIABLE} is set, which runs Triton on the CPU"
    capability = min(torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count()))
    if capability < LEAST_CAPABILITY:
        found, least = (".".join(map(str, pair)) for pair in (capability, LEAST_CAPABILITY))
        return f"the device has compute capability {found}, needed is {least}"
    return _triton_missing() or _trial("cuda")


def unavailable_in_interpreter() -> str | None:
    """None where Triton's interpreter runs the kernels on the CPU, tried once; otherwise the reason."""
    if not _interpreting():
        return f"{INTERPRETER_VARIABLE}=1 is not set"
    return _triton_missing() or _trial("cpu")


def check() -> Check:
    """The line of `tinyalign doctor`."""
    reason = unavailable_on_cuda()
    detail = "ternary layers run on them on CUDA" if reason is None else f"{reason}; the reference serves"
    return Check("Triton kernels", reason is None, detail)


def _interpreting() -> bool:
    return os.environ.get(INTERPRETER_VARIABLE, "").lower() in ("1", "true", "yes", "on", "y")


def _triton_missing() -> str | None:
    try:
        found = version("triton")
    except PackageNotFoundError:
        # Wheels of other names (nightly builds) hold the same module.
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        return None
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < LEAST_TRITON:
        return f"triton {found} is installed, needed is {'.'.join(map(str, LEAST_TRITON))}"
    return None


@functools.cache
def _trial(device: str) -> str | None:
    try:
        from tinyalign.ternary.gpu import launch
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    if launch.interpreted() != (device == "cpu"):
        return f"{INTERPRETER_VARIABLE} was changed after triton was imported"
    return launch.trial(device)
