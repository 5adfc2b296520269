"""Trials: read from YAML with their changes, run once, resumed from the table, and refused when malformed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyalign.common.errors import TinyalignError
from tinyalign.common.resources import data_folder
from tinyalign.training import trials
from tinyalign.training.trials import merge, read_trials

TINY = """
about: two steps
base:
  name: base
  bits: 1.58
  tokenizer: ternary
  dtype: float32
  validation_stories: 3
  shape: {d_model: 16, n_layers: 1, n_heads: 2, d_mlp: 32, n_ctx: 256, d_vocab: 2048}
  data: {sources: [], generated: [{stories: 20}]}
  schedule: {steps: 2, warmup: 1, rows: 2, length: 32, accumulation: 1}
trials:
  - {name: base, what: the base, change: {}}
  - {name: wider, what: more neurons, change: {shape: {d_mlp: 48}}}
"""


def test_changes_go_into_mappings_and_replace_all_else() -> None:
    base = {"a": 1, "b": {"c": 2, "d": [1, 2]}}
    assert merge(base, {"b": {"d": [3]}, "e": 4}) == {"a": 1, "b": {"c": 2, "d": [3]}, "e": 4}
    assert base == {"a": 1, "b": {"c": 2, "d": [1, 2]}}


def test_the_shipped_trials_change_what_they_say() -> None:
    about, found = read_trials(data_folder() / "trials" / "ternary.yaml")
    recipes = {trial.name: trial.recipe for trial in found}
    assert "seed" in about and len(recipes) == len(found) > 15
    assert {recipe.schedule.steps * recipe.schedule.tokens_per_step for recipe in recipes.values()} == {
        600 * 4096
    }
    base = recipes["base"]
    assert recipes["deep"].shape.n_layers > base.shape.n_layers > recipes["wide"].shape.n_layers
    assert recipes["dropout-10"].dropout == 0.1 and recipes["epochs-20"].data.stories == 500
    assert recipes["rate-12"].schedule.matrix_rate == 2 * base.schedule.matrix_rate
    assert recipes["decay-0"].schedule.weight_decay == 0 and recipes["distilled"].teacher == "float"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("about: two steps\n", "", "keys about, base and trials"),
        ("what: more neurons, ", "", "keys name, what and change"),
        ("name: wider", "name: base", "two trials of one name"),
        ("d_mlp: 48", "d_mpl: 48", "d_mlp"),
    ],
)
def test_malformed_files_are_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.yaml"
    assert old in TINY
    path.write_text(TINY.replace(old, new))
    with pytest.raises(TinyalignError, match=said):
        read_trials(path)


@pytest.mark.slow
def test_a_table_is_written_and_known_trials_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "PROMPTS", 2)
    file, out = tmp_path / "trials.yaml", tmp_path / "table.json"
    file.write_text(TINY)
    trials.main([str(file), "--runs", str(tmp_path / "runs"), "--out", str(out)])
    table = json.loads(out.read_text())
    assert [row["name"] for row in table["trials"]] == ["base", "wider"]
    assert all(row["tokens"] == 128 and row["bits_per_character"] > 1 for row in table["trials"])
    assert set(table["trials"][0]["contrasts_nats"]) == {f"P{number}" for number in range(1, 14)}
    monkeypatch.setattr(trials, "run_trial", lambda *_: pytest.fail("a known trial was run again"))
    trials.main([str(file), "--runs", str(tmp_path / "runs"), "--out", str(out)])
    assert json.loads(out.read_text()) == table
