"""Timing contestants in turn: each round runs every one once, in an order that rotates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tinyalign.common.errors import InputError


@dataclass(frozen=True)
class Timed:
    """Seconds of one contestant a round: median, least and most of wall time, and median processor time.

    `ratio` is the median over rounds of the baseline's processor time divided by this one's in the same
    round (above 1: faster than the baseline), `ratio_low` and `ratio_high` its extremes.
    """

    name: str
    rounds: int
    wall_median: float
    wall_low: float
    wall_high: float
    cpu_median: float
    ratio: float
    ratio_low: float
    ratio_high: float

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def contest(
    contestants: Mapping[str, Callable[[], None]], *, baseline: str, rounds: int = 7
) -> tuple[Timed, ...]:
    """Time every contestant `rounds` times, in turn, after one run each that is not counted.

    Ratios are of processor time within a round, so that a machine whose speed drifts, or that others use
    too, treats all alike. Contestants must use one thread. Raises `InputError` for an unknown baseline.
    """
    if baseline not in contestants:
        raise InputError(f"The baseline {baseline!r} is not among {', '.join(contestants)}.")
    if rounds < 3:
        raise InputError(f"{rounds} rounds say nothing about spread: expected 3 or more.")
    names = list(contestants)
    for run in contestants.values():
        run()
    wall = {name: np.empty(rounds) for name in names}
    cpu = {name: np.empty(rounds) for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            started, busy = time.perf_counter(), time.process_time()
            contestants[name]()
            wall[name][turn] = time.perf_counter() - started
            cpu[name][turn] = time.process_time() - busy
    results = []
    for name in names:
        ratios = cpu[baseline] / cpu[name]
        results.append(
            Timed(
                name=name,
                rounds=rounds,
                wall_median=float(np.median(wall[name])),
                wall_low=float(wall[name].min()),
                wall_high=float(wall[name].max()),
                cpu_median=float(np.median(cpu[name])),
                ratio=float(np.median(ratios)),
                ratio_low=float(ratios.min()),
                ratio_high=float(ratios.max()),
            )
        )
    return tuple(results)
