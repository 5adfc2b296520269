"""The measured peaks of one core: no honest figure lies above them."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyalign.bench.compiling import compiled
from tinyalign.common.errors import CheckpointError

_SOURCE = Path(__file__).resolve().parent / "csrc" / "peaks.cpp"
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=c++17")
_BYTES = 1 << 27


@dataclass(frozen=True)
class Peaks:
    """Of one core, the best of several tries: fp32 and int8 multiply-adds a second, bytes read a second.

    `int8` is the best of the instructions that the processor has for it (AVX2's, VNNI's, AMX's), None where
    it has none. Seconds are of processor time.
    """

    fp32: float
    int8: float | None
    bandwidth: float

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)

    def check(self, name: str, multiply_adds: float, *, ternary: bool) -> float:
        """The share of the peak that `multiply_adds` a second of processor time are.

        Raises `CheckpointError` above 1: then something was not computed, or not timed.
        """
        peak = max(self.fp32, self.int8 or 0.0) if ternary else self.fp32
        share = multiply_adds / peak
        if share > 1:
            raise CheckpointError(
                f"{name} is timed at {multiply_adds / 1e9:.0f} billion multiply-adds a second, above the "
                f"machine's measured {peak / 1e9:.0f}: the figure is refused, something was left out."
            )
        return share


def measure_peaks(*, tries: int = 5) -> Peaks:
    """Measure the peaks of one core (under a second each); raises `InputError` without a compiler."""
    lib = ctypes.CDLL(str(compiled(_SOURCE, _FLAGS)))
    int8_ways = (lib.peak_maddubs, lib.peak_dpbusd, lib.peak_amx)
    for function in (lib.peak_fma, lib.peak_read, *int8_ways):
        function.restype = ctypes.c_int64
    memory = np.ones(_BYTES // 8, dtype=np.uint64)
    rounds = ctypes.c_int64(2_000_000)
    int8 = max(_best(functools.partial(way, rounds), tries) for way in int8_ways)
    return Peaks(
        fp32=_best(lambda: lib.peak_fma(rounds), tries),
        int8=int8 if int8 > 0 else None,
        bandwidth=_best(
            lambda: lib.peak_read(ctypes.c_void_p(memory.ctypes.data), ctypes.c_int64(_BYTES)), tries
        ),
    )


def _best(run: Callable[[], int], tries: int) -> float:
    rates = []
    for _ in range(tries):
        begun = time.process_time()
        done = run()
        rates.append(done / (time.process_time() - begun))
    return max(rates)
