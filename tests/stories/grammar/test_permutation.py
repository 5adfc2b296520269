"""The seeded permutation is a bijection, and every element stands alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.stories.grammar import SeededPermutation


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 2**63 - 1))
def test_is_a_bijection(size: int, seed: int) -> None:
    order = SeededPermutation(size, "test", seed)
    assert sorted(order[i] for i in range(size)) == list(range(size))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(10**5, 10**12), index=st.integers(0, 10**5 - 1))
def test_large_ranges_stay_inside_and_do_not_collide(size: int, index: int) -> None:
    order = SeededPermutation(size, "test", 1)
    assert 0 <= order[index] < size
    assert order[index] == SeededPermutation(size, "test", 1)[index]
    assert order[index] != order[(index + 1) % 10**5]


def test_scatters() -> None:
    # The mean of the first 1,000 of 10^6 has standard deviation 9,129 if they are drawn at random.
    order = SeededPermutation(10**6, "scatter")
    mean = sum(order[i] for i in range(1000)) / 1000
    assert abs(mean - 499_999.5) < 4 * 9129
    assert sum(order[i] == i for i in range(1000)) < 5


def test_refuses_what_is_empty_or_outside() -> None:
    with pytest.raises(InputError, match="at least one"):
        SeededPermutation(0)
    with pytest.raises(IndexError):
        SeededPermutation(5)[5]
