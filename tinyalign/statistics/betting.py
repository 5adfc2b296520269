"""The mean of a bounded quantity by betting: valid for every distribution inside the bounds, at every n.

A gambler bets on each sample being above (or below) a candidate mean m. If the mean is m the game is fair,
so the capital is a non-negative martingale, and reaching 1 / alpha is evidence at level alpha that it is not
m (Ville's inequality). The interval is the set of the candidates against which nobody got rich.

Samples must be drawn one after the other with the same conditional mean; nothing else is asked of them.
Everything is deterministic, and **depends on the order of the samples**: bet number t uses the samples
before t alone. Give samples in the order in which they were drawn, never sorted; another order gives another
interval, as valid.

Source of all of it: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by
betting", JRSS-B 86, 1-27 (read before the society in 2023), called WSR below.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import as_bounded_sample, check_choice, check_count, check_fraction
from tinyalign.statistics.evalues import EResult, log_threshold, summarise
from tinyalign.statistics.interval import Interval

Side = Literal["two", "upper", "lower"]
Alternative = Literal["less", "greater"]

# A bet may risk at most this share of the capital on one sample (c in WSR's hedged capital). The larger share
# pays when n is fixed beforehand and nearly all samples are equal; the smaller is safer over a long run.
_SHARE_FIXED = 0.75
_SHARE_ANYTIME = 0.5
_BISECTIONS = 40


def _forecasts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the samples *before* each one, shrunk to 1/2 and 1/4 (WSR, theorem 2).

    `x` is [..., n] in [0, 1]; both results have its shape.
    """
    t = np.arange(1, x.shape[-1] + 1)
    mean = (0.5 + np.cumsum(x, axis=-1)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2, axis=-1)) / (t + 1)
    before = np.ones((*x.shape[:-1], 1))
    return (
        np.concatenate([0.5 * before, mean[..., :-1]], axis=-1),
        np.concatenate([0.25 * before, variance[..., :-1]], axis=-1),
    )


def plug_in_bets(x: np.ndarray, error: float, horizon: int | None = None) -> np.ndarray:
    """Predictable plug-in bets for samples `x` ([..., n] in [0, 1]), not yet truncated; the same shape.

    With `horizon` they are tuned to be best at that sample size, without it they stay good at all sizes
    (WSR, section 4, "hedged capital"); both are valid at every size. `error` is alpha over the number of
    processes that share it.
    """
    _, variance = _forecasts(x)
    t = np.arange(1, x.shape[-1] + 1)
    effective = t * np.log(t + 1) if horizon is None else horizon
    return np.sqrt(2 * log_threshold(error) / (variance * effective))


def adaptive_bets(x: np.ndarray, mean0: float, alternative: Alternative) -> np.ndarray:
    """Bets that aim at the fastest growth against `mean0` alone, not yet truncated; the shape of `x`.

    The approximate "growth rate adaptive to the particular alternative" bets (aGRAPA in WSR, appendix B), at
    zero while the samples so far lie on the null's side. `x` is [..., n] in [0, 1].
    """
    mean, variance = _forecasts(x)
    gap = mean0 - mean if alternative == "less" else mean - mean0
    return np.maximum(gap, 0.0) / (variance + gap**2)


def log_capital(
    x: np.ndarray, bets: np.ndarray, mean0: float, alternative: Alternative, share: float
) -> np.ndarray:
    """log capital after each sample of the gambler who bets that the mean is "less" or "greater" than mean0.

    `x` and `bets` are [..., n], x in [0, 1]; 0 <= mean0 <= 1; at most `share` < 1 of the capital is risked
    on a sample (WSR, section 4). Falls as mean0 rises for "greater", rises for "less": each factor
    1 + min(bet, share / m) (x - m) falls in m, which is what makes the interval's ends findable by bisection.
    """
    risk = mean0 if alternative == "greater" else 1.0 - mean0
    stakes = np.minimum(bets, share / risk) if risk > 0 else bets
    gains = x - mean0 if alternative == "greater" else mean0 - x
    return np.cumsum(np.log1p(stakes * gains), axis=-1)


def _share(horizon: int | None) -> float:
    return _SHARE_ANYTIME if horizon is None else _SHARE_FIXED


