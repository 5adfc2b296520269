"""Recipes: the ones that ship are sound, and every mistake gets one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyalign.common.errors import DataError, UnknownNameError
from tinyalign.training.recipe import Recipe, Schedule, build, read_recipe, recipe_names


def test_shipped_recipes_are_sound() -> None:
    assert {"ternary", "binary", "float", "tiny-demo"} <= set(recipe_names())
    for name in recipe_names():
        recipe = read_recipe(name)
        assert recipe.name == name
        assert build(Recipe, recipe.to_json(), name) == recipe


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"name": "x", "schedule": {"steps": 5}, "bitz": 1}, "did you mean bits"),
        ({"name": "x"}, "lacks schedule"),
        ({"name": "x", "schedule": {"steps": "many"}}, "schedule: steps must be of type int"),
        ({"name": "x", "schedule": {"steps": 5}, "bits": 2}, "bits are 2"),
        ({"name": "a/b", "schedule": {"steps": 5}}, "plain folder name"),
        ({"name": "x", "schedule": {"steps": 5}, "dtype": "int8"}, "dtype"),
        ({"name": "x", "schedule": {"steps": 5, "length": 600}}, "longer than the context"),
        ({"name": "x", "schedule": {"steps": 5, "decay": 2.0}}, "schedule.decay is 2.0"),
        ({"name": "x", "schedule": {"steps": True}}, "type int"),
        ({"name": "x", "schedule": {"steps": 5}, "data": {"sources": []}}, "no sources"),
        ({"name": "x", "schedule": {"steps": 5}, "data": {"sources": "kin"}}, "must be a list"),
        ({"name": "x", "schedule": {"steps": 5}, "data": {"teacher_stories": 5}}, "names none"),
        (
            {
                "name": "x",
                "schedule": {"steps": 5},
                "data": {"generated": [{"stories": 5, "violation_rate": 1}]},
            },
            "planted at 100%",
        ),
        (
            {"name": "x", "schedule": {"steps": 5}, "shape": {"d_model": 30, "n_heads": 4}},
            "heads of even size",
        ),
        ([1, 2], "must be a mapping"),
    ],
)
def test_mistakes_are_named(content: object, said: str) -> None:
    with pytest.raises((DataError, UnknownNameError), match=said):
        build(Recipe, content, "recipe.yaml")


def test_files_and_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="ternary"):
        read_recipe("ternery")
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: [")
    with pytest.raises(DataError, match=r"bad\.yaml"):
        read_recipe(bad)


@given(steps=st.integers(1, 2000), warmup=st.integers(0, 100), decay=st.floats(0, 1), long=st.floats(0, 1))
def test_schedule_rises_holds_and_falls_to_nothing(
    steps: int, warmup: int, decay: float, long: float
) -> None:
    schedule = Schedule(steps=steps, warmup=warmup, decay=decay, long_share=long)
    rates = [schedule.rate(k) for k in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    if warmup < steps * (1 - decay) - 1:
        assert max(rates) == 1
    if decay and decay * steps > 2 and warmup == 0:
        assert rates[-1] == pytest.approx(1 / (decay * steps))
    assert {schedule.row_length(k) for k in range(steps)} <= {256, 512}
