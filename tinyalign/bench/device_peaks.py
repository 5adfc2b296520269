"""The measured peaks of a device under torch's own matrix products and copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tinyalign.bench.timing import synchronizer
from tinyalign.common.errors import CheckpointError


@dataclass(frozen=True)
class DevicePeaks:
    """Multiply-adds a second in each kind of number, and bytes a second that a copy reads and writes.

    The best of several tries of one large product. None where torch has none for the device.
    """

    device: str
    fp32: float
    bf16: float
    int8: float | None
    bandwidth: float

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)

    def check(self, name: str, multiply_adds: float, *, ternary: bool) -> float:
        """The share of the peak that `multiply_adds` a second of wall time are.

        The peak is that of int8 products where they are `ternary`, else the higher of fp32's and bf16's.
        Raises `CheckpointError` above 1: then something was not computed, or not timed.
        """
        peak = max(self.fp32, self.bf16)
        if ternary:
            peak = max(peak, self.int8 or 0.0)
        share = multiply_adds / peak
        if share > 1:
            raise CheckpointError(
                f"{name} is timed at {multiply_adds / 1e9:.0f} billion multiply-adds a second, above the "
                f"device's measured {peak / 1e9:.0f}: the figure is refused, something was left out."
            )
        return share


def measure_device_peaks(
    device: str, *, size: int = 8192, copied: int = 1 << 30, tries: int = 10
) -> DevicePeaks:
    """Measure on `device` with square matrices of `size` and a copy of `copied` bytes."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device) for _ in range(2))
    narrow = [matrix.to(torch.bfloat16) for matrix in (a, b)]
    codes = [matrix.clamp(-1, 1).mul(127).to(torch.int8) for matrix in (a, b)]
    adds = float(size) ** 3
    try:
        int8 = adds / _best(lambda: torch.ops.aten._int_mm(codes[0], codes[1].T), device, tries)
    except RuntimeError:
        int8 = None
    source = torch.ones(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return DevicePeaks(
        device=_name(device),
        fp32=adds / _best(lambda: a @ b, device, tries),
        bf16=adds / _best(lambda: narrow[0] @ narrow[1], device, tries),
        int8=int8,
        bandwidth=2.0 * copied / _best(lambda: target.copy_(source), device, tries),
    )


def _best(run: Callable[[], object], device: str, tries: int) -> float:
    """The least seconds of a call, after one that isn't counted."""
    wait = synchronizer(device)
    seconds = []
    for _ in range(tries + 1):
        wait()
        started = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if torch.device(device).type == "cuda" else device
