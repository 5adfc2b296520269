"""Draws on the device against the torch backend's on the host, and against the exact distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tinyalign.engine import Sampling
from tinyalign.engine.philox import uniforms
from tinyalign.engine.sampling_torch import choose
from tinyalign.engine.static.drawing import NOT_FINITE, draw, supported

DRAWS = [
    Sampling(),
    Sampling(0.7),
    Sampling(1.3, top_k=5),
    Sampling(top_p=0.8),
    Sampling(0.9, 12, 0.9),
    Sampling(0.0),
]


def numbers(seed: int, rows: int, position: int) -> torch.Tensor:
    return torch.from_numpy(uniforms(seed, np.arange(rows), np.full(rows, position)))


@given(
    st.sampled_from(
        [*DRAWS, Sampling(top_k=200), Sampling(top_p=1.0), Sampling(1.0, 1), Sampling(5.0, 3, 0.4)]
    ),
    st.integers(0, 10**6),
    st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_draw_is_the_torch_backends(how: Sampling, seed: int, size: float, ties: bool) -> None:
    logits = torch.randn(50, 41, generator=torch.Generator().manual_seed(seed)) * size
    if ties:
        # Equal logits, where the order of ids decides who is kept and who is likeliest.
        logits = logits.round(decimals=0)
        logits[:, 7] = float("-inf")
    found = draw(logits, numbers(seed, 50, 4), how)
    assert found.tolist() == choose(logits, how, seed, range(50), 4).tolist()


@pytest.mark.parametrize("how", DRAWS[:-1])
def test_token_frequencies_follow_the_exact_distribution(how: Sampling) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(3)) * 2
    n = 40_000
    drawn = draw(logits.expand(n, -1), numbers(11, n, 4), how).numpy()
    exact = np.asarray((logits[0].double() / how.temperature).softmax(0))
    order = np.argsort(-exact, kind="stable")
    before = np.cumsum(exact[order]) - exact[order]
    exact[order[how.top_k or 40 :]] = 0.0
    exact[order[before >= (how.top_p or 2.0)]] = 0.0
    expected = n * exact / exact.sum()
    counts = np.bincount(drawn, minlength=40)
    assert counts[expected == 0].sum() == 0
    frequent = expected >= 5
    found = np.append(counts[frequent], counts[~frequent].sum() + 1e-9)
    assert (
        stats.chisquare(found, np.append(expected[frequent], n - expected[frequent].sum() + 1e-9)).pvalue
        > 1e-4
    )


@pytest.mark.parametrize("how", DRAWS)
def test_rows_that_cannot_be_sampled_say_so_and_leave_the_others(how: Sampling) -> None:
    logits = torch.randn(6, 20, generator=torch.Generator().manual_seed(1))
    expected = draw(logits.clone(), numbers(2, 6, 9), how).tolist()
    logits[1, 3] = float("nan")
    logits[2, 0] = float("inf")
    logits[4] = float("-inf")
    found = draw(logits, numbers(2, 6, 9), how).tolist()
    assert [found[row] for row in (1, 2, 4)] == [NOT_FINITE] * 3
    assert [found[row] for row in (0, 3, 5)] == [expected[row] for row in (0, 3, 5)]


def test_a_number_on_the_edge_of_two_tokens_draws_the_later_one() -> None:
    u = torch.tensor([0.25, 0.5, 0.75, 0.75 - 2**-33], dtype=torch.float64)
    assert draw(torch.zeros(4, 4), u, Sampling()).tolist() == [1, 2, 3, 2]


def test_a_token_of_weight_0_gives_way_to_the_likeliest() -> None:
    weights = torch.tensor(
        [[0.2, 0.0, 1.0, 0.0], [1.0, 0.5, 0.0, 0.3], [float("nan")] * 4], dtype=torch.float64
    )
    assert supported(torch.tensor([1, 2, 4]), weights)[:2].tolist() == [2, 0]
    assert supported(torch.tensor([0, 3, 4]), weights)[:2].tolist() == [0, 3]
