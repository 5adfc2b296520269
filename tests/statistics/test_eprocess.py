"""The mixture e-process against its closed form, exact enumeration and the definition of a martingale."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, betaln
from scipy.stats import binom

from tinyalign.common.errors import InputError
from tinyalign.statistics.eprocess import RateEProcess, RateMixture, rate_e_test
from tinyalign.statistics.evalues import EResult

rates = st.floats(0.005, 0.9)


def closed_form(k: int, f: int, p0: float, a: float, b: float) -> float:
    """log of the truncated beta mixture through incomplete beta functions."""
    mass = betaln(a + k, b + f) + math.log(betainc(a + k, b + f, p0))
    prior = betaln(a, b) + math.log(betainc(a, b, p0))
    return float(mass - prior - k * math.log(p0) - f * math.log1p(-p0))


@pytest.mark.parametrize("p0", [0.01, 0.05, 0.5, 0.9])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, 7.0), (0.5, 0.5)])
@pytest.mark.parametrize(("k", "f"), [(0, 0), (0, 300), (3, 400), (12, 90), (20, 2_000)])
def test_the_quadrature_equals_the_closed_form(k: int, f: int, p0: float, a: float, b: float) -> None:
    value = float(RateMixture(p0, 0.05, a, b).log_e(k, f))
    # A singular prior converges more slowly; the nodes are a valid mixture all the same.
    assert value == pytest.approx(closed_form(k, f, p0, a, b), abs=1e-6 if a >= 1 else 2e-2)


@given(rates, st.integers(0, 500), st.integers(0, 500))
def test_one_more_sample_is_a_fair_bet_at_the_null(p0: float, k: int, f: int) -> None:
    mixture = RateMixture(p0)
    now = float(mixture.log_e(k, f))
    success, failure = float(mixture.log_e(k + 1, f)) - now, float(mixture.log_e(k, f + 1)) - now
    assert p0 * math.exp(success) + (1 - p0) * math.exp(failure) == pytest.approx(1.0, abs=1e-9)
    assert success < 0 < failure


@pytest.mark.parametrize("p0", [0.05, 0.3])
def test_the_expected_value_under_the_null_is_one_and_less_inside_it(p0: float) -> None:
    n = 40
    k = np.arange(n + 1)
    e_values = np.exp(RateMixture(p0).log_e(k, n - k))
    assert binom.pmf(k, n, p0) @ e_values == pytest.approx(1.0, abs=1e-10)
    assert binom.pmf(k, n, p0 + 0.1) @ e_values < 0.999
    assert binom.pmf(k, n, p0 / 3) @ e_values > 1.2


def test_the_boundary_is_where_the_e_value_reaches_its_target() -> None:
    mixture = RateMixture(0.1, 0.05)
    boundary = mixture.boundary(400)
    for n in (1, 20, 27, 28, 29, 150, 400):
        k = np.arange(n + 1)
        reached = np.flatnonzero(mixture.log_e(k, n - k) >= math.log(20))
        assert boundary[n - 1] == (reached[-1] if reached.size else -1)
    assert set(np.diff(boundary)) == {0, 1}


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.floats(0.05, 0.6))
def test_path_updates_and_boundary_tell_the_same_story(outcomes: list[bool], p0: float) -> None:
    whole = rate_e_test(outcomes, p0, 0.2)
    running = RateEProcess(p0, 0.2)
    for outcome in outcomes:
        running.update(int(outcome), int(not outcome))
    assert running.result().stopped_at == whole.stopped_at
    assert running.rejects == whole.rejects == (whole.p_value <= 0.2)
    assert running.log_e == pytest.approx(whole.log_e, abs=1e-9)
    stops = np.flatnonzero(np.cumsum(outcomes) <= RateMixture(p0, 0.2).boundary(len(outcomes)))
    assert whole.stopped_at == (int(stops[0]) + 1 if stops.size else None)
    batch = RateEProcess(p0, 0.2)
    batch.update(sum(outcomes), len(outcomes) - sum(outcomes))
    assert batch.log_e == pytest.approx(whole.log_e, abs=1e-9)


def test_nothing_seen_is_no_evidence() -> None:
    result = RateEProcess(0.05).result()
    assert (result.log_e, result.p_value, result.stopped_at, result.samples) == (0.0, 1.0, None, 0)
    assert json.loads(json.dumps(result.to_json()))["null"] == "the rate is at least 0.05"


def test_a_long_bad_run_stays_finite() -> None:
    result = rate_e_test(np.ones(20_000), 0.05)
    assert math.isfinite(result.log_e) and result.log_e < -5 and not result.rejects


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rate_e_test([0.5], 0.05), "0 or 1"),
        (lambda: rate_e_test([], 0.05), "at least 1"),
        (lambda: rate_e_test([0], 0.0), "strictly between"),
        (lambda: RateMixture(0.1, 0.05, 0.0), "above 0"),
        (lambda: RateMixture(0.1).log_e(-1, 2), "not be negative"),
        (lambda: RateEProcess(0.1).update(-1, 2), "at least 0"),
        (lambda: RateMixture(0.1).boundary(0), "at least 1"),
        (lambda: EResult(4.0, 4.0, 9, 0.05, None, "null", "m"), "contradicts"),
        (lambda: EResult(4.0, 3.0, 9, 0.05, 3, "null", "m"), "below one that was reached"),
        (lambda: EResult(float("nan"), 3.0, 9, 0.05, 3, "null", "m"), "finite"),
        (lambda: EResult(4.0, 4.0, 9, 0.05, 10, "null", "m"), "in 1..9"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(call, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()