def _lower_end(x: np.ndarray, bets: np.ndarray, error: float, share: float) -> float:
    """The largest m that was ruled out from below at some time, to 2**-40 and on the safe side."""
    target = log_threshold(error)

    def ruled_out(m: float) -> bool:
        return bool(log_capital(x, bets, m, "greater", share).max() >= target)

    if not ruled_out(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if ruled_out(middle) else (low, middle)
    return low


def _interval(
    x: np.ndarray, bounds: tuple[float, float], level: float, side: Side, horizon: int | None, method: str
) -> Interval:
    """The betting interval of samples already mapped into [0, 1], mapped back to `bounds`."""
    error = (1.0 - level) / (2 if side == "two" else 1)
    share, bets = _share(horizon), plug_in_bets(x, error, horizon)
    mean = float(x.mean())
    # Widening an end to take in the sample mean costs no validity; it happens only when samples drift.
    low = 0.0 if side == "upper" else min(_lower_end(x, bets, error, share), mean)
    high = 1.0 if side == "lower" else max(1.0 - _lower_end(1.0 - x, bets, error, share), mean)
    start, end = bounds

    def back(value: float) -> float:
        return min(max(start + (end - start) * value, start), end)

    return Interval(back(mean), back(low), back(high), level, f"{method}, {side}-sided")


def betting_interval(
    values: ArrayLike, lower_bound: float, upper_bound: float, level: float = 0.95, side: Side = "two"
) -> Interval:
    """A confidence interval for the mean of values that always lie in [lower_bound, upper_bound].

    Covers with at least `level` at every n and for every distribution inside the bounds, which must be
    known beforehand and not read off the sample; n must be fixed beforehand too (`BettingSequence` is for
    looking while sampling). `side="upper"` gives [lower_bound, U], `"lower"` [L, upper_bound]. The
    estimate is the sample mean; low and high are in the units of `values`. Depends on the order of
    `values` (see the module). Raises `InputError` for an empty or non-finite sample, values outside the
    bounds, or an impossible level or side. (The bets depend on the level, so intervals of two levels need
    not be nested.)

    Source: WSR, theorem 3 (hedged capital) with bets tuned to n and running intersection; each gambler gets
    half of the error instead of half of the capital, which is the same.
    """
    _check(level, side)
    x = _to_unit(values, lower_bound, upper_bound)
    return _interval(x, (lower_bound, upper_bound), level, side, x.size, "betting")


def betting_holds(
    values: ArrayLike,
    mean: float,
    lower_bound: float,
    upper_bound: float,
    level: float = 0.95,
    anytime: bool = False,
) -> np.ndarray:
    """Whether `mean` is in the two-sided interval of each of many runs, without finding the intervals.

    `values` is [..., n], the last axis time; the result is boolean [...]. False where one of the gamblers
    against `mean` got rich: for `betting_interval`, or with `anytime` for the intersection of all intervals
    of a `BettingSequence` up to n. (Those two widen an end to take in the sample mean; this does not.)
    Errors as `betting_interval`.
    """
    _check(level, "two")
    unit, m = _unit_runs(values, lower_bound, upper_bound), (mean - lower_bound) / (upper_bound - lower_bound)
    if not 0.0 <= m <= 1.0:
        raise InputError(f"mean must lie in [{lower_bound}, {upper_bound}], but is {mean}.")
    horizon, error = None if anytime else unit.shape[-1], (1.0 - level) / 2
    bets, share = plug_in_bets(unit, error, horizon), _share(horizon)
    up = log_capital(unit, bets, m, "greater", share).max(axis=-1)
    down = log_capital(unit, bets, m, "less", share).max(axis=-1)
    return np.asarray(np.maximum(up, down) < log_threshold(error))


class BettingSequence:
    """A confidence sequence for a bounded mean: every interval it ever gives covers, all at once.

    With probability at least `level` the mean lies in *all* the intervals, so one may look at any time and
    stop for any reason. Add samples in the order in which they were drawn; `interval()` costs a few
    milliseconds per thousand samples, so add in batches. Raises `InputError` as `betting_interval` does,
    and for an interval asked before the first sample.

    Source: WSR, theorem 3 (hedged capital) with bets for no particular n.
    """

    def __init__(
        self, lower_bound: float, upper_bound: float, level: float = 0.95, side: Side = "two"
    ) -> None:
        _check(level, side)
        self.lower_bound, self.upper_bound, self.level = lower_bound, upper_bound, level
        self.side: Side = side
        self._x = _to_unit([], lower_bound, upper_bound, least=0)

    @property
    def samples(self) -> int:
        """The number of samples added so far."""
        return self._x.size

    def update(self, values: ArrayLike) -> None:
        """Add samples (units of the bounds); all of them are refused when one lies outside."""
        self._x = np.concatenate([self._x, _to_unit(values, self.lower_bound, self.upper_bound, least=0)])

    def interval(self) -> Interval:
        """The interval after all samples so far; valid whenever it is asked for."""
        if not self.samples:
            raise InputError("There is no interval before the first sample: add samples first.")
        bounds = (self.lower_bound, self.upper_bound)
        return _interval(self._x, bounds, self.level, self.side, None, "betting sequence")


def betting_path(
    values: ArrayLike,
    mean0: float,
    lower_bound: float,
    upper_bound: float,
    alternative: Alternative = "less",
    alpha: float = 0.05,
    horizon: int | None = None,
) -> np.ndarray:
    """The log e-value after each sample against "the mean is at least mean0" (`alternative="less"`).

    `values` may be [..., n]: the last axis is time, the others independent runs; the result has their
    shape. Parameters, null and errors as `betting_test`.
    """
    check_choice("alternative", alternative, ("less", "greater"))
    check_fraction("alpha", alpha)
    if horizon is not None:
        check_count("The horizon", horizon, 1)
    unit = _unit_runs(values, lower_bound, upper_bound)
    m = (mean0 - lower_bound) / (upper_bound - lower_bound)
    if not 0.0 < m < 1.0:
        raise InputError(
            f"mean0 must lie strictly between {lower_bound} and {upper_bound}, but is {mean0}: "
            "a mean at a bound cannot be tested."
        )
    tuned = adaptive_bets(unit, m, alternative) if horizon is None else plug_in_bets(unit, alpha, horizon)
    return log_capital(unit, tuned, m, alternative, _share(horizon))


def betting_test(
    values: ArrayLike,
    mean0: float,
    lower_bound: float,
    upper_bound: float,
    alternative: Alternative = "less",
    alpha: float = 0.05,
    horizon: int | None = None,
) -> EResult:
    """Test, with optional stopping, the claim that a bounded mean is below (or above) `mean0`.

    Null for `alternative="less"`: the mean is at least mean0; for `"greater"`: at most mean0. Rejection
    supports the claim. `mean0`, bounds and values share one unit. `horizon`, the number of samples planned,
    tunes the bets to it; the test stays valid at all times with or without it. Depends on the order of
    `values` (see the module). Raises `InputError` for bad values or bounds, or a mean0 at or outside them.

    Source: WSR, section 4 (the capital process, one-sided) and Ville's inequality.
    """
    path = betting_path(as_flat(values), mean0, lower_bound, upper_bound, alternative, alpha, horizon)
    null = f"the mean is at {'least' if alternative == 'less' else 'most'} {mean0:g}"
    return summarise(path, alpha, null, "betting e-process")


def as_flat(values: ArrayLike) -> np.ndarray:
    """`values` as a one-dimensional float array; raises `InputError` for another shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"Values must be a flat list of numbers, but have shape {array.shape}.")
    return array


def _check(level: float, side: str) -> None:
    check_fraction("level", level)
    check_choice("side", side, ("two", "upper", "lower"))


def _to_unit(values: ArrayLike, lower_bound: float, upper_bound: float, least: int = 1) -> np.ndarray:
    """`values` checked against the bounds and mapped affinely onto [0, 1]."""
    array = as_bounded_sample("Values", values, lower_bound, upper_bound, least)
    return np.clip((array - lower_bound) / (upper_bound - lower_bound), 0.0, 1.0)


def _unit_runs(values: ArrayLike, lower_bound: float, upper_bound: float) -> np.ndarray:
    """`_to_unit` for [..., n]; the shape stays."""
    array = np.asarray(values, dtype=np.float64)
    return _to_unit(array.reshape(-1), lower_bound, upper_bound).reshape(array.shape)
