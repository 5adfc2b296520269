"""From counts and values to a leaf's result: the exact rate, the bounded mean, and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tinyalign.statistics.betting import betting_interval, betting_test
from tinyalign.statistics.binomial import clopper_pearson, rate_at_most
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.results import Counterexample, LeafResult, Status

SHOWN = 5
"""How many counterexamples a result keeps; `details` counts them all."""


def status_of(low: float, high: float, margin: float, direction: Literal["<=", ">="]) -> Status:
    """What two one-sided bounds say about "the truth is `direction` margin"."""
    inside = high <= margin if direction == "<=" else low >= margin
    beyond = low > margin if direction == "<=" else high < margin
    return "established" if inside else "defeated" if beyond else "not established"


def no_rows(leaf: Leaf, margin: float, direction: Literal["<=", ">="], unit: str, alpha: float) -> LeafResult:
    """The result before anything was measured."""
    return LeafResult(
        id=leaf.id,
        kind=leaf.kind,
        claim=leaf.claim,
        status="not established",
        summary="Nothing was measured.",
        margin=margin,
        direction=direction,
        unit=unit,
        alpha=alpha,
    )


def conclude_rate(
    leaf: Leaf,
    bad: int,
    n: int,
    margin: float,
    alpha: float,
    *,
    what: str,
    unit: str,
    rows: int | None = None,
    details: Mapping[str, Any] | None = None,
    counterexamples: Sequence[Counterexample] = (),
) -> LeafResult:
    """The claim "the rate is at most `margin`" from `bad` of `n`: exact (Clopper and Pearson 1934).

    `what` says in words what was counted. `rows` is the number of rows where it differs from n.
    """
    if n == 0:
        return no_rows(leaf, margin, "<=", unit, alpha)
    high = clopper_pearson(bad, n, 1 - alpha, "upper").high
    low = clopper_pearson(bad, n, 1 - alpha, "lower").low
    status = status_of(low, high, margin, "<=")
    return LeafResult(
        id=leaf.id,
        kind=leaf.kind,
        claim=leaf.claim,
        status=status,
        summary=f"{what}: {bad} of {n} ({bad / n:.1%}); at most {high:.1%} at error {alpha:.3g}, "
        f"claimed at most {margin:.1%}.",
        estimate=bad / n,
        low=low,
        high=high,
        margin=margin,
        direction="<=",
        unit=unit,
        alpha=alpha,
        n=n if rows is None else rows,
        p_value=rate_at_most(bad, n, margin).value,
        details={"bad": bad, "of": n, "test": "exact binomial, fixed n", **(details or {})},
        counterexamples=tuple(counterexamples[:SHOWN]),
    )


def conclude_mean(
    leaf: Leaf,
    values: Sequence[float] | np.ndarray,
    bounds: tuple[float, float],
    margin: float,
    direction: Literal["<=", ">="],
    alpha: float,
    *,
    what: str,
    unit: str,
    details: Mapping[str, Any] | None = None,
    counterexamples: Sequence[Counterexample] = (),
) -> LeafResult:
    """A claim about the mean of values bounded beforehand, by betting at fixed n, in the order drawn.

    Both ends are one-sided bounds of error alpha (Waudby-Smith and Ramdas 2024). Values outside the bounds
    are clipped, and counted in the details: the claim is then one about the clipped values.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        return no_rows(leaf, margin, direction, unit, alpha)
    clipped = np.clip(x, *bounds)
    low = betting_interval(clipped, *bounds, 1 - alpha, "lower").low
    high = betting_interval(clipped, *bounds, 1 - alpha, "upper").high
    status = status_of(low, high, margin, direction)
    alternative = "less" if direction == "<=" else "greater"
    test = betting_test(clipped, margin, *bounds, alternative, alpha, horizon=x.size)
    mean = float(clipped.mean())
    bound = f"at most {high:.4g}" if direction == "<=" else f"at least {low:.4g}"
    return LeafResult(
        id=leaf.id,
        kind=leaf.kind,
        claim=leaf.claim,
        status=status,
        summary=f"{what}: mean {mean:.4g} {unit} over {x.size} samples; {bound} at error {alpha:.3g}, "
        f"claimed {'at most' if direction == '<=' else 'at least'} {margin:g}.",
        estimate=mean,
        low=min(low, mean),
        high=max(high, mean),
        margin=margin,
        direction=direction,
        unit=unit,
        alpha=alpha,
        n=int(x.size),
        e_value=math.exp(min(test.log_e, 700.0)),
        details={
            "test": "betting, fixed n",
            "bounds": list(bounds),
            "clipped": int((clipped != x).sum()),
            "values": [round(float(value), 4) for value in clipped],
            **(details or {}),
        },
        counterexamples=tuple(counterexamples[:SHOWN]),
    )
