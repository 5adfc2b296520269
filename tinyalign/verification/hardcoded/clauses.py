"""A leaf that needs several statements at once: each is tested by itself, and all must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from tinyalign.common.errors import InputError
from tinyalign.statistics.betting import betting_interval
from tinyalign.statistics.paired import mean_tost, paired_tost, tango_interval, tango_test
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.results import Counterexample, LeafResult

# Stands for "no limit on this side" where a test asks for two.
_FAR = 1e9


@dataclass(frozen=True)
class Clause:
    """One statement "the truth of `estimate` is `direction` `margin`", in `unit`.

    `low` and `high` are bounds of error alpha each. `holds`: shown at alpha. `fails`: the opposite was shown
    at alpha divided by the number of clauses tested together, since one failing clause defeats the whole.
    `p_value` is the evidence for the statement, None where the test gives none.
    """

    name: str
    estimate: float
    low: float
    high: float
    margin: float
    direction: Literal["<=", ">="]
    unit: str
    holds: bool
    fails: bool
    p_value: float | None = None

    @property
    def slack(self) -> float:
        """How far the deciding bound is inside the margin, as a share of it (of the bounds, at margin 0)."""
        inside = self.margin - self.high if self.direction == "<=" else self.low - self.margin
        return inside / (abs(self.margin) or max(abs(self.low), abs(self.high), 1e-9))

    def to_json(self) -> dict[str, Any]:
        """The numbers, for a result's details."""
        return {
            "name": self.name,
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "margin": self.margin,
            "direction": self.direction,
            "unit": self.unit,
            "holds": self.holds,
            "fails": self.fails,
        }


def mean_at_least(
    name: str, values: ArrayLike, margin: float, bound: float, alpha: float, tests: int, unit: str = "nats"
) -> Clause:
    """The clause "the mean is above `margin`" for values cut to +-`bound`, by exact betting bounds.

    Cutting makes large values smaller, so that a few of them cannot carry the claim. `tests` is the number of
    clauses that share the error of a false "fails". Source: `tinyalign.statistics.betting`.
    """
    cut = np.clip(np.asarray(values, dtype=np.float64), -bound, bound)
    lower = betting_interval(cut, -bound, bound, 1 - alpha, "lower")
    upper = betting_interval(cut, -bound, bound, 1 - alpha / tests, "upper")
    return Clause(
        name=name,
        estimate=lower.estimate,
        low=lower.low,
        high=upper.high,
        margin=margin,
        direction=">=",
        unit=unit,
        holds=lower.low > margin,
        fails=upper.high < margin,
    )


def mean_near_zero(
    name: str, values: ArrayLike, margin: float, alpha: float, tests: int, unit: str, one_sided: bool = False
) -> Clause:
    """The clause "the mean is within `margin` of zero" (`one_sided`: "is below `margin`"), by t-tests.

    The clause's numbers are about the size of the mean where both sides count. Approximate: it needs a few
    dozen independent values. Source: `tinyalign.statistics.paired.mean_tost`. Raises `InputError` for fewer
    than two values.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        raise InputError(f"{name}: a mean needs at least two values, but there are {x.size}.")
    mean, error = float(x.mean()), float(x.std(ddof=1)) / float(np.sqrt(x.size))
    half = float(t.isf(alpha, x.size - 1)) * error
    strict = float(t.isf(alpha / tests / (1 if one_sided else 2), x.size - 1)) * error
    if one_sided:
        p = mean_tost(x, -_FAR, margin).value
        low, high, fails, estimate = mean - half, mean + half, mean - strict > margin, mean
    else:
        p = mean_tost(x, -margin, margin).value
        low, high = max(0.0, mean - half, -mean - half), abs(mean) + half
        fails, estimate = abs(mean) - strict > margin, abs(mean)
    return Clause(name, estimate, low, high, margin, "<=", unit, p <= alpha, fails, p)


def rate_kept(
    name: str,
    before: ArrayLike,
    after: ArrayLike,
    margin: float,
    alpha: float,
    tests: int,
    one_sided: bool = False,
) -> Clause:
    """The clause "the rate changed by less than `margin`" (`one_sided`: "rose by less") on pairs of answers.

    `before` and `after` are booleans of the same samples. Source: `tinyalign.statistics.paired` (Tango 1998).
    """
    old, new = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    more, less, n = int((new & ~old).sum()), int((old & ~new).sum()), old.size
    p = (tango_test if one_sided else paired_tost)(more, less, n, margin).value
    bounds = tango_interval(more, less, n, 1 - 2 * alpha)
    strict = tango_interval(more, less, n, 1 - (2 if one_sided else 1) * alpha / tests)
    if one_sided:
        estimate, low, high, fails = bounds.estimate, bounds.low, bounds.high, strict.low > margin
    else:
        estimate = abs(bounds.estimate)
        low, high = max(0.0, bounds.low, -bounds.high), max(abs(bounds.low), abs(bounds.high))
        fails = strict.low > margin or strict.high < -margin
    return Clause(name, estimate, low, high, margin, "<=", "share", p <= alpha, fails, p)


def conclude_all(
    leaf: Leaf,
    clauses: Sequence[Clause],
    *,
    n: int,
    alpha: float,
    details: Mapping[str, Any],
    counterexamples: tuple[Counterexample, ...] = (),
    remark: str = "",
) -> LeafResult:
    """The leaf's result: established if every clause holds, defeated if one fails.

    The result's own numbers are those of the clause that decides (the first one that fails, else the first
    one that does not hold, else the tightest); all are in `details["clauses"]`. The p-value is the largest of
    the clauses' (Berger 1982).
    """
    failing = [one for one in clauses if one.fails] or [one for one in clauses if not one.holds]
    worst = failing[0] if failing else min(clauses, key=lambda one: one.slack)
    if worst.fails:
        status, word = "defeated", "the opposite was shown"
    elif worst.holds:
        status, word = (
            "established",
            f"holds, as do all {len(clauses)} parts" if len(clauses) > 1 else "holds",
        )
    else:
        status, word = "not established", "not shown"
    p_values = [one.p_value for one in clauses if one.p_value is not None]
    relation = "at most" if worst.direction == "<=" else "at least"
    summary = (
        f"{worst.name}: {worst.estimate:+.3g} [{worst.low:+.3g}, {worst.high:+.3g}] {worst.unit}, "
        f"claimed {relation} {worst.margin:g}: {word}.{' ' + remark if remark else ''}"
    )
    return LeafResult(
        id=leaf.id,
        kind=leaf.kind,
        claim=leaf.claim,
        status=status,
        summary=summary,
        estimate=worst.estimate,
        low=worst.low,
        high=worst.high,
        margin=worst.margin,
        direction=worst.direction,
        unit=worst.unit,
        alpha=alpha,
        n=n,
        p_value=max(p_values) if len(p_values) == len(clauses) else None,
        details={**details, "decides": worst.name, "clauses": [one.to_json() for one in clauses]},
        counterexamples=counterexamples,
    )
