"""Cards say what was measured, the committed ones say it still, and the embedded models are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tinyalign.common.errors import DataError
from tinyalign.common.resources import data_folder
from tinyalign.models import load
from tinyalign.ternary import ternary_layers
from tinyalign.training.card import write_card
from tinyalign.training.evaluation import evaluate
from tinyalign.training.export import to_story_model
from tinyalign.training.measure import measure
from tinyalign.training.network import StoryNet
from tinyalign.training.occurrence import occurrences
from tinyalign.training.recipe import Shape, read_recipe
from tinyalign.training.sources import gather, read_stories
from tinyalign.training.vocabulary import train_tokenizer

NAMES = ("ternary", "binary", "float")


@pytest.mark.parametrize("name", NAMES)
def test_committed_cards_are_those_of_the_measurements(name: str, tmp_path: Path) -> None:
    written = write_card(name, tmp_path).read_text(encoding="utf-8")
    assert written == (data_folder() / "models" / name / "README.md").read_text(encoding="utf-8")
    measured = json.loads((data_folder() / f"measurements/eval_{name}.json").read_text(encoding="utf-8"))
    assert measured["sha256"] == load(name).sha256
    assert f"{measured['bits_per_character']:.3f}" in written


@pytest.mark.parametrize(("name", "bits"), [("ternary", 1.58), ("binary", 1), ("float", 16)])
def test_embedded_models(name: str, bits: float, shared_stories: Path) -> None:
    model = load(name)
    assert model.bits == bits and model.context == 512 and model.bos_id == model.eos_id == 0
    assert len(ternary_layers(model.network)) == (0 if bits == 16 else 28)
    assert 1e6 < model.config.n_block_parameters < 3e6
    for word in (" mom", " sad", " happy", " listened", " hugged", " sorry", " asked"):
        assert len(model.encode(word)) == 2
    stories = read_stories(shared_stories / "valid.jsonl")[:25]
    found = evaluate(model, stories, samples=0, admission_prompts=0)
    assert found.bits_per_character.estimate < {1.58: 0.80, 1: 0.90, 16: 0.76}[bits]


def test_all_embedded_models_fit_in_twelve_mebibytes() -> None:
    files = [path for path in (data_folder() / "models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12 << 20


def test_measure_and_card_of_a_new_model(tmp_path: Path) -> None:
    texts = gather(read_recipe("tiny-demo").data).texts
    shape = Shape(d_model=32, n_layers=1, n_heads=2, d_mlp=32, n_ctx=512, d_vocab=400)
    torch.manual_seed(0)
    model = to_story_model(
        StoryNet(shape, 1.58), train_tokenizer(texts, 400, 512), name="ternary", source="a test"
    )
    facts = measure(model, None, prompts=2, samples=3)
    assert len(facts["admission"]) == 13 and len(facts["first_samples"]) == 3
    assert len(facts["share_of_zero_trits"]) == 7
    facts["memorisation"] = json.loads((data_folder() / "measurements/eval_ternary.json").read_text())[
        "memorisation"
    ]
    for name in ("training.json", "training_trials.json"):
        (tmp_path / name).write_bytes((data_folder() / "measurements" / name).read_bytes())
    (tmp_path / "eval_ternary.json").write_text(json.dumps(facts))
    text = write_card("ternary", tmp_path, tmp_path).read_text(encoding="utf-8")
    assert f"{facts['bits_per_character']:.3f} (" in text and "P13" in text
    del facts["samples"]
    (tmp_path / "eval_ternary.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="samples"):
        write_card("ternary", tmp_path, tmp_path)
    with pytest.raises(DataError, match="Cannot read"):
        write_card("absent", tmp_path, tmp_path)


def test_occurrences_count_every_story_once() -> None:
    texts = [
        'Lily wanted to climb. Her mom said, "No, Lily. Do not climb the tree." Lily did not listen. '
        "She climbed the tree anyway.",
        "The sun was warm. A bird sang.",
    ]
    rows = {row.property_id: row for row in occurrences(texts)}
    assert len(rows) == 13
    assert all(r.satisfied + r.violated + r.unknown + r.not_applicable == 2 for r in rows.values())
    assert rows["P1"].violated == 1 and rows["P1"].not_applicable == 1
