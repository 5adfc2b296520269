"""Planted circuits are found, superfluous components dropped, and shares have their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.circuits.tiny import pairs
from tests.models.tiny import network
from tinyalign.circuits.attribution import attribution, of_component, write_gradients
from tinyalign.circuits.components import Component, all_components, site_of, writers
from tinyalign.circuits.effects import mean_interval, share_interval
from tinyalign.circuits.reading import read
from tinyalign.circuits.search import Sides, greedy
from tinyalign.common.errors import InputError
from tinyalign.models.story_model import make_story_model


def planted(name: str, kind: str, factor: float) -> Sides:
    """Clean and corrupted runs of a random model in which one component writes `factor` times what it did.

    The side that speaks more for the property is the clean one, as in a property's contrast: a random model
    prefers it as often on either side, and shares of a mean difference near zero would say nothing.
    """
    component = Component.parse(name)
    net = network(kind)
    width = 8 if component.kind == "head" else 1
    assert component.index is not None
    with torch.no_grad():
        columns = slice(component.index * width, (component.index + 1) * width)
        writers(net)[site_of(component)].get_parameter("weight")[:, columns] *= factor
    model = make_story_model(net, None, source="planted", name="planted")
    one, other = pairs(12, words=((5,), (6,)))
    forwards = read(model, one).preferences > read(model, other).preferences
    clean = [a if forward else b for a, b, forward in zip(one, other, forwards, strict=True)]
    corrupted = [b if forward else a for a, b, forward in zip(one, other, forwards, strict=True)]
    return Sides(read(model, clean), read(model, corrupted))


@pytest.mark.parametrize("kind", ["llama", "neo"])
@pytest.mark.parametrize("name", ["L1H2", "L0H1"])
def test_a_planted_head_is_found_first(kind: str, name: str) -> None:
    sides = planted(name, kind, 40)
    found, alone = greedy(sides.scores, all_components(sides.target.model.config), 0.9, 6, 12)
    assert Component.parse(name) in found
    assert max(alone, key=lambda c: alone[c]) == Component.parse(name)


def test_a_planted_neuron_is_found_among_all_neurons() -> None:
    # One column of 64: at 40 times its size it carries 3 % of the difference, at 400 times 94 %.
    sides, neuron = planted("L1N17", "llama", 400), Component.parse("L1N17")
    neurons = all_components(sides.target.model.config, ("neuron",))
    table = attribution(sides.target, sides.source, write_gradients(sides.target))
    by_gradient = max(neurons, key=lambda c: np.abs(of_component(table, c, 8)).mean())
    assert by_gradient == neuron
    heads = all_components(sides.target.model.config, ("head",))
    found, alone = greedy(sides.scores, (*heads, *neurons[60:90]), 0.9, 6, 12)
    assert found[0] == neuron == max(alone, key=lambda c: alone[c])
    assert alone[neuron] > 0.9


def test_a_neuron_that_writes_as_little_as_any_is_not_found() -> None:
    sides = planted("L1N17", "llama", 1)
    candidates = (*all_components(sides.target.model.config), Component.parse("L1N17"))
    found, alone = greedy(sides.scores, candidates, 0.9, 6, 12)
    assert Component.parse("L1N17") not in found
    assert abs(alone[Component.parse("L1N17")]) < 0.05


def test_greedy_adds_what_helps_and_drops_what_others_cover() -> None:
    a, b, c, d = (Component("head", 0, i) for i in range(4))
    worth = {a: 0.5, b: 0.45, c: 0.44, d: 0.0}

    def scores(sets):
        # c and b together cover what a does alone.
        return np.array(
            [sum(worth[x] for x in one) - (0.48 if {a, b, c} <= set(one) else 0.0) for one in sets]
        )

    found, alone = greedy(scores, (d, c, b, a), target=1.0, most=4, shortlist=4)
    assert found == (a, b)
    assert alone == pytest.approx(worth)
    assert greedy(scores, (d,), target=1.0, most=4, shortlist=4)[0] == ()
    assert greedy(scores, (a, b, c), target=0.4, most=4, shortlist=4)[0] == (a,)
    assert greedy(scores, (a, b, c), target=1.0, most=1, shortlist=4)[0] == (a,)

    def covering(sets):
        # a looks best alone, and is worth nothing once b and c are there.
        return np.array([1.0 if {b, c} <= set(one) else sum(worth[x] for x in one) for one in sets])

    assert set(greedy(covering, (a, b, c), target=1.0, most=3, shortlist=3)[0]) == {b, c}


def test_shares_are_ratios_of_means_with_intervals_that_cover() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        wholes = rng.gamma(4.0, 0.5, 60)
        parts = 0.7 * wholes + rng.normal(0, 0.3, 60)
        found = share_interval(parts, wholes)
        assert found.estimate == pytest.approx(parts.mean() / wholes.mean())
        inside += found.contains(0.7)
    assert 0.92 <= inside / 400 <= 0.98


def test_intervals_of_means_and_refusals() -> None:
    found = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    # t(.975, 3) * sd / sqrt(n) = 3.182 * 1.291 / 2
    assert (found.estimate, found.high) == (2.5, pytest.approx(2.5 + 3.1824 * 1.29099 / 2, abs=1e-3))
    with pytest.raises(InputError, match="no effect"):
        share_interval(np.array([1.0, 2.0]), np.array([1.0, -1.0]))
