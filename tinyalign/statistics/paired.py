"""A change measured on pairs: the same prompt before and after, with a margin that must be stated.

For two answers a pair ("bad" or "good", before and after) only the discordant pairs speak: `worse` counts
the pairs that are bad after and good before, `better` those that are good after and bad before. The
difference is P(bad after) - P(bad before) = E[worse - better] / pairs, **positive when things got worse**.
"No difference found" never passes: every null here is "the change is at least the margin".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm, t

from tinyalign.common.errors import InputError
from tinyalign.statistics.binomial import Side
from tinyalign.statistics.checks import as_sample, check_choice, check_count, check_fraction
from tinyalign.statistics.interval import Interval, PValue

# A sample without any spread has an infinite t statistic; it is reported as this many standard errors.
_T_CAP = 1e6


def _check_pairs(worse: int, better: int, pairs: int) -> None:
    check_count("The number of pairs", pairs, 1)
    check_count("worse", worse)
    check_count("better", better)
    if worse + better > pairs:
        raise InputError(f"worse + better must be at most the {pairs} pairs, but are {worse} + {better}.")


def tango_z(
    worse: int | np.ndarray, better: int | np.ndarray, pairs: int, difference: float | np.ndarray
) -> np.ndarray:
    """Tango's score statistic for "the true difference is `difference`" (arrays broadcast; 0-d for numbers).

    Negative when the data lie below `difference` (better than it). Approximately standard normal under that
    null. The nuisance rate of "better" pairs is at its maximum-likelihood value given the difference, in
    closed form. Without discordant pairs and at difference 0 it is 0. `difference` is in [-1, 1]; counts are
    not checked here.

    Source: Tango (1998), Statistics in Medicine 17, 891-908, equations (24)-(26), with its margin Delta =
    -`difference`.
    """
    b, c = np.asarray(worse, dtype=np.float64), np.asarray(better, dtype=np.float64)
    d = np.asarray(difference, dtype=np.float64)
    linear = -b - c + (2 * pairs - b + c) * d
    constant = -c * d * (1 - d)
    root = np.sqrt(np.maximum(linear**2 - 8 * pairs * constant, 0.0))
    nuisance = (root - linear) / (4 * pairs)
    variance = pairs * np.maximum(2 * nuisance + d * (1 - d), 0.0)
    score = b - c - pairs * d
    safe = np.where(variance > 0, variance, 1.0)
    return np.asarray(
        np.where(variance > 0, score / np.sqrt(safe), np.where(score == 0, 0.0, np.copysign(np.inf, score)))
    )


def tango_test(worse: int, better: int, pairs: int, margin: float) -> PValue:
    """Non-inferiority: test the claim "P(bad after) - P(bad before) < margin" at fixed n.

    Null: the difference is at least `margin`, which is in (0, 1). A small p (statistic far below 0) supports
    the claim. Approximate: by enumeration at margin .02 the type I error for .05 is .0489 with 3,000 pairs
    of which 5% are discordant, and .060 with 300 pairs when every discordant one got worse
    (`planning.tango_rejection_rate` tells it for any case). Raises `InputError` for impossible counts or
    margin. Source: `tango_z`.
    """
    _check_pairs(worse, better, pairs)
    check_fraction("The margin", margin)
    z = float(tango_z(worse, better, pairs, margin))
    return PValue(float(norm.cdf(z)), z, f"bad after - bad before is at least {margin:g}", "Tango score")


def tango_interval(worse: int, better: int, pairs: int, level: float = 0.95, side: Side = "two") -> Interval:
    """The score interval of P(bad after) - P(bad before), positive when things got worse.

    All differences that `tango_z` does not reject; `side="upper"` gives [-1, U], `"lower"` [L, 1]. U of level
    1 - alpha is below a margin exactly when `tango_test` rejects at alpha. The estimate is
    (worse - better) / pairs. Raises `InputError` for impossible counts, level or side (one-sided levels must
    be at least 0.5). Source: Tango (1998), by root finding.
    """
    _check_pairs(worse, better, pairs)
    check_fraction("level", level)
    check_choice("side", side, ("two", "upper", "lower"))
    if side != "two" and level < 0.5:
        raise InputError(f"A one-sided interval needs a level of at least 0.5, but got {level}.")
    z = float(norm.isf((1 - level) / 2 if side == "two" else 1 - level))
    estimate = (worse - better) / pairs

    def upper_end(more: int, less: int) -> float:
        def excess(difference: float) -> float:
            return float(tango_z(more, less, pairs, difference)) + z

        # The statistic falls in the difference and may be infinite at 1 itself.
        start, stop = (more - less) / pairs, 1.0 - 1e-12
        return 1.0 if start >= stop or excess(stop) >= 0 else float(brentq(excess, start, stop, xtol=1e-12))

    low = -1.0 if side == "upper" else min(-upper_end(better, worse), estimate)
    high = 1.0 if side == "lower" else max(upper_end(worse, better), estimate)
    return Interval(estimate, low, high, level, f"Tango score, {side}-sided")


def paired_tost(worse: int, better: int, pairs: int, margin: float) -> PValue:
    """Equivalence: test the claim "|P(bad after) - P(bad before)| < margin" by two one-sided score tests.

    Null: the absolute difference is at least `margin`. p is the larger of the two one-sided p-values (no
    correction is needed, the null is their union); the statistic is the less favourable z, signed so that
    positive supports the claim. Errors as `tango_test`.

    Source: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680; the score
    statistic is Tango's (1998).
    """
    _check_pairs(worse, better, pairs)
    check_fraction("The margin", margin)
    below = -float(tango_z(worse, better, pairs, margin))
    above = float(tango_z(worse, better, pairs, -margin))
    z = min(below, above)
    null = f"|bad after - bad before| is at least {margin:g}"
    return PValue(float(norm.sf(z)), z, null, "two one-sided Tango score tests")


def mean_tost(values: ArrayLike, low: float, high: float) -> PValue:
    """Equivalence: test the claim "the mean lies strictly between `low` and `high`" by two one-sided t-tests.

    Null: the mean is at most `low` or at least `high`, in the units of `values`, which must be independent
    and either many or near normal (one per story, not one per token). The statistic is the distance to the
    nearer margin in standard errors, positive inside. Values without any spread (an edit that changes
    nothing) count as known exactly: p is 0 inside and 1 outside, the statistic 1e6 in size. Raises
    `InputError` for fewer than two values or margins out of order.

    Source: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    x = as_sample("Values", values, 2)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"The margins must be finite and ordered, but are {low} and {high}.")
    mean = float(x.mean())
    error = float(x.std(ddof=1)) / float(np.sqrt(x.size))
    inside = min(mean - low, high - mean)
    null = f"the mean is at most {low:g} or at least {high:g}"
    method = "two one-sided t-tests"
    if inside == 0.0 or error <= abs(inside) / _T_CAP:
        statistic = float(np.sign(inside)) * _T_CAP
        return PValue(0.0 if inside > 0 else 1.0, statistic, null, method)
    return PValue(float(t.sf(inside / error, x.size - 1)), inside / error, null, method)
