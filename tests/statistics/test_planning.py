"""Sample sizes against brute force and simulation, and against the numbers the project's plan states."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.statistics.binomial import rate_at_most
from tinyalign.statistics.eprocess import RateMixture
from tinyalign.statistics.paired import tango_test
from tinyalign.statistics.planning import (
    Plan,
    StoppingTime,
    plan_paired,
    plan_rate,
    rate_rejection_rate,
    stopping_time,
    tango_rejection_rate,
)


@pytest.mark.parametrize(
    ("p0", "truth", "planned", "smallest"),
    [(0.05, 0.02, 361, 311), (0.05, 0.03, 877, 832), (0.01, 0.003, 1182, 1049)],
)
def test_the_sizes_of_the_plan(p0: float, truth: float, planned: int, smallest: int) -> None:
    # The power goes up and down with n: the planned sizes start a tooth of the saw that has the power (one
    # sample less has not), and an earlier tooth has it already.
    assert rate_rejection_rate(planned, p0, truth) >= 0.9 > rate_rejection_rate(planned - 1, p0, truth)
    assert rate_rejection_rate(planned, p0, p0) <= 0.05
    plan = plan_rate(p0, truth)
    assert plan.samples == smallest and plan.type_one_error <= 0.05 and plan.power >= 0.9


def brute_force_power(n: int, p0: float, truth: float, alpha: float) -> float:
    return sum(float(binom.pmf(k, n, truth)) for k in range(n + 1) if rate_at_most(k, n, p0).rejects(alpha))


@pytest.mark.parametrize(("p0", "truth", "alpha", "power"), [(0.3, 0.1, 0.05, 0.9), (0.5, 0.2, 0.01, 0.8)])
def test_no_smaller_size_has_the_power(p0: float, truth: float, alpha: float, power: float) -> None:
    plan = plan_rate(p0, truth, alpha, power)
    assert plan.power == pytest.approx(brute_force_power(plan.samples, p0, truth, alpha))
    assert plan.type_one_error == pytest.approx(brute_force_power(plan.samples, p0, p0, alpha))
    assert all(brute_force_power(n, p0, truth, alpha) < power for n in range(1, plan.samples))


def test_a_truth_of_zero_needs_the_rule_of_three() -> None:
    assert plan_rate(0.05, 0.0).samples == 59  # 0.95^59 < 0.05 < 0.95^58


def test_the_paired_rejection_rate_sums_the_trinomial() -> None:
    n, margin, worse_rate, better_rate = 25, 0.2, 0.1, 0.15
    total = 0.0
    for worse in range(n + 1):
        for better in range(n + 1 - worse):
            if tango_test(worse, better, n, margin).rejects(0.1):
                total += float(
                    binom.pmf(worse, n, worse_rate)
                    * binom.pmf(better, n - worse, better_rate / (1 - worse_rate))
                )
    rate = tango_rejection_rate(n, margin, worse_rate + better_rate, worse_rate - better_rate, 0.1)
    assert rate == pytest.approx(total, abs=1e-9)


def test_three_thousand_pairs_are_more_than_enough_for_the_default_margin() -> None:
    plan = plan_paired(0.02, 0.05)
    assert plan.power == tango_rejection_rate(plan.samples, 0.02, 0.05, 0.0) >= 0.9
    assert tango_rejection_rate(plan.samples * 99 // 100, 0.02, 0.05, 0.0) < 0.9
    assert 1_000 < plan.samples < 1_300 and plan.type_one_error < 0.055
    assert tango_rejection_rate(3_000, 0.02, 0.05, 0.0) > 0.999
    assert plan_paired(0.02, 0.05, power=0.99).samples > plan.samples


@pytest.mark.parametrize(("truth", "median"), [(0.02, 244), (0.03, 600)])
def test_the_e_process_stops_when_simulated_runs_stop(truth: float, median: int) -> None:
    exact = stopping_time(0.05, truth, horizon=2_500)
    assert exact.median == median
    rng = np.random.default_rng(derive_seed("test stopping", str(truth)))
    counts = np.cumsum(rng.random((2_000, 2_500)) < truth, axis=1, dtype=np.int32)
    hit = counts <= RateMixture(0.05).boundary(2_500)
    stops = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 2_500)
    assert hit.any(axis=1).mean() == pytest.approx(exact.stopped, abs=0.02)
    assert stops.mean() == pytest.approx(exact.mean, abs=4 * stops.std() / np.sqrt(2_000))
    assert exact.ninety is not None and np.mean(stops <= exact.ninety) == pytest.approx(0.9, abs=0.03)


def test_under_the_null_the_e_process_stops_in_at_most_alpha_of_the_runs() -> None:
    for truth in (0.05, 0.06, 0.1):
        result = stopping_time(0.05, truth, horizon=3_000)
        assert result.median is None and 0.0 < result.stopped <= 0.05
    assert json.loads(json.dumps(result.to_json()))["horizon"] == 3_000


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plan_rate(0.05, 0.05), "must lie in"),
        (lambda: plan_rate(0.05, 0.049, most=500), "500 samples do not show"),
        (lambda: plan_rate(0.05, 0.01, power=1.0), "power must lie strictly"),
        (lambda: rate_rejection_rate(10, 0.1, 1.5), "must lie in"),
        (lambda: plan_paired(0.02, 0.05, 0.02), "below the margin"),
        (lambda: plan_paired(0.02, 0.05, 0.019, most=2_000), "2000 pairs do not show"),
        (lambda: tango_rejection_rate(10, 0.1, 0.05, 0.1), "between 0.1 and 1"),
        (lambda: stopping_time(0.05, 1.5), "must lie in"),
        (lambda: Plan(10, 0.5, 0.05, 0.05, 0.9, "m"), "must reach its power"),
        (lambda: StoppingTime(0.05, 0.02, 0.05, 10, None, None, 10.0, 1.5), "must lie in"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(call, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()
