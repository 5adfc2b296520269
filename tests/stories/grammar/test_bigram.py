"""The bigram model: exact probabilities against enumeration and sampling, and of planted rare events."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from tinyalign.common.errors import InputError, UnknownNameError
from tinyalign.stories.grammar import mixture
from tinyalign.stories.grammar.bigram import BigramModel, fit_bigram, plant
from tinyalign.stories.grammar.bigram_events import (
    Event,
    event_probability,
    follows_within,
    happens,
    hazards,
    occurs,
    plant_rare,
)

WORDS = ("a", "b", "c")
SIZE = len(WORDS) + 1


weights = arrays(np.int64, (SIZE + 1, SIZE), elements=st.integers(0, 5))


def tiny(counts: np.ndarray) -> BigramModel:
    """A model of three words from arbitrary counts (a row of zeros always goes to the first word)."""
    rows = counts.astype(np.float64)
    rows[:, 0] += rows.sum(axis=1) == 0
    rows[-1] = np.eye(SIZE)[-1]
    rows /= rows.sum(axis=1, keepdims=True)
    return BigramModel(WORDS, rows[0], rows[1:])


def enumerated(model: BigramModel, holds: object, n_words: int) -> float:
    """The probability by adding up every story one by one: shares nothing with the dynamic programme."""
    assert callable(holds)
    total = []
    for story in itertools.product(range(SIZE), repeat=n_words):
        p = float(model.initial[story[0]])
        for one, other in itertools.pairwise(story):
            p *= float(model.transition[one, other])
        if p and holds([word for word in story if word != model.end]):
            total.append(p)
    return math.fsum(total)


@given(counts=weights, n_words=st.integers(1, 5), word=st.sampled_from(WORDS))
@settings(max_examples=40, deadline=None)
def test_occurrence_equals_enumeration(counts: np.ndarray, n_words: int, word: str) -> None:
    model = tiny(counts)
    exact = event_probability(model, occurs(model, [word]), n_words)
    assert exact == pytest.approx(
        enumerated(model, lambda story: WORDS.index(word) in story, n_words), rel=1e-12
    )


@given(counts=weights, n_words=st.integers(1, 5), window=st.integers(1, 3), same=st.booleans())
@settings(max_examples=60, deadline=None)
def test_window_equals_enumeration(counts: np.ndarray, n_words: int, window: int, same: bool) -> None:
    model = tiny(counts)
    target = 0 if same else 1

    def violates(story: Sequence[int]) -> bool:
        return any(word == 0 and target in story[at + 1 : at + 1 + window] for at, word in enumerate(story))

    event = follows_within(model, "a", [WORDS[target]], window)
    exact = event_probability(model, event, n_words)
    assert exact == pytest.approx(enumerated(model, violates, n_words), rel=1e-12)


@given(counts=weights, seed=st.integers(0, 2**30))
@settings(max_examples=20, deadline=None)
def test_samples_stand_alone_and_are_possible(counts: np.ndarray, seed: int) -> None:
    model = tiny(counts)
    words = model.sample(9, 6, "test", seed)
    assert (words[:4] == model.sample(4, 6, "test", seed)).all()
    assert (model.initial[words[:, 0]] > 0).all()
    assert (model.transition[words[:, :-1], words[:, 1:]] > 0).all()


@given(counts=weights, data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_uniform_number_reaches_an_impossible_word(counts: np.ndarray, data: st.DataObject) -> None:
    model = tiny(counts)
    rows = np.vstack([model.transition, model.initial])
    u = data.draw(st.floats(0, 1, exclude_max=True))
    found = model.next_word(np.arange(SIZE + 1), np.full(SIZE + 1, u))
    assert (rows[np.arange(SIZE + 1), found] > 0).all()
    edge = model.next_word(np.arange(SIZE + 1), np.full(SIZE + 1, np.nextafter(1.0, 0.0)))
    assert (rows[np.arange(SIZE + 1), edge] > 0).all()


@pytest.fixture(scope="module")
def real() -> BigramModel:
    """A bigram model of generated stories about prohibitions, hurts and harms."""
    return fit_bigram(mixture(seed=1, n=150, violation_rate=0.3, property_ids=("P1", "P5", "P6")))


def test_a_step_is_the_matrix_product(real: BigramModel) -> None:
    here = np.random.default_rng(0).random((3, real.end + 1))
    np.testing.assert_allclose(real.step(here), here @ real.transition, rtol=1e-12)


def test_fit_counts(real: BigramModel) -> None:
    model = fit_bigram(['"No, Tim." Tim ran.', "Tim sat."])
    assert model.vocabulary == ('"', ",", ".", "No", "Tim", "ran", "sat")
    assert model.initial[model.index("Tim")] == 0.5
    row = model.transition[model.index("Tim")]
    assert (row[model.index("ran")], row[model.index("sat")], row[model.index(".")]) == (1 / 3, 1 / 3, 1 / 3)
    assert model.transition[model.index("."), model.end] == 2 / 3
    assert len(real.vocabulary) > 100


def test_exact_agrees_with_sampling(real: BigramModel) -> None:
    n, n_words = 3000, 60
    words = real.sample(n, n_words, "agree")
    for event in (occurs(real, ["sorry"]), follows_within(real, "No", ["not", "anyway"], 12)):
        exact = event_probability(real, event, n_words)
        assert 0.001 < exact < 0.99
        assert binomtest(int(happens(event, words).sum()), n, exact).pvalue > 1e-5
        # The sum of the hazards before the event has the event's probability as its mean.
        total = hazards(real, event, words).sum(axis=1)
        assert abs(total.mean() - exact) < 5 * total.std() / np.sqrt(n)


@pytest.mark.parametrize("target", [1e-2, 1e-5, 1e-9])
def test_plants_rare_events_exactly(real: BigramModel, target: float) -> None:
    planted = plant_rare(
        real, "mom", "vanished", lambda model: follows_within(model, "cried", ["vanished"], 20), 80, target
    )
    again = event_probability(planted.model, planted.event, planted.n_words)
    assert again == planted.probability == pytest.approx(target, rel=1e-12)
    assert 0 < planted.transition_probability < 1
    assert planted.to_json()["event"] == "vanished within 20 words after cried"
    assert planted.model.transition[planted.model.index("mom"), planted.model.index("vanished")] > 0


def test_a_rare_event_is_as_rare_as_it_says(real: BigramModel) -> None:
    # 3,000 stories at 1e-5 hold none nearly always, yet their hazards tell the probability.
    planted = plant_rare(
        real, "was", "vanished", lambda model: follows_within(model, "No", ["vanished"], 30), 80, 1e-5
    )
    words = planted.model.sample(3000, 80, "rare")
    assert happens(planted.event, words).sum() <= 2
    total = hazards(planted.model, planted.event, words).sum(axis=1)
    assert abs(total.mean() - 1e-5) < 5 * total.std() / np.sqrt(3000)
    assert total.mean() == pytest.approx(1e-5, rel=0.5)


def test_text_and_refusals(real: BigramModel) -> None:
    words = real.sample(1, 200, "text")[0]
    assert real.text(words).split() == [real.vocabulary[w] for w in words if w != real.end]
    with pytest.raises(UnknownNameError, match="sorry"):
        real.index("sory")
    with pytest.raises(InputError, match="at least 1"):
        follows_within(real, "No", ["not"], 0)
    with pytest.raises(InputError, match="reaches probabilities"):
        plant_rare(real, "No", "not", lambda model: occurs(model, ["No"]), 50, 1e-30)
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        plant(real, "No", "not", 1.0)
    with pytest.raises(InputError, match="distribution"):
        BigramModel(("a",), np.array([0.5, 0.4]), np.eye(2))
    with pytest.raises(InputError, match="absorbing"):
        BigramModel(("a",), np.array([0.5, 0.5]), np.array([[0.5, 0.5], [1.0, 0.0]]))
    with pytest.raises(InputError, match="at least one word"):
        fit_bigram(["  "])
    with pytest.raises(InputError, match="stays so"):
        Event("odd", np.array([[0, 1, 1], [1, 1, 1]]))
