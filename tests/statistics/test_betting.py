"""The betting interval and test against a plain re-implementation, exact enumeration and their own laws."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.statistics.betting import (
    BettingSequence,
    betting_holds,
    betting_interval,
    betting_path,
    betting_test,
)

samples = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def plain_capital(values: list[float], m: float, error: float, up: bool, horizon: int | None) -> list[float]:
    """The hedged-capital gambler, one sample at a time, as the paper defines it."""
    total, squares, log_k, path = 0.5, 0.25, 0.0, []
    variance = 0.25
    for t, x in enumerate(values, start=1):
        effective = t * math.log(t + 1) if horizon is None else horizon
        bet = math.sqrt(2 * math.log(1 / error) / (variance * effective))
        risk = m if up else 1 - m
        share = 0.5 if horizon is None else 0.75
        bet = min(bet, share / risk) if risk > 0 else bet
        log_k += math.log(1 + bet * (x - m)) if up else math.log(1 + bet * (m - x))
        path.append(log_k)
        total += x
        squares += (x - total / (t + 1)) ** 2
        variance = squares / (t + 1)
    return path


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_the_set_of_candidates_nobody_got_rich_against(seed: int, fixed: bool) -> None:
    rng = np.random.default_rng(derive_seed("test betting", seed))
    values = rng.beta(0.4, 0.8, size=150)
    if fixed:
        interval = betting_interval(values, 0.0, 1.0)
    else:
        sequence = BettingSequence(0.0, 1.0)
        for part in np.split(values, [3, 50]):
            sequence.update(part)
        interval = sequence.interval()
    horizon = 150 if fixed else None
    for m in np.linspace(0, 1, 301):
        if min(abs(m - interval.low), abs(m - interval.high)) < 1e-9:
            continue
        richest = max(
            max(plain_capital(values.tolist(), float(m), 0.025, up, horizon)) for up in (True, False)
        )
        assert interval.contains(float(m)) == (richest < math.log(40))


@given(samples, st.floats(0.55, 0.99))
def test_the_interval_holds_the_mean_and_stays_in_bounds(values, level: float) -> None:
    two, upper, lower = (
        betting_interval(values, 0.0, 1.0, level, side) for side in ("two", "upper", "lower")
    )
    assert all(interval.contains(float(np.mean(values))) for interval in (two, upper, lower))
    assert two.low >= 0 and two.high <= 1 and upper.low == 0 and lower.high == 1
    half = betting_interval(values, 0.0, 1.0, 2 * level - 1)
    assert (lower.low, upper.high) == pytest.approx((half.low, half.high), abs=1e-9)


@settings(max_examples=60)
@given(samples, st.floats(0, 2))
def test_many_runs_at_once_tell_what_the_intervals_tell(values: list[float], mean: float) -> None:
    runs = 2.0 * np.array([values, values[::-1]])
    sequence = BettingSequence(0.0, 2.0)
    sequence.update(runs[0])
    interval, running = betting_interval(runs[0], 0.0, 2.0), sequence.interval()
    assert betting_holds(runs, mean, 0.0, 2.0).shape == (2,)
    for anytime, found in ((False, interval), (True, running)):
        if min(abs(mean - end) for end in (found.low, found.high, found.estimate)) > 1e-9:
            holds = bool(betting_holds(runs, mean, 0.0, 2.0, anytime=anytime)[0])
            # An end widened to the sample mean is the one permitted difference.
            widened = found.estimate in (found.low, found.high)
            assert found.contains(mean) == holds or (widened and found.contains(mean))


@given(samples, st.floats(-5, 5), st.floats(0.1, 10))
def test_the_interval_follows_units_and_mirrors(values, shift: float, scale: float) -> None:
    x = np.array(values)
    plain = betting_interval(x, 0.0, 1.0)
    mirrored = betting_interval(1.0 - x, 0.0, 1.0)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - plain.high, 1 - plain.low), abs=1e-6)
    moved = betting_interval(np.clip(shift + scale * x, shift, shift + scale), shift, shift + scale)
    expected = (shift + scale * plain.low, shift + scale * plain.high)
    assert (moved.low, moved.high) == pytest.approx(expected, abs=1e-5 * scale + 1e-6)


@pytest.mark.parametrize("alternative", ["less", "greater"])
@pytest.mark.parametrize("horizon", [None, 7])
@pytest.mark.parametrize("mean0", [0.1, 0.5, 0.8])
def test_the_capital_is_worth_one_on_average_under_the_null(alternative, horizon, mean0: float) -> None:
    n = 7
    outcomes = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    weights = np.prod(np.where(outcomes == 1, mean0, 1 - mean0), axis=1)
    paths = betting_path(outcomes, mean0, 0.0, 1.0, alternative, horizon=horizon)
    for t in range(n):
        assert weights @ np.exp(paths[:, t]) == pytest.approx(1.0, abs=1e-12)
    assert float(np.exp(paths[:, -1]).std()) > 0.01


@settings(max_examples=50)
@given(samples, st.integers(1, 59))
def test_bets_never_use_what_comes_later(values, cut: int) -> None:
    for horizon in (None, 60):
        whole = betting_path(values, 0.4, 0.0, 1.0, horizon=horizon)
        start = betting_path(values[:cut], 0.4, 0.0, 1.0, horizon=horizon)
        assert whole[:cut] == pytest.approx(start, abs=1e-9)


def test_a_clear_effect_is_found_and_its_absence_is_not() -> None:
    rng = np.random.default_rng(derive_seed("test betting effect"))
    values = rng.choice([-1.0, 0.0, 1.0], size=3000, p=[0.025, 0.95, 0.025])
    found = betting_test(values, 0.02, -1.0, 1.0)
    assert found.rejects and found.stopped_at is not None and found.stopped_at <= found.samples == 3000
    assert found.p_value <= 0.05 and found.null == "the mean is at least 0.02"
    wrong_side = betting_test(values, -0.02, -1.0, 1.0)
    assert not wrong_side.rejects
    assert betting_test(values, -0.02, -1.0, 1.0, "greater").rejects


def test_it_is_about_as_tight_as_the_exact_binomial_interval_and_fast() -> None:
    rng = np.random.default_rng(derive_seed("test betting speed"))
    values = (rng.random(100_000) < 0.05).astype(float)
    start = time.perf_counter()
    interval = betting_interval(values, 0.0, 1.0)
    assert time.perf_counter() - start < 2.0
    wald = 2 * 1.96 * math.sqrt(0.05 * 0.95 / 100_000)
    assert wald < interval.width < 1.4 * wald


def test_drifting_samples_still_give_an_interval_around_their_mean() -> None:
    interval = betting_interval([1.0] * 200 + [0.0] * 200, 0.0, 1.0)
    assert interval.contains(0.5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: betting_interval([], 0.0, 1.0), "at least 1"),
        (lambda: betting_interval([0.5, 1.5], 0.0, 1.0), "number 1 is 1.5"),
        (lambda: betting_interval([float("nan")], 0.0, 1.0), "must be finite"),
        (lambda: betting_interval([0.5], 1.0, 0.0), "finite and ordered"),
        (lambda: betting_interval([[0.5]], 0.0, 1.0), "flat list"),
        (lambda: betting_interval([0.5], 0.0, 1.0, 95.0), "strictly between 0 and 1"),
        (lambda: betting_test([0.5], 1.0, 0.0, 1.0), "strictly between 0.0 and 1.0"),
        (lambda: betting_test([0.5], 0.5, 0.0, 1.0, horizon=0), "horizon must be at least 1"),
        (lambda: betting_holds([0.5], 1.5, 0.0, 1.0), "mean must lie in"),
        (lambda: BettingSequence(0.0, 1.0).interval(), "before the first sample"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(call, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()
