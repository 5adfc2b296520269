"""annotate, properties, property check, eval, train and bench, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import run
from tinyalign.common.resources import data_folder

_STORY = (
    'Ann wanted to climb the tree. Her mom said, "No, Ann. Do not climb the tree." Ann was sad. '
    '"Okay, Mom," said Ann. She went home with her mom.'
)


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """Three stories as JSON lines."""
    path = tmp_path / "stories.jsonl"
    path.write_text(
        "".join(json.dumps({"text": _STORY.replace("Ann", n)}) + "\n" for n in ("Ann", "Sue", "Mia"))
    )
    return path


def test_annotate(capsys: pytest.CaptureFixture[str], stories: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, out, _ = run(capsys, "annotate", str(stories), "--html", str(page))
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, len(lines)) == (0, 3)
    first, second = lines[0]["quotes"]
    assert _STORY[first["start"] : first["end"]] == first["text"]
    assert (first["speaker_role"], first["addressee_role"]) == ("parent", "child")
    assert (second["speaker_role"], second["addressee_role"]) == ("child", "parent")
    assert "prohibition" in first["speech_acts"]
    assert {"name", "role"} <= set(lines[0]["characters"][0])
    assert "Do not climb" in page.read_text()


def test_annotate_names_the_bad_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "Fine."}\n{"no": 1}\n')
    code, _, err = run(capsys, "annotate", str(tmp_path / "bad.jsonl"))
    assert code == 2
    assert "Line 2" in err
    assert run(capsys, "annotate", str(tmp_path / "absent.jsonl"))[0] == 2


def test_properties_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "properties", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["id"] for row in rows] == [f"P{i}" for i in range(1, 14)]
    assert "asks-first" in run(capsys, "properties")[1]
    code, _, err = run(capsys, "properties", "--only", "asks-frist")
    assert (code, "asks-first" in err) == (2, True)


def test_properties_of_a_model(
    capsys: pytest.CaptureFixture[str], shared_models: Path, tmp_path: Path
) -> None:
    source, plot = str(shared_models / "stories260K.bin"), tmp_path / "plot.html"
    arguments = ("properties", source, "-n", "12", "--only", "P1", "--only", "P8")
    code, out, _ = run(capsys, *arguments, "--json", "--plot", str(plot))
    rows = json.loads(out)
    assert (code, [row["id"] for row in rows]) == (0, ["P1", "P8"])
    for row in rows:
        assert row["interval"][0] <= row["contrast_nats"] <= row["interval"][1]
        assert row["admitted"] is False or row["contrast_nats"] >= 0.5
    assert "obeys-prohibition" in plot.read_text()
    assert "12 prompts" in run(capsys, *arguments)[1]


def test_property_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shipped = next((data_folder() / "properties").glob("p01-*.yaml"))
    code, out, _ = run(capsys, "property", "check", str(shipped))
    assert (code, "is valid" in out) == (0, True)
    broken = tmp_path / "mine.yaml"
    broken.write_text(shipped.read_text().replace("primary: feeling", "primary: colour"))
    code, out, _ = run(capsys, "property", "check", str(broken), "--json")
    assert code == 2
    assert json.loads(out)["problems"]


def test_eval(capsys: pytest.CaptureFixture[str], shared_models: Path, stories: Path) -> None:
    source = str(shared_models / "stories260K.bin")
    arguments = ("eval", source, "--text", str(stories), "--samples", "2", "--prompts", "0")
    code, out, _ = run(capsys, *arguments, "--json")
    figures = json.loads(out)
    assert code == 0
    assert 0.3 < figures["bits_per_character"] < 2
    interval = figures["bits_per_character_interval"]
    assert interval["low"] <= figures["bits_per_character"] <= interval["high"]
    assert figures["text"]["stories"] == 3
    assert "bits per character" in run(capsys, *arguments)[1]


def test_train_dry_run_and_bad_recipes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "train", "no-such-recipe")
    assert (code, out) == (2, "")
    assert "no-such-recipe" in err
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "name: tiny\n"
        "bits: 1.58\n"
        "shape: {d_model: 16, n_layers: 1, n_heads: 2, d_mlp: 32, n_ctx: 64, d_vocab: 300}\n"
        "data: {sources: [], generated: [{stories: 60}]}\n"
        "schedule: {steps: 4, warmup: 1, rows: 2, length: 32}\n"
    )
    code, out, err = run(capsys, "train", str(recipe), "--runs", str(tmp_path), "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["parameters"] > 0
    code, out, err = run(capsys, "train", str(recipe), "--runs", str(tmp_path), "--json")
    assert code == 0, err
    assert json.loads(out)["finished"] is True
    assert json.loads(run(capsys, "info", str(tmp_path / "tiny" / "model"), "--json")[1])["bits"] == 1.58
