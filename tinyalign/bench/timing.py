"""Timing contestants in turn: each round runs every one once, in an order that rotates."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from tinyalign.common.errors import InputError

# What counts: processor time on one thread (others on the machine disturb it less), wall time elsewhere.
Clock = Literal["cpu", "wall"]


@dataclass(frozen=True)
class Timed:
    """Seconds of one contestant for its work: medians and extremes over rounds, wall and processor time.

    `work` is what it did in a round (tokens, say). `ratio` is the median over rounds of the baseline's
    processor time a unit of work divided by this one's in the same round (above 1: faster than the baseline),
    `ratio_low` and `ratio_high` its extremes; `wall_ratio` the same of wall time.
    """

    name: str
    rounds: int
    work: float
    wall_median: float
    wall_low: float
    wall_high: float
    cpu_median: float
    ratio: float
    ratio_low: float
    ratio_high: float
    wall_ratio: float
    wall_ratio_low: float
    wall_ratio_high: float

    def rate(self, clock: Clock) -> float:
        """Work a second of processor or wall time, from the median."""
        return self.work / (self.cpu_median if clock == "cpu" else self.wall_median)

    def slower(self, clock: Clock) -> tuple[float, float, float]:
        """How many times the baseline's time a unit of work takes: middle, least and most of the rounds."""
        if clock == "cpu":
            return 1 / self.ratio, 1 / self.ratio_high, 1 / self.ratio_low
        return 1 / self.wall_ratio, 1 / self.wall_ratio_high, 1 / self.wall_ratio_low

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict, the rate added."""
        return {**asdict(self), "rate_cpu": self.rate("cpu"), "rate_wall": self.rate("wall")}


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def synchronizer(device: torch.device | str) -> Callable[[], None]:
    """What waits until `device` has done all that it was given: nothing to wait for on a CPU."""
    kind = torch.device(device).type
    return torch.cuda.synchronize if kind == "cuda" else lambda: None


def contest(
    contestants: Mapping[str, Callable[[], None]],
    *,
    baseline: str,
    rounds: int = 7,
    work: Mapping[str, float] | None = None,
    check: Callable[[str], None] | None = None,
    warmed: bool = False,
    wait: Callable[[], None] = lambda: None,
    least: float = 0.0,
) -> tuple[Timed, ...]:
    """Time every contestant `rounds` times, in turn, after one run each that is not counted.

    Without that run where all are `warmed` already. `wait` is called before a clock is started and before it
    is stopped: a device that works on while Python goes ahead is waited for.

    In a round a contestant runs once, or again and again until `least` seconds are over, of which a run's
    share counts: what disturbs a machine for a moment weighs more on a short run.

    Ratios are taken within a round, so that a machine whose speed drifts, or that others use too, treats all
    alike. `work` says how much each does (1 unless given). `check` is called, untimed, after every run
    and raises where the output is wrong. Raises `InputError` for an unknown baseline.
    """
    if baseline not in contestants:
        raise InputError(f"The baseline {baseline!r} is not among {', '.join(contestants)}.")
    if rounds < 3:
        raise InputError(f"{rounds} rounds say nothing about spread: expected 3 or more.")
    names = list(contestants)
    units = {name: 1.0 if work is None else float(work[name]) for name in names}
    wall = {name: np.empty(rounds) for name in names}
    cpu = {name: np.empty(rounds) for name in names}
    for turn in range(0 if warmed else -1, rounds):
        shift = max(turn, 0) % len(names)
        for name in names[shift:] + names[:shift]:
            wait()
            started, busy, runs = time.perf_counter(), processor_seconds(), 0
            while runs == 0 or time.perf_counter() - started < least:
                contestants[name]()
                wait()
                runs += 1
            if turn >= 0:
                wall[name][turn] = (time.perf_counter() - started) / runs
                cpu[name][turn] = (processor_seconds() - busy) / runs
            if check is not None:
                check(name)
    results = []
    for name in names:
        ratios = (cpu[baseline] / units[baseline]) / (cpu[name] / units[name])
        walls = (wall[baseline] / units[baseline]) / (wall[name] / units[name])
        results.append(
            Timed(
                name=name,
                rounds=rounds,
                work=units[name],
                wall_median=float(np.median(wall[name])),
                wall_low=float(wall[name].min()),
                wall_high=float(wall[name].max()),
                cpu_median=float(np.median(cpu[name])),
                ratio=float(np.median(ratios)),
                ratio_low=float(ratios.min()),
                ratio_high=float(ratios.max()),
                wall_ratio=float(np.median(walls)),
                wall_ratio_low=float(walls.min()),
                wall_ratio_high=float(walls.max()),
            )
        )
    return tuple(results)
