"""Median intervals against exact coverage, cluster intervals against statsmodels; the result types."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.regression.linear_model import OLS

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.statistics.interval import Interval, PValue
from tinyalign.statistics.location import cluster_mean_interval, median_interval


@given(st.integers(1, 300), st.floats(0.5, 0.999))
def test_the_median_interval_is_the_narrowest_pair_of_ranks_that_covers(n: int, level: float) -> None:
    tail = (1 - level) / 2
    if binom.cdf(0, n, 0.5) > tail:
        with pytest.raises(InputError, match="needs at least"):
            median_interval(np.arange(n), level)
        return
    interval = median_interval(np.arange(n), level)
    rank = int(interval.low) + 1
    assert interval.high == n - rank
    assert binom.cdf(rank - 1, n, 0.5) <= tail < binom.cdf(rank, n, 0.5)


@pytest.mark.parametrize(
    ("n", "level", "rank"), [(2, 0.5, 1), (3, 0.75, 1), (6, 0.95, 1), (10, 0.95, 2), (20, 0.95, 6)]
)
def test_the_ranks_of_printed_tables(n: int, level: float, rank: int) -> None:
    # The first two have exactly the level; the others stand in every table of order-statistic intervals.
    interval = median_interval(np.arange(1, n + 1), level)
    assert (interval.low, interval.high) == (rank, n + 1 - rank)


@given(st.lists(st.floats(-100, 100), min_size=6, max_size=40))
def test_the_median_interval_ignores_order_and_mirrors(values: list[float]) -> None:
    interval, shuffled = median_interval(values), median_interval(values[::-1])
    assert interval == shuffled
    mirrored = median_interval([-x for x in values])
    assert (mirrored.low, mirrored.high) == (-interval.high, -interval.low)


def test_the_cluster_interval_agrees_with_the_sandwich_of_statsmodels() -> None:
    rng = np.random.default_rng(derive_seed("test clusters"))
    clusters = np.repeat(np.arange(30), rng.integers(1, 20, size=30))
    values = rng.normal(size=clusters.size) + rng.normal(size=30)[clusters]
    ours = cluster_mean_interval(values, clusters)
    fit = OLS(values, np.ones((values.size, 1))).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True}, use_t=True
    )
    low, high = fit.conf_int()[0]
    assert ours.estimate == pytest.approx(float(fit.params[0]))
    # statsmodels also multiplies the variance by (N - 1) / (N - 1) = 1 for one regressor.
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-9)


def test_clusters_of_one_are_the_t_interval() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    interval = cluster_mean_interval(values, np.arange(4))
    half = 3.182446305284263 * values.std(ddof=1) / 2
    assert (interval.low, interval.high) == pytest.approx((3.75 - half, 3.75 + half))


def test_result_types_validate_and_write_json() -> None:
    interval = Interval(0.1, 0.0, 0.3, 0.95, "m")
    assert json.loads(json.dumps(interval.to_json())) == interval.to_json()
    assert interval.width == pytest.approx(0.3) and interval.contains(0.3) and not interval.contains(0.31)
    p = PValue(0.05, -1.6, "null", "m")
    assert p.rejects(0.05) and not p.rejects(0.049)
    assert json.loads(json.dumps(p.to_json())) == p.to_json()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: median_interval([1.0] * 5), "needs at least 6 values"),
        (lambda: cluster_mean_interval([1.0, 2.0], [0]), "2 values and 1"),
        (lambda: cluster_mean_interval([1.0, 2.0], [0, 0]), "at least two clusters"),
        (lambda: Interval(0.5, 0.6, 0.7, 0.95, "m"), "must contain its estimate"),
        (lambda: Interval(float("nan"), 0.6, 0.7, 0.95, "m"), "finite numbers"),
        (lambda: Interval(0.5, 0.4, 0.7, 95.0, "m"), "strictly between"),
        (lambda: Interval(0.5, 0.4, 0.7, 0.95, ""), "name the method"),
        (lambda: PValue(1.5, 0.0, "n", "m"), r"in \[0, 1\]"),
        (lambda: PValue(0.5, float("inf"), "n", "m"), "finite"),
        (lambda: PValue(0.5, 0.0, "", "m"), "name its null"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(call, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()
