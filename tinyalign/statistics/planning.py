"""How many samples a claim needs before it is tested: power against a truth that is written down first."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import binom, norm

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import check_count, check_fraction
from tinyalign.statistics.eprocess import RateMixture
from tinyalign.statistics.paired import tango_z


@dataclass(frozen=True)
class Plan:
    """A sample size with what it buys.

    `samples` is n (pairs for a paired test); `power` the probability of supporting the claim when the truth
    is as planned and `type_one_error` that of supporting it at the null's boundary, both computed for this n;
    `alpha` and `wanted_power` are what was asked for. Raises `InputError` when the power falls short.
    """

    samples: int
    power: float
    type_one_error: float
    alpha: float
    wanted_power: float
    method: str

    def __post_init__(self) -> None:
        check_count("samples", self.samples, 1)
        check_fraction("alpha", self.alpha)
        check_fraction("wanted_power", self.wanted_power)
        if self.power < self.wanted_power:
            raise InputError(f"A plan must reach its power {self.wanted_power}, but reaches {self.power}.")

    def to_json(self) -> dict[str, float | int | str]:
        """The six fields as a JSON-able dict."""
        return asdict(self)


@dataclass(frozen=True)
class StoppingTime:
    """When an e-process for a rate stops, exactly, for one truth and a largest number of samples.

    `median` and `ninety` are the smallest n by which half and 90% of the runs have stopped, None when
    fewer do within `horizon`; `mean` counts runs that never stop as `horizon`; `stopped` is the share that
    stops at all: the power when `truth` < p0 and the type I error when it is not.
    """

    p0: float
    truth: float
    alpha: float
    horizon: int
    median: int | None
    ninety: int | None
    mean: float
    stopped: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.stopped <= 1.0:
            raise InputError(f"The share of stopped runs must lie in [0, 1], but is {self.stopped}.")

    def to_json(self) -> dict[str, float | int | None]:
        """The eight fields as a JSON-able dict."""
        return asdict(self)


def _check_goal(alpha: float, power: float, most: int) -> None:
    check_fraction("alpha", alpha)
    check_fraction("power", power)
    check_count("most", most, 1)


def critical_successes(samples: np.ndarray, p0: float, alpha: float) -> np.ndarray:
    """For each n the most successes with which `rate_at_most` rejects at alpha; -1 where not even 0 does."""
    most = binom.ppf(alpha, samples, p0)
    # ppf is the smallest k with cdf >= alpha: the last rejecting k is that one only in case of equality.
    return np.where(binom.cdf(most, samples, p0) <= alpha, most, most - 1).astype(np.int64)


def rate_rejection_rate(samples: int, p0: float, rate: float, alpha: float = 0.05) -> float:
    """The exact probability that `rate_at_most` rejects at alpha when the true rate is `rate`.

    Its power for rate < p0, its type I error at rate = p0. Raises `InputError` for impossible numbers.
    """
    check_count("samples", samples, 1)
    check_fraction("p0", p0)
    check_fraction("alpha", alpha)
    if not 0.0 <= rate <= 1.0:
        raise InputError(f"The rate must lie in [0, 1], but is {rate}.")
    return float(binom.cdf(critical_successes(np.array([samples]), p0, alpha)[0], samples, rate))


def plan_rate(
    p0: float, truth: float, alpha: float = 0.05, power: float = 0.9, most: int = 1_000_000
) -> Plan:
    """The smallest n at which the exact test of "the rate is at most p0" has the power wanted.

    Null: the rate is at least p0; `truth` < p0 is the rate at which `power` is wanted. The power of an exact
    test rises and falls with n like a saw; this is the first n that reaches it, and some larger n have less
    (`rate_rejection_rate` tells). Raises `InputError` for impossible numbers or when `most` samples are not
    enough.

    Source: exact binomial tails (Clopper and Pearson 1934).
    """
    _check_goal(alpha, power, most)
    check_fraction("p0", p0)
    if not 0.0 <= truth < p0:
        raise InputError(f"The truth planned for must lie in [0, p0) = [0, {p0}), but is {truth}.")
    start = 1
    while start <= most:
        n = np.arange(start, min(2 * start + 1023, most + 1))
        critical = critical_successes(n, p0, alpha)
        reached = np.flatnonzero(binom.cdf(critical, n, truth) >= power)
        if reached.size:
            size = int(n[reached[0]])
            gained, error = (rate_rejection_rate(size, p0, rate, alpha) for rate in (truth, p0))
            return Plan(size, gained, error, alpha, power, "exact binomial, fixed n")
        start = int(n[-1]) + 1
    raise InputError(
        f"{most} samples do not show a rate of {truth} to be below {p0} with power {power}: "
        "allow more samples or claim a larger p0."
    )


def tango_rejection_rate(
    pairs: int, margin: float, discordance: float, difference: float, alpha: float = 0.05
) -> float:
    """The exact probability that `tango_test` rejects at alpha: its power, or its type I error at the margin.

    `discordance` is P(worse) + P(better), `difference` P(worse) - P(better). Sums the binomial of discordant
    pairs (those rarer than 1e-12 together are left out) and the binomial of the worse among them. Raises
    `InputError` when |difference| > discordance, or for other impossible numbers.
    """
    check_count("pairs", pairs, 1)
    check_fraction("The margin", margin)
    check_fraction("alpha", alpha)
    if not (0.0 <= discordance <= 1.0 and abs(difference) <= discordance):
        raise InputError(
            f"A difference of {difference} needs a discordance between {abs(difference)} and 1, "
            f"but got {discordance}."
        )
    low, high = (int(binom.ppf(q, pairs, discordance)) for q in (1e-12, 1 - 1e-12))
    share = (discordance + difference) / (2 * discordance) if discordance > 0 else 0.0
    total = 0.0
    for discordant in range(max(low, 0), high + 1):
        worse = np.arange(discordant + 1)
        rejected = norm.cdf(tango_z(worse, discordant - worse, pairs, margin)) <= alpha
        weight = float(binom.pmf(discordant, pairs, discordance))
        # The statistic rises in `worse`, so the rejected counts are 0..k.
        total += weight * float(binom.cdf(int(rejected.sum()) - 1, discordant, share))
    return min(total, 1.0)


def plan_paired(
    margin: float,
    discordance: float,
    difference: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.9,
    most: int = 200_000,
) -> Plan:
    """The pairs at which Tango's test of "bad after - bad before < margin" has the power wanted.

    Null: the difference is at least `margin`. `discordance` is the share of pairs that change either way,
    `difference` < margin the truth planned for (0: no change on average). A normal approximation gives a
    first guess, exact enumeration the power; the result is the smallest n, to one part in 200, that has it.
    Its exact type I error is computed at the margin with the same discordance (or the margin, if larger).
    Raises `InputError` for impossible numbers or when `most` pairs are not enough.

    Source: enumeration of the test of Tango (1998); the guess is the usual z-formula for a paired mean.
    """
    _check_goal(alpha, power, most)
    check_fraction("The margin", margin)
    if difference >= margin:
        raise InputError(
            f"The difference planned for must be below the margin {margin}, but is {difference}."
        )
    spread = math.sqrt(max(discordance, margin) - difference**2)
    guess = ((float(norm.isf(alpha)) + float(norm.ppf(power))) * spread / (margin - difference)) ** 2
    low, high = 1, max(int(guess), 8)
    while (reached := tango_rejection_rate(high, margin, discordance, difference, alpha)) < power:
        if high >= most:
            raise InputError(
                f"{most} pairs do not show a difference of {difference} to be below {margin} with "
                f"power {power}: allow more pairs or a wider margin."
            )
        low, high = high, min(high + max(high // 4, 1), most)
    # Bisection keeps `high` at a size that has the power, wherever the saw-tooth makes it not monotone.
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        attained = tango_rejection_rate(middle, margin, discordance, difference, alpha)
        if attained >= power:
            high, reached = middle, attained
        else:
            low = middle
    error = tango_rejection_rate(high, margin, max(discordance, margin), margin, alpha)
    return Plan(high, reached, error, alpha, power, "Tango score, fixed n")


def stopping_time(p0: float, truth: float, alpha: float = 0.05, horizon: int = 10_000) -> StoppingTime:
    """When the e-process of `RateMixture(p0, alpha)` stops if the rate is `truth`: exact, without simulation.

    Carries the distribution of the success count, among runs that have not stopped, from sample to sample
    and removes what reaches the boundary. Looks after every sample. Raises `InputError` for impossible
    numbers.
    """
    check_count("horizon", horizon, 1)
    if not 0.0 <= truth <= 1.0:
        raise InputError(f"The truth must lie in [0, 1], but is {truth}.")
    boundary = RateMixture(p0, alpha).boundary(horizon)
    # Counts above the last boundary can never stop any more and are dropped.
    alive = np.zeros(int(boundary[-1]) + 2)
    alive[0] = 1.0
    stops = np.empty(horizon)
    for n, most in enumerate(boundary.tolist()):
        moved = alive * (1.0 - truth)
        moved[1:] += alive[:-1] * truth
        stops[n] = moved[: most + 1].sum()
        moved[: most + 1] = 0.0
        alive = moved
    by = np.cumsum(stops)

    def quantile(share: float) -> int | None:
        return int(np.searchsorted(by, share)) + 1 if by[-1] >= share else None

    stopped = min(float(by[-1]), 1.0)
    mean = float(stops @ np.arange(1, horizon + 1)) + (1.0 - stopped) * horizon
    return StoppingTime(p0, truth, alpha, horizon, quantile(0.5), quantile(0.9), mean, stopped)
