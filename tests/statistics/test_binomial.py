"""Binomial intervals and tests against statsmodels, enumeration and their own symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from tinyalign.common.errors import InputError
from tinyalign.statistics.binomial import clopper_pearson, rate_at_least, rate_at_most, wilson

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.floats(0.5, 0.9999)
both = pytest.mark.parametrize("method", [clopper_pearson, wilson])


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 50), (3, 361), (50, 50), (117, 300), (9, 10_000)])
def test_intervals_agree_with_statsmodels(k: int, n: int, level: float) -> None:
    for method, name in ((clopper_pearson, "beta"), (wilson, "wilson")):
        interval = method(k, n, level)
        expected = proportion_confint(k, n, alpha=1 - level, method=name)
        assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-10)


@given(counts, levels)
def test_clopper_pearson_bounds_solve_the_binomial_tail_equations(kn: tuple[int, int], level: float) -> None:
    k, n = kn
    interval = clopper_pearson(k, n, level)
    if k < n:
        assert binom.cdf(k, n, interval.high) == pytest.approx((1 - level) / 2, rel=1e-7)
    if k > 0:
        assert binom.sf(k - 1, n, interval.low) == pytest.approx((1 - level) / 2, rel=1e-7)


@both
@given(counts, levels)
def test_intervals_mirror_when_failures_are_counted(method, kn: tuple[int, int], level: float) -> None:
    k, n = kn
    for side, mirrored in (("two", "two"), ("upper", "lower")):
        one, other = method(k, n, level, side), method(n - k, n, level, mirrored)
        assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


@both
@given(counts, levels, levels)
def test_a_higher_level_never_narrows(method, kn: tuple[int, int], one: float, other: float) -> None:
    small, large = (method(*kn, level) for level in sorted((one, other)))
    assert large.low <= small.low + 1e-12 and small.high <= large.high + 1e-12
    assert small.contains(kn[0] / kn[1])


@both
@given(counts, levels)
def test_a_one_sided_interval_is_the_two_sided_one_with_all_error_on_one_end(method, kn, level) -> None:
    upper, lower = method(*kn, level, "upper"), method(*kn, level, "lower")
    two = method(*kn, 2 * level - 1, "two") if level > 0.5 else None
    assert upper.low == 0 and lower.high == 1
    if two is not None:
        assert (lower.low, upper.high) == pytest.approx((two.low, two.high), abs=1e-9)


@pytest.mark.parametrize("n", [1, 7, 30])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_clopper_pearson_covers_every_rate_by_exact_enumeration(n: int, level: float) -> None:
    for side in ("two", "upper", "lower"):
        intervals = [clopper_pearson(k, n, level, side) for k in range(n + 1)]
        for p in np.linspace(0.001, 0.999, 333):
            covered = np.array([interval.contains(float(p)) for interval in intervals])
            assert float(np.dot(binom.pmf(np.arange(n + 1), n, p), covered)) >= level - 1e-12


@given(counts, st.floats(0.001, 0.999), st.floats(0.001, 0.5))
def test_the_exact_test_rejects_exactly_when_the_one_sided_bound_clears_p0(
    kn, p0: float, alpha: float
) -> None:
    k, n = kn
    test = rate_at_most(k, n, p0)
    if abs(test.value - alpha) > 1e-9:
        assert test.rejects(alpha) == (clopper_pearson(k, n, 1 - alpha, "upper").high <= p0)
    at_least = rate_at_least(k, n, p0)
    if abs(at_least.value - alpha) > 1e-9:
        assert at_least.rejects(alpha) == (clopper_pearson(k, n, 1 - alpha, "lower").low >= p0)
    mirrored = rate_at_least(n - k, n, 1 - p0)
    assert mirrored.value == pytest.approx(test.value, rel=1e-6, abs=1e-300)


def test_the_exact_test_sums_the_binomial() -> None:
    assert rate_at_most(1, 4, 0.25).value == pytest.approx(0.75**4 + 4 * 0.25 * 0.75**3)
    assert rate_at_least(3, 4, 0.25).value == pytest.approx(4 * 0.25**3 * 0.75 + 0.25**4)


@both
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((1, 0), "number of trials must be at least 1"),
        ((-1, 5), "between 0 and the 5 trials"),
        ((6, 5), "between 0 and the 5 trials"),
        ((1, 5, 1.0), "strictly between 0 and 1"),
        ((1, 5, 0.4, "upper"), "level of at least 0.5"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(method, arguments, said: str) -> None:
    with pytest.raises(InputError, match=said):
        method(*arguments)
