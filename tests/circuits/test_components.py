"""Names, sites, masks and random sets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.tiny import story_model
from tinyalign.circuits.components import (
    KINDS,
    Component,
    Site,
    all_components,
    check_components,
    masks,
    random_sets,
    writers,
)
from tinyalign.common.errors import InputError


@given(kind=st.sampled_from(KINDS), layer=st.integers(0, 40), index=st.integers(0, 4000))
def test_a_name_names_one_component(kind, layer, index) -> None:
    component = Component(kind, layer, None if kind == "mlp" else index)
    assert Component.parse(component.name) == component
    assert Component.parse(f" {component} ") == component


@pytest.mark.parametrize("name", ["", "L1", "H3", "L1H", "L1.attn", "L-1H2", "1H2", "L1H2N3", "l1h2"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="names no component"):
        Component.parse(name)


def test_impossible_components_are_refused() -> None:
    with pytest.raises(InputError, match="index"):
        Component("mlp", 1, 2)
    with pytest.raises(InputError, match="index"):
        Component("head", 1)
    with pytest.raises(InputError, match="layer"):
        Component("head", -1, 0)


@pytest.mark.parametrize("kind", ["neo", "llama-gqa", "llama-ternary"])
def test_every_layer_has_two_sites_whose_modules_write_to_the_stream(kind: str) -> None:
    model = story_model(kind)
    found = writers(model.network)
    assert [site.order for site in found] == [0, 1, 2, 3]
    assert {module.out_features for module in found.values()} == {model.config.d_model}
    assert [m.in_features for m in found.values()] == [32, 64, 32, 64]


def test_masks_mark_the_inputs_of_each_set() -> None:
    config = story_model("llama").config
    parse = Component.parse
    found = masks(config, [(parse("L0H1"), parse("L1N3")), (), (parse("L1.mlp"), parse("L0H0"))])
    assert list(found) == [Site(0, "attention"), Site(1, "mlp")]
    heads, mlp = found.values()
    assert heads[0].nonzero()[:, 0].tolist() == list(range(8, 16))
    assert heads[2].nonzero()[:, 0].tolist() == list(range(8))
    assert mlp[0].nonzero()[:, 0].tolist() == [3]
    assert mlp[2].all()
    assert not heads[1].any() and not mlp[1].any()


def test_components_that_the_model_lacks_are_refused() -> None:
    config = story_model("llama").config
    for name in ("L2H0", "L0H4", "L1N64", "L2.mlp"):
        with pytest.raises(InputError, match=f"no {name}"):
            check_components(config, [Component.parse(name)])


def test_random_sets_are_like_the_given_one_and_outside_it() -> None:
    config = story_model("llama").config
    like = [Component.parse(name) for name in ("L0H1", "L1H2", "L1.mlp", "L0N3", "L0N4")]
    drawn = random_sets(config, like, 50, seed=3)
    for components in drawn:
        assert Counter(c.kind for c in components) == {"head": 2, "mlp": 1, "neuron": 2}
        assert len(set(components)) == 5
        assert not set(components) & set(like)
        assert not any(c.kind == "neuron" and c.layer == 1 for c in components)
    assert len(set(drawn)) > 25
    assert random_sets(config, like, 10, seed=3) == drawn[:10]
    assert random_sets(config, like, 10, seed=4) != drawn[:10]


def test_random_sets_from_all_may_meet_the_given_one_and_too_few_are_refused() -> None:
    config = story_model("llama").config
    every = all_components(config)
    with pytest.raises(InputError, match="only 0 are left outside"):
        random_sets(config, every, 1, seed=0)
    assert random_sets(config, every, 1, seed=0, outside=False) == (every,)
