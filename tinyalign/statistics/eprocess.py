"""A mixture e-process for a rate: test "the rate is at most p0" and stop whenever the evidence suffices.

Against the null "the rate is at least p0" one bets on a rate q below it; the likelihood ratio
(q / p0)^k ((1 - q) / (1 - p0))^(n - k) after k successes in n samples is a martingale at p0 and a
supermartingale above. Averaged over a prior on q, here a beta distribution cut off at p0, it stays one and
needs no guess at the truth: the e-process. It may be looked at after every sample; it crosses 1 / alpha
under the null with probability at most alpha (Ville 1939).

The average runs over the nodes of a quadrature rule. A mixture over finitely many q is an exact e-process
too, so the quadrature's error can cost a trace of power and never validity.

Sources: Wald (1945), Annals of Mathematical Statistics 16, section 6.2 (weight functions); Robbins (1970),
Annals of Mathematical Statistics 41, 1397-1409 (mixtures); Ramdas, Grünwald, Vovk and Shafer (2023),
"Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlog1py, xlogy

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import as_sample, check_count, check_fraction, check_positive
from tinyalign.statistics.evalues import EResult, first_crossing, log_threshold, summarise

_NODES = 256
_METHOD = "beta-mixture e-process"


def _log_sum(terms: np.ndarray) -> np.ndarray:
    """log of the sum of exponentials over the last axis (scipy's is many times slower on small arrays)."""
    top = terms.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(terms - top).sum(axis=-1)))


@dataclass(frozen=True)
class RateMixture:
    """The e-process as a function of counts: null "the rate is at least p0", prior Beta(a, b) on [0, p0].

    a = b = 1, uniform below p0, does well for truths between 0 and three quarters of p0. For the claim
    "the rate is at least r" count failures and set p0 = 1 - r. Raises `InputError` unless 0 < p0 < 1,
    0 < alpha < 1 and a, b > 0.
    """

    p0: float
    alpha: float = 0.05
    a: float = 1.0
    b: float = 1.0
    _log_weights: np.ndarray = field(init=False, repr=False, compare=False)
    _log_success: np.ndarray = field(init=False, repr=False, compare=False)
    _log_failure: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fraction("p0", self.p0)
        check_fraction("alpha", self.alpha)
        check_positive("The prior's a", self.a)
        check_positive("The prior's b", self.b)
        # q = p0 u^2 puts more nodes near 0, where violations are rare and the prior may be singular.
        points, weights = np.polynomial.legendre.leggauss(_NODES)
        u = (points + 1) / 2
        q = self.p0 * u**2
        log_weights = np.log(weights * u) + xlogy(self.a - 1, q) + xlog1py(self.b - 1, -q)
        object.__setattr__(self, "_log_weights", log_weights - _log_sum(log_weights))
        object.__setattr__(self, "_log_success", 2 * np.log(u))
        object.__setattr__(self, "_log_failure", np.log1p(-q) - np.log1p(-self.p0))

    @property
    def null(self) -> str:
        """The null hypothesis in words."""
        return f"the rate is at least {self.p0:g}"

    def log_e(self, successes: int | np.ndarray, failures: int | np.ndarray) -> np.ndarray:
        """Log e-values of counts (arrays of one shape; so is the result); falls in successes.

        Raises `InputError` for negative counts.
        """
        k = np.asarray(successes, dtype=np.float64)[..., None]
        f = np.asarray(failures, dtype=np.float64)[..., None]
        if (k < 0).any() or (f < 0).any():
            raise InputError("Counts of successes and failures must not be negative.")
        return _log_sum(self._log_weights + k * self._log_success + f * self._log_failure)

    def path(self, outcomes: ArrayLike) -> np.ndarray:
        """The log e-value after each sample; `outcomes` is one 0 or 1 a sample, 1 a success (a violation)."""
        x = as_sample("Outcomes", outcomes)
        if not np.isin(x, (0.0, 1.0)).all():
            raise InputError("Outcomes must be 0 or 1 each; a rate is about things that happen or not.")
        k = np.cumsum(x)
        n = np.arange(1, x.size + 1)
        # In pieces, so that a long path does not hold n times the number of nodes in memory.
        pieces = range(0, x.size, 4096)
        return np.concatenate([self.log_e(k[i : i + 4096], (n - k)[i : i + 4096]) for i in pieces])

    def boundary(self, samples: int) -> np.ndarray:
        """For n = 1..samples the most successes at which the e-value reaches 1 / alpha; -1 where none does.

        The test stops at the first n with successes <= boundary[n - 1]. From one n to the next the boundary
        rises by 0 or 1: a failure raises the e-value and a success lowers it. Raises `InputError` unless
        samples >= 1.
        """
        check_count("samples", samples, 1)
        most = np.empty(samples, dtype=np.int64)
        current, target = -1, log_threshold(self.alpha)
        for n in range(1, samples + 1):
            k = current + 1
            if k <= n and float(self.log_e(k, n - k)) >= target:
                current = k
            most[n - 1] = current
        return most


class RateEProcess:
    """The e-process in use: add counts as they come, look whenever you like, stop when `rejects`.

    The evidence after a batch does not depend on the order inside it. `stopped_at` is the number of samples
    at the end of the first batch whose e-value reached 1 / alpha. Raises `InputError` as `RateMixture` does.
    """

    def __init__(self, p0: float, alpha: float = 0.05) -> None:
        self.mixture = RateMixture(p0, alpha)
        self.successes = 0
        self.failures = 0
        self._log_path: list[float] = []
        self._samples: list[int] = []

    @property
    def log_e(self) -> float:
        """The log e-value now; 0 before the first sample."""
        return self._log_path[-1] if self._log_path else 0.0

    @property
    def rejects(self) -> bool:
        """Whether the e-value has ever reached 1 / alpha at the end of a batch."""
        return first_crossing(np.array(self._log_path), self.mixture.alpha) is not None

    def update(self, successes: int, failures: int) -> float:
        """Add a batch and return the log e-value; raises `InputError` for negative counts."""
        check_count("successes", successes)
        check_count("failures", failures)
        self.successes += successes
        self.failures += failures
        self._log_path.append(float(self.mixture.log_e(self.successes, self.failures)))
        self._samples.append(self.successes + self.failures)
        return self.log_e

    def result(self) -> EResult:
        """The `EResult` so far."""
        log_max = max(self._log_path, default=0.0)
        crossing = first_crossing(np.array(self._log_path), self.mixture.alpha)
        return EResult(
            self.log_e,
            max(log_max, 0.0),
            self.successes + self.failures,
            self.mixture.alpha,
            None if crossing is None else self._samples[crossing - 1],
            self.mixture.null,
            _METHOD,
        )


def rate_e_test(outcomes: ArrayLike, p0: float, alpha: float = 0.05) -> EResult:
    """The whole path at once: test the claim "the rate is at most p0", looking after every sample.

    Null: the rate is at least p0. `outcomes` is one 0 or 1 a sample in the order drawn, 1 a success (a
    violation). `stopped_at` is the first n with e-value >= 1 / alpha. Raises `InputError` for anything but
    zeros and ones, or an impossible p0 or alpha. Source: see the module.
    """
    mixture = RateMixture(p0, alpha)
    return summarise(mixture.path(outcomes), alpha, mixture.null, _METHOD)
