"""Do the intervals cover, and do the tests err, as often as they promise? Measured by simulation.

    python -m tinyalign.statistics.simulate --runs 10000 --out data/measurements/statistics.json

Every row is a share of runs with the bound that it must keep, give or take two Monte-Carlo errors at that
bound; rows without a bound are there for contrast (what a tempting method does instead). Each row draws from
its own seed, so rows can be added without changing others.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import scipy
from scipy.stats import binom, norm

from tinyalign.common.errors import InputError
from tinyalign.common.files import write_json
from tinyalign.common.seeds import derive_seed
from tinyalign.statistics.betting import betting_holds, betting_path
from tinyalign.statistics.binomial import clopper_pearson, wilson
from tinyalign.statistics.checks import check_count
from tinyalign.statistics.eprocess import RateMixture
from tinyalign.statistics.evalues import log_threshold
from tinyalign.statistics.interval import Interval
from tinyalign.statistics.paired import tango_z
from tinyalign.statistics.planning import critical_successes, stopping_time, tango_rejection_rate

ALPHA = 0.05
CELLS = [(n, p) for n in (50, 300, 1_000, 3_000) for p in (0.01, 0.05, 0.3)]
MARGIN, DISCORDANCE, PAIRS, POWER = 0.02, 0.05, 3_000, 0.95
SMALL_HARM = 0.005
HORIZON = 2_000
_CHUNK = 500

Bound = Literal["at least", "at most", "contrast"]


@dataclass(frozen=True)
class Row:
    """One measured share.

    `measured` is the share of `runs` in which the event named by `what` happened; `bound` says on which side
    of `promise` it must lie ("contrast": nowhere). `exact` is the same share by enumeration, where that is
    possible. Raises `InputError` for shares outside [0, 1].
    """

    group: str
    method: str
    what: str
    setting: str
    measured: float
    runs: int
    bound: Bound
    promise: float
    exact: float | None = None

    def __post_init__(self) -> None:
        if not (0.0 <= self.measured <= 1.0 and 0.0 <= self.promise <= 1.0):
            raise InputError(f"Shares must lie in [0, 1], but are {self.measured} and {self.promise}.")

    @property
    def monte_carlo_error(self) -> float:
        """The standard error that a share of exactly `promise` has in this many runs."""
        return math.sqrt(self.promise * (1.0 - self.promise) / self.runs)

    @property
    def holds(self) -> bool:
        """Whether the promise is kept within two Monte-Carlo errors (always, for a contrast)."""
        slack = 2.0 * self.monte_carlo_error
        if self.bound == "at least":
            return self.measured >= self.promise - slack
        return self.bound == "contrast" or self.measured <= self.promise + slack

    def to_json(self) -> dict[str, float | int | str | bool | None]:
        """The fields with the Monte-Carlo error and whether the promise holds."""
        return asdict(self) | {"monte_carlo_error": round(self.monte_carlo_error, 6), "holds": self.holds}


def _generator(seed: int, *purpose: str | int) -> np.random.Generator:
    return np.random.default_rng(derive_seed("statistics simulation", seed, *purpose))


def _chunks(runs: int) -> Iterator[int]:
    """Sizes that add up to `runs`; fixed pieces, so that memory stays small."""
    for start in range(0, runs, _CHUNK):
        yield min(_CHUNK, runs - start)


def coverage_rows(runs: int, seed: int) -> Iterator[Row]:
    """Coverage of 95% intervals over the 12 cells of (n, p): counts, and values between 0 and 1 of mean p."""
    by_count: list[tuple[str, Callable[[int, int], Interval], Bound]] = [
        ("Clopper-Pearson", clopper_pearson, "at least"),
        ("Wilson", wilson, "contrast"),
    ]
    for n, p in CELLS:
        setting = f"n = {n}, p = {p}"
        counts = _generator(seed, "counts", n, str(p)).binomial(n, p, size=runs).tolist()
        likely = range(int(binom.ppf(1e-9, n, p)), int(binom.isf(1e-9, n, p)) + 1)
        for name, method, bound in by_count:
            cached = lru_cache(maxsize=None)(method)
            covered = sum(cached(k, n).contains(p) for k in counts)
            exact = sum(float(binom.pmf(k, n, p)) for k in likely if cached(k, n).contains(p))
            share = covered / runs
            yield Row("coverage", name, "covers the truth", setting, share, runs, bound, 1 - ALPHA, exact)
        rng = _generator(seed, "betting", n, str(p))
        zero_one = between = 0
        for size in _chunks(runs):
            zero_one += int(betting_holds(rng.random((size, n)) < p, p, 0.0, 1.0).sum())
            between += int(betting_holds(rng.beta(p, 1 - p, (size, n)), p, 0.0, 1.0).sum())
        for kind, covered in (("0 or 1", zero_one), ("beta distributed", between)):
            where = f"{setting}, values {kind}"
            share = covered / runs
            yield Row("coverage", "betting", "covers the truth", where, share, runs, "at least", 1 - ALPHA)


def anytime_rows(runs: int, seed: int) -> Iterator[Row]:
    """Errors of whoever looks after every sample up to 2,000 and stops when it suits, with the null true."""
    what, target = "rejects a true null at some look", log_threshold(ALPHA)
    for p0 in (0.01, 0.05):
        rng = _generator(seed, "anytime", str(p0))
        boundary = RateMixture(p0, ALPHA).boundary(HORIZON)
        n = np.arange(1, HORIZON + 1)
        critical = critical_successes(n, p0, ALPHA)
        looks = np.zeros(HORIZON, dtype=bool)
        looks[HORIZON // 20 - 1 :: HORIZON // 20] = True
        wrong: dict[str, int] = dict.fromkeys(("mixture", "betting", "sequence", "repeated"), 0)
        for size in _chunks(runs):
            x = (rng.random((size, HORIZON)) < p0).astype(float)
            k = np.cumsum(x, axis=1)
            wrong["mixture"] += int((k <= boundary).any(axis=1).sum())
            wrong["repeated"] += int(((k <= critical) & looks).any(axis=1).sum())
            wrong["betting"] += int((betting_path(x, p0, 0.0, 1.0).max(axis=1) >= target).sum())
            wrong["sequence"] += int((~betting_holds(x, p0, 0.0, 1.0, 1 - ALPHA, anytime=True)).sum())
        setting = f"p = p0 = {p0}, up to {HORIZON} samples"
        rows: list[tuple[str, str, str, Bound]] = [
            ("mixture", "beta-mixture e-process", what, "at most"),
            ("betting", "betting e-process", what, "at most"),
            ("sequence", "betting confidence sequence", "misses the truth at some look", "at most"),
            ("repeated", "exact fixed-n test, looked at 20 times", what, "contrast"),
        ]
        stopped = stopping_time(p0, p0, ALPHA, HORIZON).stopped
        for key, method, event, bound in rows:
            exact = stopped if key == "mixture" else None
            yield Row("anytime", method, event, setting, wrong[key] / runs, runs, bound, ALPHA, exact)


def preservation_rows(runs: int, seed: int) -> Iterator[Row]:
    """Type I error at the margin, power without a change and with a small one; 5% of 3,000 pairs differ."""
    target = log_threshold(ALPHA)
    for difference in (MARGIN, 0.0, SMALL_HARM):
        rng = _generator(seed, "preservation", str(difference))
        worse_rate = (DISCORDANCE + difference) / 2
        rejected: dict[str, int] = dict.fromkeys(("Tango", "planned", "adaptive"), 0)
        for size in _chunks(runs):
            u = rng.random((size, PAIRS))
            change = np.where(u < worse_rate, 1.0, np.where(u < DISCORDANCE, -1.0, 0.0))
            z = tango_z((change > 0).sum(axis=1), (change < 0).sum(axis=1), PAIRS, MARGIN)
            rejected["Tango"] += int((norm.cdf(z) <= ALPHA).sum())
            for key, horizon in (("planned", PAIRS), ("adaptive", None)):
                path = betting_path(change, MARGIN, -1.0, 1.0, "less", ALPHA, horizon)
                rejected[key] += int((path.max(axis=1) >= target).sum())
        null = difference == MARGIN
        what = "type I error at the margin" if null else f"power at a true change of {difference}"
        setting = f"margin {MARGIN}, discordance {DISCORDANCE}, {PAIRS} pairs"
        exact = tango_rejection_rate(PAIRS, MARGIN, DISCORDANCE, difference, ALPHA)
        betting: Bound = "at most" if null else "at least" if difference == 0.0 else "contrast"
        rows: list[tuple[str, str, Bound, float]] = [
            ("Tango score, fixed n", "Tango", "at most" if null else "at least", 0.055 if null else POWER),
            (
                "betting e-process tuned to n, looks after every pair",
                "planned",
                betting,
                ALPHA if null else POWER,
            ),
            (
                "betting e-process, adaptive, looks after every pair",
                "adaptive",
                betting,
                ALPHA if null else POWER,
            ),
        ]
        for method, key, bound, promise in rows:
            share, known = rejected[key] / runs, exact if key == "Tango" else None
            yield Row("preservation", method, what, setting, share, runs, bound, promise, known)


def simulate(runs: int, seed: int = 0) -> list[Row]:
    """All rows; the same for the same `runs` and `seed`. Raises `InputError` unless runs >= 1."""
    check_count("runs", runs, 1)
    return [row for rows in (coverage_rows, anytime_rows, preservation_rows) for row in rows(runs, seed)]


def main(arguments: list[str] | None = None) -> int:
    """Run the simulation, write it as JSON, print what was measured; 1 when a promise is broken, else 0."""
    parser = argparse.ArgumentParser(description="Measure coverage, type I error and power.")
    parser.add_argument("--runs", type=int, default=10_000, help="runs a cell (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="what the draws start from (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    chosen = parser.parse_args(arguments)
    start = time.perf_counter()
    rows = simulate(chosen.runs, chosen.seed)
    seconds = time.perf_counter() - start
    for row in rows:
        promise = "" if row.bound == "contrast" else f"({row.bound} {row.promise})"
        verdict = "  " if row.bound == "contrast" else "ok" if row.holds else "NO"
        print(f"{verdict} {row.measured:.4f} {promise:16} {row.method}: {row.what}; {row.setting}")
    options = f"--runs {chosen.runs} --seed {chosen.seed} --out {chosen.out.as_posix()}"
    kept = all(row.holds for row in rows)
    write_json(
        chosen.out,
        {
            "command": f"python -m tinyalign.statistics.simulate {options}",
            "runs": chosen.runs,
            "seed": chosen.seed,
            "seconds": round(seconds, 1),
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "scipy": scipy.__version__,
            },
            "all_hold": kept,
            "rows": [row.to_json() for row in rows],
        },
    )
    print(f"{len(rows)} rows in {seconds:.0f} s, every promise kept: {kept}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
