"""Interleaved rounds, ratios within them, and peaks that refuse what is above them."""

from __future__ import annotations

import math
import time

import pytest

from tinyalign.bench.device_peaks import DevicePeaks, measure_device_peaks
from tinyalign.bench.peaks import Peaks, measure_peaks
from tinyalign.bench.timing import contest
from tinyalign.common.errors import CheckpointError, InputError


def test_a_contest_interleaves_and_takes_ratios_within_rounds() -> None:
    order: list[str] = []

    def work(name: str, size: int):
        def run() -> None:
            order.append(name)
            sum(math.sqrt(i) for i in range(size))

        return run

    checked: list[str] = []
    slow, fast = contest(
        {"slow": work("slow", 60_000), "fast": work("fast", 6_000)},
        baseline="slow",
        rounds=4,
        work={"slow": 2, "fast": 1},
        check=checked.append,
    )
    assert order[:2] == ["slow", "fast"]  # warm-up
    assert order[2:] == ["slow", "fast", "fast", "slow"] * 2
    assert checked == order
    waits: list[int] = []
    contest({"a": lambda: None}, baseline="a", rounds=3, warmed=True, wait=lambda: waits.append(1))
    assert len(waits) == 6
    assert slow.ratio == slow.wall_ratio == 1
    # Ten times the work in the same unit, two units against one.
    assert 2 < fast.ratio < 12.5
    assert fast.ratio_low <= fast.ratio <= fast.ratio_high
    assert slow.rate("cpu") == 2 / slow.cpu_median
    assert fast.slower("wall")[1] <= fast.slower("wall")[0] == 1 / fast.wall_ratio <= fast.slower("wall")[2]
    with pytest.raises(InputError, match="baseline"):
        contest({"a": lambda: None}, baseline="b")
    with pytest.raises(InputError, match="rounds"):
        contest({"a": lambda: None}, baseline="a", rounds=2)


def test_peaks_are_of_this_world_and_refuse_what_is_not() -> None:
    peaks = measure_peaks(tries=1)
    # A core of the last twenty years: 1 to 500 billion multiply-adds, 0.5 to 500 GB a second.
    assert 1e9 < peaks.fp32 < 5e11
    assert 5e8 < peaks.bandwidth < 5e11
    assert peaks.int8 is None or peaks.int8 > peaks.fp32 / 2
    known = Peaks(fp32=1e9, int8=3e9, bandwidth=1e9)
    assert known.check("a", 5e8, ternary=False) == 0.5
    assert known.check("a", 1.5e9, ternary=True) == 0.5
    with pytest.raises(CheckpointError, match="above the machine's measured 1"):
        known.check("a", 1.5e9, ternary=False)


def test_device_peaks_refuse_what_is_above_them() -> None:
    peaks = measure_device_peaks("cpu", size=256, copied=1 << 22, tries=2)
    assert 1e8 < peaks.fp32 < 1e13
    assert 1e8 < peaks.bandwidth < 1e12
    known = DevicePeaks("one", fp32=1e9, bf16=2e9, int8=4e9, bandwidth=1e9)
    assert known.check("a", 1e9, ternary=False) == 0.5
    assert known.check("a", 1e9, ternary=True) == 0.25
    with pytest.raises(CheckpointError, match="above the device's measured 2"):
        known.check("a", 3e9, ternary=False)


FAULTS = ["other tokens", "nothing", "one story missing", "the last token of one story"]


# A stand-in with llama2.c's command line, which prints one text.
STAND_IN = r"""
#include <stdio.h>
#include <string.h>
int main(int argc, char** argv) {
    if (argc != 10 || strcmp(argv[4], "-t") || strcmp(argv[6], "-n")) return 1;
    printf("%s", argv[9]);
    fflush(stdout);
    printf("TEXT\n");
    return 0;
}
"""


def test_a_short_run_is_repeated_and_counts_once() -> None:
    runs: list[int] = []

    def short() -> None:
        runs.append(1)
        time.sleep(0.004)

    (timed,) = contest({"a": short}, baseline="a", rounds=3, warmed=True, least=0.05, work={"a": 2.0})
    assert 12 <= len(runs) <= 40
    assert 0.004 <= timed.wall_median <= 0.02
