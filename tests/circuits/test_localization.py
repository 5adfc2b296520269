"""The record of a localization: round trip, checks, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tinyalign.circuits.components import Component
from tinyalign.circuits.localization import ComponentEffect, Localization, PromptIdentity, RandomEffect
from tinyalign.common.errors import DataError, InputError
from tinyalign.statistics.interval import Interval
from tinyalign.stories.grammar import load_grammar


def interval(estimate: float) -> Interval:
    return Interval(estimate, estimate - 0.1, estimate + 0.1, 0.95, "t")


def example() -> Localization:
    grammar = load_grammar("P1")
    fit = PromptIdentity.of(grammar.sample("train", 4, 0), grammar.sha256, 0, False)
    test = PromptIdentity.of(grammar.sample("test", 3, 1, frames="train"), grammar.sha256, 1, True)
    names = ("L0H1", "L1.mlp", "L1N7")
    effects = tuple(
        ComponentEffect(Component.parse(name), interval(i / 4), interval(0.1), 0.2, -0.3, interval(0.9))
        for i, name in enumerate(names)
    )
    return Localization(
        kind="contrast",
        property_id="P1",
        property_name="obeys-prohibition",
        pair="feeling",
        model="tiny",
        model_sha256="0" * 64,
        base_sha256=None,
        positions="decision",
        fit=fit,
        held_out=test,
        components=(Component.parse("L1N7"), Component.parse("L0H1")),
        total=interval(1.8),
        effect=interval(0.8),
        lost=interval(0.7),
        per_component=effects,
        random=RandomEffect(200, 32, True, 0.01, 0.05, 0.1),
        seed=0,
    )


def test_it_survives_json() -> None:
    one = example()
    text = json.dumps(one.to_json(), allow_nan=False)
    assert Localization.from_json(json.loads(text)) == one
    assert json.loads(text)["components"] == ["L1N7", "L0H1"]
    assert one.unit == "share"
    assert [found.component.name for found in one.ranked()] == ["L1N7", "L1.mlp", "L0H1"]
    assert one.of(Component.parse("L1.mlp")).effect.estimate == 0.25
    with pytest.raises(InputError, match="L3H3 was not measured"):
        one.of(Component.parse("L3H3"))


def test_the_prompts_identity_is_of_their_texts_in_order() -> None:
    grammar = load_grammar("P1")
    prompts = grammar.sample("train", 4, 0)
    one = PromptIdentity.of(prompts, grammar.sha256, 0, False)
    assert one == PromptIdentity.of(grammar.sample("train", 4, 0), grammar.sha256, 0, False)
    assert one.texts_sha256 != PromptIdentity.of(prompts[::-1], grammar.sha256, 0, False).texts_sha256
    assert example().held_out.split == "test, frames: train"
    with pytest.raises(InputError, match="no prompts"):
        PromptIdentity.of([], grammar.sha256, 0, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": ()}, "one component or more"),
        ({"components": (Component.parse("L0H1"),) * 2}, "each once"),
        ({"components": (Component.parse("L2H1"),)}, "lacks the single effects of L2H1"),
        ({"lost": None}, "share lost"),
        ({"kind": "sensitivity"}, "share lost"),
        ({"kind": "edit"}, "base belongs"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(example(), **change)


def test_damaged_records_are_refused() -> None:
    record = example().to_json()
    with pytest.raises(DataError, match="format 'x'"):
        Localization.from_json({**record, "format": "x"})
    for damage in (
        {"components": ["nonsense"]},
        {"fit": {}},
        {"effect": {"estimate": 1.0}},
        {"random": None},
    ):
        with pytest.raises(DataError, match="no localization"):
            Localization.from_json({**record, **damage})
    with pytest.raises(DataError, match="no localization: 'seed'"):
        Localization.from_json({key: value for key, value in record.items() if key != "seed"})
