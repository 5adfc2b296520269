"""A rate from k successes in n independent trials: exact interval, score interval, exact tests."""

from __future__ import annotations

import math
from typing import Literal

from scipy.stats import beta, binom, norm

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import check_choice, check_fraction, check_successes
from tinyalign.statistics.interval import Interval, PValue

Side = Literal["two", "upper", "lower"]


def _tail(level: float, side: str) -> float:
    """The error probability spent on each bound that is not trivial."""
    check_fraction("level", level)
    check_choice("side", side, ("two", "upper", "lower"))
    if side == "two":
        return (1.0 - level) / 2
    if level < 0.5:
        raise InputError(f"A one-sided interval needs a level of at least 0.5, but got {level}.")
    return 1.0 - level


def clopper_pearson(successes: int, trials: int, level: float = 0.95, side: Side = "two") -> Interval:
    """The exact interval of a rate: it covers at least `level`, whatever the rate and n.

    `side="upper"` gives [0, U] with all error spent on U; `"lower"` gives [L, 1]. The trials must be
    independent and their number fixed before looking (for optional stopping see `eprocess`). The estimate
    is successes / trials. Raises `InputError` for impossible counts, level or side.

    Source: Clopper and Pearson (1934), Biometrika 26, 404-413; as quantiles of the beta distribution in
    Brown, Cai and DasGupta (2001), Statistical Science 16, section 4.2.1.
    """
    check_successes(successes, trials)
    tail = _tail(level, side)
    low, high = 0.0, 1.0
    if side != "upper" and successes > 0:
        low = float(beta.ppf(tail, successes, trials - successes + 1))
    if side != "lower" and successes < trials:
        high = float(beta.isf(tail, successes + 1, trials - successes))
    return Interval(successes / trials, low, high, level, f"Clopper-Pearson, {side}-sided")


def wilson(successes: int, trials: int, level: float = 0.95, side: Side = "two") -> Interval:
    """The score interval of a rate: narrower than Clopper-Pearson, its coverage right only on average.

    For display and planning; a claim is decided by `clopper_pearson`. Sides, estimate and errors as there.

    Source: Wilson (1927), JASA 22, 209-212; Brown, Cai and DasGupta (2001), section 3.1.1, equation (4).
    """
    check_successes(successes, trials)
    z = float(norm.isf(_tail(level, side)))
    rate = successes / trials
    shrink = 1.0 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # With k = 0 or n the bound is 0 or 1 exactly; the clamps remove the rounding error.
    low = 0.0 if side == "upper" or successes == 0 else min(max(centre - half, 0.0), rate)
    high = 1.0 if side == "lower" or successes == trials else max(min(centre + half, 1.0), rate)
    return Interval(rate, low, high, level, f"Wilson score, {side}-sided")


def rate_at_most(successes: int, trials: int, p0: float) -> PValue:
    """The exact test of the claim "the rate is at most p0".

    Null: the rate is above p0 (its boundary p0 included), so p = P(X <= successes) for
    X ~ Binomial(trials, p0), and a small p supports the claim. It rejects at alpha exactly when the upper
    `clopper_pearson` bound of level 1 - alpha is at most p0. The statistic is the rate minus p0 (negative
    speaks for the claim). Raises `InputError` for impossible counts or p0 outside (0, 1).

    Source: Clopper and Pearson (1934), inverted.
    """
    check_successes(successes, trials)
    check_fraction("p0", p0)
    return PValue(
        float(binom.cdf(successes, trials, p0)),
        successes / trials - p0,
        f"the rate is at least {p0:g}",
        "exact binomial",
    )


def rate_at_least(successes: int, trials: int, p0: float) -> PValue:
    """The exact test of the claim "the rate is at least p0": `rate_at_most` with failures counted.

    Null: the rate is below p0 (its boundary included); p = P(X >= successes). The statistic is the rate
    minus p0 (positive speaks for the claim). Raises `InputError` as `rate_at_most` does.
    """
    check_successes(successes, trials)
    check_fraction("p0", p0)
    return PValue(
        float(binom.sf(successes - 1, trials, p0)),
        successes / trials - p0,
        f"the rate is at most {p0:g}",
        "exact binomial",
    )
