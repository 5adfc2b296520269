"""Holm against statsmodels, e-BH against its definition, and the laws of merged evidence."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from tinyalign.common.errors import InputError
from tinyalign.statistics.multiplicity import (
    Multiplicity,
    attempt_alpha,
    e_bh,
    holm,
    intersection_union,
    merge_alternatives,
    merge_fresh_streams,
)

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)
e_lists = st.lists(st.floats(-5, 12), min_size=1, max_size=12)


@settings(max_examples=25)
@given(p_lists, st.floats(0.01, 0.3))
def test_holm_agrees_with_statsmodels(p_values: list[float], alpha: float) -> None:
    ours = holm(p_values, alpha)
    _, adjusted, _, _ = multipletests(p_values, alpha, method="holm")
    assert ours.adjusted == pytest.approx(adjusted, abs=1e-12)


@given(e_lists, st.floats(0.01, 0.3))
def test_e_bh_rejects_as_its_definition_says(log_e: list[float], alpha: float) -> None:
    total = len(log_e)
    ranked = sorted(log_e, reverse=True)
    enough = [k for k in range(1, total + 1) if k * math.exp(ranked[k - 1]) / total >= 1 / alpha]
    cut = ranked[max(enough) - 1] if enough else math.inf
    assert e_bh(log_e, alpha).rejected == tuple(value >= cut for value in log_e)


@given(e_lists, st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_a_larger_alpha_never_takes_a_rejection_back(log_e: list[float], one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert all(b >= a for a, b in zip(e_bh(log_e, small).rejected, e_bh(log_e, large).rejected, strict=True))


@given(e_lists)
def test_merged_evidence(log_e: list[float]) -> None:
    assert merge_alternatives(log_e) == pytest.approx(math.log(np.mean(np.exp(log_e))), abs=1e-9)
    assert merge_fresh_streams(log_e) == pytest.approx(sum(log_e), abs=1e-9)
    assert merge_alternatives([x + 1000 for x in log_e]) == pytest.approx(merge_alternatives(log_e) + 1000)


def test_all_claims_are_as_weak_as_the_weakest() -> None:
    assert intersection_union([0.01, 0.2, 0.03]) == 0.2


def test_the_attempts_never_spend_more_than_alpha() -> None:
    spent = [attempt_alpha(j, 0.05) for j in range(1, 5000)]
    assert spent[:3] == pytest.approx([0.025, 0.05 / 6, 0.05 / 12])
    assert sum(spent) == pytest.approx(0.05 * (1 - 1 / 5000))


def test_the_result_is_json_and_consistent() -> None:
    assert json.loads(json.dumps(holm([0.001, 0.9]).to_json()))["rejected"] == [True, False]
    with pytest.raises(InputError, match="at or below alpha"):
        Multiplicity((True,), (0.2,), 0.05, "Holm", "family-wise error")
    with pytest.raises(InputError, match="equally many"):
        Multiplicity((), (), 0.05, "Holm", "family-wise error")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: holm([]), "at least 1"),
        (lambda: holm([0.5, 1.5]), "one is 1.5"),
        (lambda: holm([0.5], 0.0), "strictly between"),
        (lambda: e_bh([float("inf")]), "must be finite"),
        (lambda: intersection_union([-0.1]), "one is -0.1"),
        (lambda: attempt_alpha(0), "at least 1"),
    ],
)
def test_impossible_input_is_refused_in_one_sentence(call, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()
