"""Tango's test against the paper's own example, a numerical likelihood and exact enumeration; the TOSTs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial, norm
from statsmodels.stats.weightstats import DescrStatsW

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.statistics.paired import mean_tost, paired_tost, tango_interval, tango_test, tango_z

Table = tuple[int, int, int]


@st.composite
def tables(draw) -> Table:
    worse, better, concordant = (draw(st.integers(0, 60)) for _ in range(3))
    assume(worse + better + concordant > 0)
    return worse, better, worse + better + concordant


def numeric_z(worse: int, better: int, pairs: int, d: float) -> float:
    """The score statistic with the nuisance rate found by maximising the trinomial likelihood."""
    rest = pairs - worse - better

    def cost(q: float) -> float:
        probabilities = np.array([q + d, q, 1 - 2 * q - d])
        counts = np.array([worse, better, rest])
        return -float(np.sum(counts[counts > 0] * np.log(probabilities[counts > 0])))

    q = minimize_scalar(
        cost, bounds=(max(0.0, -d), (1 - d) / 2), method="bounded", options={"xatol": 1e-13}
    ).x
    return (worse - better - pairs * d) / math.sqrt(pairs * (2 * q + d - d * d))


@pytest.mark.parametrize(("worse", "better", "pairs"), [(1, 7, 50), (13, 3, 400), (40, 20, 160), (5, 5, 10)])
@pytest.mark.parametrize("d", [-0.3, -0.02, 0.0, 0.02, 0.25])
def test_the_closed_form_maximises_the_likelihood(worse: int, better: int, pairs: int, d: float) -> None:
    assert float(tango_z(worse, better, pairs, d)) == pytest.approx(
        numeric_z(worse, better, pairs, d), abs=1e-5
    )


def test_the_worked_example_of_the_paper() -> None:
    # Tango (1998), section 6.1: 44 pairs of lenses, one discordant, margin .1: Z 1.709, p .044, limit -.096.
    test = tango_test(1, 0, 44, 0.1)
    assert test.statistic == pytest.approx(-1.709, abs=5e-4)
    assert test.value == pytest.approx(0.044, abs=5e-4)
    assert tango_interval(1, 0, 44, 0.90).high == pytest.approx(0.096, abs=5e-4)


def test_the_values_of_an_r_package() -> None:
    # PropCIs 0.3-0: scoreci.mp(60, 20, 1000, .95) gives -.0584 to -.0231.
    interval = tango_interval(20, 60, 1000)
    assert (interval.low, interval.high) == pytest.approx((-0.0584, -0.0231), abs=5e-5)


@given(tables())
def test_at_zero_it_is_mcnemar(table: Table) -> None:
    worse, better, pairs = table
    expected = 0.0 if worse == better else (worse - better) / math.sqrt(worse + better)
    assert float(tango_z(worse, better, pairs, 0.0)) == pytest.approx(expected, abs=1e-9)


@given(tables(), st.floats(-0.99, 0.99), st.floats(-0.99, 0.99))
def test_the_statistic_falls_as_the_difference_rises_and_mirrors(
    table: Table, one: float, other: float
) -> None:
    worse, better, pairs = table
    low, high = sorted((one, other))
    assert float(tango_z(*table, low)) >= float(tango_z(*table, high)) - 1e-9
    assert float(tango_z(better, worse, pairs, -one)) == pytest.approx(-float(tango_z(*table, one)), abs=1e-6)


@given(tables(), st.floats(0.5, 0.999))
def test_the_interval_solves_the_score_equation(table: Table, level: float) -> None:
    interval = tango_interval(*table, level)
    z = norm.isf((1 - level) / 2)
    if -1 < interval.low < interval.estimate - 1e-9:
        assert float(tango_z(*table, interval.low)) == pytest.approx(z, abs=1e-3)
    if interval.estimate + 1e-9 < interval.high < 1:
        assert float(tango_z(*table, interval.high)) == pytest.approx(-z, abs=1e-3)
    mirrored = tango_interval(table[1], table[0], table[2], level)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)


@given(tables(), st.floats(0.001, 0.5), st.floats(0.01, 0.4))
def test_test_interval_and_equivalence_agree(table: Table, margin: float, alpha: float) -> None:
    test, upper = tango_test(*table, margin), tango_interval(*table, 1 - alpha, "upper")
    if abs(test.value - alpha) > 1e-6:
        assert test.rejects(alpha) == (upper.high < margin)
    lower = tango_interval(*table, 1 - alpha, "lower")
    assert upper.low == -1 and lower.high == 1
    equivalence = paired_tost(*table, margin)
    if abs(equivalence.value - alpha) > 1e-6:
        assert equivalence.rejects(alpha) == (upper.high < margin and lower.low > -margin)


def test_type_one_error_at_the_margin_by_exact_enumeration() -> None:
    pairs, margin, discordant = 120, 0.08, 0.2
    rates = [(discordant + margin) / 2, (discordant - margin) / 2]
    worse, better = np.meshgrid(np.arange(pairs + 1), np.arange(pairs + 1), indexing="ij")
    inside = worse + better <= pairs
    counts = np.stack([worse[inside], better[inside], pairs - (worse + better)[inside]], axis=-1)
    weights = multinomial.pmf(counts, pairs, [*rates, 1 - sum(rates)])
    rejected = norm.cdf(tango_z(counts[:, 0], counts[:, 1], pairs, margin)) <= 0.05
    assert weights.sum() == pytest.approx(1.0)
    assert 0.03 < float(weights @ rejected) < 0.058


def test_nothing_discordant_still_needs_enough_pairs() -> None:
    assert not tango_test(0, 0, 50, 0.02).rejects()
    assert tango_test(0, 0, 3000, 0.02).rejects()
    assert paired_tost(0, 0, 3000, 0.02).rejects()
    assert tango_interval(7, 0, 7).high == 1.0 and tango_interval(0, 7, 7).low == -1.0


def test_the_mean_tost_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(derive_seed("test tost"))
    for n, mean in ((5, 0.0), (80, 0.03), (80, -0.2)):
        values = rng.normal(mean, 0.2, size=n)
        expected = DescrStatsW(values).ttost_mean(-0.05, 0.05)[0]
        assert mean_tost(values, -0.05, 0.05).value == pytest.approx(expected, rel=1e-9)


def test_values_without_spread_are_known_exactly() -> None:
    assert mean_tost(np.zeros(40), -0.05, 0.05).value == 0.0
    assert mean_tost(np.full(40, 0.05), -0.05, 0.05).value == 1.0
    assert mean_tost(np.full(40, 0.06), -0.05, 0.05).value == 1.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tango_test(1, 1, 0, 0.1), "number of pairs must be at least 1"),
        (lambda: tango_test(-1, 1, 5, 0.1), "worse must be at least 0"),
        (lambda: tango_interval(3, 3, 5), "at most the 5 pairs"),
        (lambda: tango_test(1, 1, 5, 0.0), "margin must lie strictly"),
        (lambda: tango_interval(1, 1, 5, 0.3, "upper"), "at least 0.5"),
        (lambda: mean_tost([1.0], -1.0, 1.0), "at least 2"),
        (lambda: mean_tost([1.0, 2.0], 1.0, -1.0), "finite and ordered"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(call, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()
