"""Which kernel multiplies int8 activations by packed trits: a registry, a choice, and a way to force one.

A kernel registers itself with `register`; `choose` takes the available one of highest priority for the
device and packing, and the reference where there is none. The environment variable `TINYALIGN_KERNEL`
or `with using_kernel(name):` forces one. Nothing falls back unseen: `describe` says which kernel runs
and why others do not. A kernel of a priority below the reference's runs only when forced.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tinyalign.common.errors import InputError, unknown_name
from tinyalign.ternary import cpu, gpu, reference
from tinyalign.ternary.packing import PACKINGS, packing_named

ENVIRONMENT_VARIABLE = "TINYALIGN_KERNEL"


@dataclass(frozen=True)
class Kernel:
    """A way to compute `values @ trits.T`.

    `matmul(values, packed, shape, packing)` takes int8 values [tokens, d_in] and the packed trits of
    shape (d_out, d_in), and returns the exact integer sums [tokens, d_out], as int32 or as float32 that
    holds integers. `unavailable()` gives None where the kernel can run on this machine, otherwise the
    reason in a few words. `device_types` None means any. Of several, the highest `priority` is taken.

    `linear(x, packed, shape, packing, scale, bias)` is the whole layer where a kernel has it in one piece:
    float32 x [tokens, d_in] to float32 [tokens, d_out], bit for bit what `absmax_int8`, `matmul` and the
    scales and bias in torch give.
    """

    name: str
    device_types: tuple[str, ...] | None
    packings: tuple[str, ...]
    priority: int
    unavailable: Callable[[], str | None]
    matmul: Callable[[Tensor, Tensor, tuple[int, int], str], Tensor]
    linear: Callable[[Tensor, Tensor, tuple[int, int], str, Tensor, Tensor | None], Tensor] | None = None

    def refusal(self, device_type: str, packing: str) -> str | None:
        """Why this kernel cannot serve the device and packing here; None where it can."""
        if self.device_types is not None and device_type not in self.device_types:
            return f"runs on {' or '.join(self.device_types)}, not on {device_type}"
        if packing not in self.packings:
            return f"reads {' or '.join(self.packings)}, not {packing}"
        return self.unavailable()


@dataclass(frozen=True)
class Choice:
    """The kernel that runs for a device type and packing, whether it was forced, and the others' reasons."""

    device_type: str
    packing: str
    kernel: str
    forced: bool
    passed_over: dict[str, str]

    def __post_init__(self) -> None:
        if self.kernel in self.passed_over:
            raise InputError(f"Kernel {self.kernel!r} is both chosen and passed over: choose one of them.")

    def to_json(self) -> dict[str, Any]:
        """The fields as they are."""
        return {
            "device_type": self.device_type,
            "packing": self.packing,
            "kernel": self.kernel,
            "forced": self.forced,
            "passed_over": dict(self.passed_over),
        }


_kernels: dict[str, Kernel] = {}
_forced: ContextVar[str | None] = ContextVar("forced_kernel", default=None)


def register(kernel: Kernel) -> None:
    """Add a kernel; raises `InputError` where its name is taken or it names an unknown packing."""
    if kernel.name in _kernels:
        raise InputError(f"A kernel named {kernel.name!r} is registered already: give yours another name.")
    for packing in kernel.packings:
        packing_named(packing)
    _kernels[kernel.name] = kernel
    _choose.cache_clear()


def unregister(name: str) -> None:
    """Take a kernel out again; raises `UnknownNameError`, and `InputError` for the reference."""
    if kernel_named(name).name == "reference":
        raise InputError("The reference kernel cannot be taken out: every other falls back to it.")
    del _kernels[name]
    _choose.cache_clear()


def kernel_named(name: str) -> Kernel:
    """The registered kernel of that name; raises `UnknownNameError` with the nearest names."""
    if name not in _kernels:
        raise unknown_name("kernel", name, sorted(_kernels))
    return _kernels[name]


def kernels() -> list[Kernel]:
    """All registered kernels, the preferred first."""
    return sorted(_kernels.values(), key=lambda kernel: -kernel.priority)


@contextlib.contextmanager
def using_kernel(name: str) -> Iterator[None]:
    """Force one kernel for every layer inside the block (it wins over the environment variable).

    Raises `UnknownNameError` at once for an unknown name; a layer that the kernel cannot serve raises
    `InputError` when it runs.
    """
    token = _forced.set(kernel_named(name).name)
    try:
        yield
    finally:
        _forced.reset(token)


def choose(device_type: str, packing: str) -> Kernel:
    """The kernel to run now; raises `InputError` where the forced one cannot serve this layer."""
    return _choose(device_type, packing, _forced.get() or os.environ.get(ENVIRONMENT_VARIABLE))


def describe(device_type: str, packing: str) -> Choice:
    """Which kernel `choose` gives, and for every other why it was passed over."""
    packing_named(packing)
    forced = _forced.get() or os.environ.get(ENVIRONMENT_VARIABLE)
    chosen = _choose(device_type, packing, forced)
    return Choice(
        device_type=device_type,
        packing=packing,
        kernel=chosen.name,
        forced=bool(forced),
        passed_over={
            kernel.name: kernel.refusal(device_type, packing)
            or (f"{chosen.name} was forced" if forced else f"{chosen.name} is preferred")
            for kernel in kernels()
            if kernel.name != chosen.name
        },
    )


@functools.lru_cache(maxsize=64)
def _choose(device_type: str, packing: str, forced: str | None) -> Kernel:
    if forced:
        kernel = kernel_named(forced)
        refusal = kernel.refusal(device_type, packing)
        if refusal is not None:
            raise InputError(f"Kernel {forced!r} was asked for but {refusal}: ask for another, or for none.")
        return kernel
    return next(kernel for kernel in kernels() if kernel.refusal(device_type, packing) is None)


register(
    Kernel(
        name="reference",
        device_types=None,
        packings=tuple(PACKINGS),
        priority=0,
        unavailable=lambda: None,
        matmul=reference.matmul,
    )
)
register(
    Kernel(
        name="cpu",
        device_types=("cpu",),
        packings=cpu.PACKINGS,
        priority=5,
        unavailable=cpu.unavailable,
        matmul=cpu.matmul,
        linear=cpu.linear,
    )
)
register(
    Kernel(
        name="triton",
        device_types=("cuda",),
        packings=tuple(PACKINGS),
        priority=10,
        unavailable=gpu.unavailable_on_cuda,
        matmul=gpu.matmul,
        linear=gpu.linear,
    )
)
# The same kernels as numpy, thousands of times slower than the reference: to check their arithmetic.
register(
    Kernel(
        name="triton-interpreter",
        device_types=("cpu",),
        packings=tuple(PACKINGS),
        priority=-10,
        unavailable=gpu.unavailable_in_interpreter,
        matmul=gpu.matmul,
        linear=gpu.linear,
    )
)
