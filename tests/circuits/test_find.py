"""`find_circuit` on the embedded ternary model: what carries P1, where to install it, and refusals."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

import tinyalign as ta
from tinyalign.circuits import Localization, encode_side, exchange, read
from tinyalign.circuits.components import Component, Site, writers
from tinyalign.common.errors import InputError, TinyalignError, UnknownNameError
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model
from tinyalign.properties.contrast import preferences
from tinyalign.ternary import TernaryLinear

P1 = ta.properties.get("P1")


@pytest.fixture(scope="module")
def ternary() -> StoryModel:
    return ta.load("ternary", device="cpu")


@pytest.fixture(scope="module")
def feeling(ternary: StoryModel) -> Localization:
    return ta.find_circuit(ternary, P1, pair="feeling", n=16, n_fit=12, max_components=4, random_count=50)


def test_readings_agree_with_the_contrasts_scores(ternary: StoryModel) -> None:
    for name in ("feeling", "action"):
        pair = P1.pairs[name]
        prompts = P1.prompts.sample("test", 6, 0, decision=pair.decision)
        found = read(ternary, encode_side(ternary, pair, prompts, "clean")).preferences
        expected = preferences(ternary, pair, prompts, ("clean",))[0]["clean"]
        # One int8 step of an activation that rounding moved is worth up to about a tenth of a nat here.
        np.testing.assert_allclose(found, expected, atol=0.2)
        assert abs(found.mean() - expected.mean()) < 0.05


def test_a_few_components_carry_it_and_random_ones_do_not(ternary: StoryModel, feeling: Localization) -> None:
    assert 1 <= len(feeling.components) <= 4
    assert feeling.effect.estimate > 0.5 and feeling.lost is not None and feeling.lost.estimate > 0.5
    assert feeling.random.mean < 0.2 < feeling.effect.low
    assert len(feeling.per_component) == 20
    assert (feeling.fit.split, feeling.held_out.split) == ("train", "test")
    assert feeling.model_sha256 == ternary.sha256
    pair = P1.pairs["feeling"]
    prompts = P1.prompts.sample("test", 16, 0, decision=pair.decision)
    clean, corrupted = (read(ternary, encode_side(ternary, pair, prompts, s)) for s in ("clean", "corrupted"))
    moved = exchange(corrupted, clean, [feeling.components])[0] - corrupted.preferences
    whole = clean.preferences - corrupted.preferences
    assert feeling.effect.estimate == pytest.approx(moved.mean() / whole.mean(), abs=1e-6)


@pytest.mark.slow
def test_the_same_question_has_the_same_answer(ternary: StoryModel, feeling: Localization) -> None:
    again = ta.find_circuit(ternary, P1, pair="feeling", n=16, n_fit=12, max_components=4, random_count=50)
    assert again == feeling
    assert Localization.from_json(json.loads(json.dumps(again.to_json()))) == feeling


@pytest.mark.slow
def test_a_property_that_is_not_there_is_refused_with_what_is(ternary: StoryModel) -> None:
    with pytest.raises(InputError) as caught:
        ta.find_circuit(ternary, P1, pair="action", n=16, n_fit=8)
    message = str(caught.value)
    assert message.startswith("P1 (action) is not present in ternary: contrast")
    assert "the pair feeling (+" in message and "sensitivity" in message
    assert message.count(".") >= 1 and "\n" not in message


@pytest.mark.slow
def test_where_to_install_it(ternary: StoryModel) -> None:
    found = ta.find_circuit(
        ternary, P1, pair="feeling", effect="sensitivity", n=16, n_fit=48, max_components=3, random_count=20
    )
    assert found.unit == "nats" and found.lost is None
    assert found.held_out.split == "development"
    assert 1 <= len(found.components) <= 3
    assert found.effect.low > found.random.mean
    assert all(one.reads is not None for one in found.per_component)
    assert sum(one.component.kind == "neuron" for one in found.per_component) == 16
    assert Localization.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.slow
def test_an_edit_is_found_where_it_was_made(ternary: StoryModel) -> None:
    network = copy.deepcopy(ternary.network)
    module = writers(network)[Site(3, "mlp")]
    assert isinstance(module, TernaryLinear)
    module.set_trits(module.trits.roll(1, 0))
    edited = make_story_model(network, ternary.tokenizer, source="edited", name="edited")
    found = ta.find_circuit(
        edited, P1, pair="feeling", effect="edit", base=ternary, n=8, n_fit=8, random_count=20
    )
    assert found.components == (Component.parse("L3.mlp"),)
    assert found.effect.estimate == pytest.approx(1.0, abs=1e-3)
    assert found.lost is not None and found.lost.estimate == pytest.approx(1.0, abs=1e-3)
    assert found.random.greatest == pytest.approx(0.0, abs=1e-9)
    assert found.base_sha256 == ternary.sha256
    with pytest.raises(InputError, match="nothing to localise"):
        ta.find_circuit(ternary, P1, pair="feeling", effect="edit", base=ternary, n=4, n_fit=4)


def test_arguments_that_do_not_fit_are_refused(ternary: StoryModel) -> None:
    cases: tuple[tuple[type[TinyalignError], str, dict[str, Any]], ...] = (
        (UnknownNameError, "logit pair", {"pair": "feelings"}),
        (InputError, "base model", {"effect": "edit"}),
        (InputError, "base model", {"base": ternary}),
        (InputError, "two prompts", {"n": 1}),
        (InputError, "kind 'mlp' or 'neuron'", {"parts": "head"}),
        (InputError, "must be positive", {"max_components": 0}),
        (UnknownNameError, "slot", {"mix": {"nose": "train"}}),
    )
    for error, message, arguments in cases:
        with pytest.raises(error, match=message):
            ta.find_circuit(ternary, P1, **arguments)
