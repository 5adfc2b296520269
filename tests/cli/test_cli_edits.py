"""`tinyalign edit` end to end on the embedded model: fit, show, apply, and the model that comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import run


@pytest.mark.slow
def test_fit_show_and_apply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit, edited = str(tmp_path / "edit"), str(tmp_path / "edited")
    code, out, _ = run(
        capsys, "edit", "fit", "ternary", "P1", "--pair", "reply", "--components", "L3.mlp", "--rounds", "2",
        "--out", edit,
    )  # fmt: skip
    assert code == 0 and "trits flipped" in out and "Saved to" in out

    code, out, _ = run(capsys, "edit", "show", edit)
    assert code == 0 and "model.layers.3.mlp" in out and "Okay against No" in out
    record = json.loads(run(capsys, "edit", "show", edit, "--json")[1])
    assert 0 < record["trits_flipped"] <= 48 and record["components"] == ["L3.mlp"]
    assert record["prompts"]["split"] == "train"

    assert run(capsys, "edit", "apply", edit, "--out", edited)[0] == 0
    assert json.loads(run(capsys, "info", edited, "--json")[1])["sha256"] == record["edited_sha256"]

    code, _, error = run(capsys, "edit", "apply", edit, "--model", edited, "--out", str(tmp_path / "x"))
    assert code == 2 and "apply it to its own base" in error and not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fit", "ternary", "P1", "--method", "trit"), "Unknown edit method 'trit'"),
        (("fit", "ternary", "P1", "--pair", "no-such"), "logit pair"),
        (("fit", "ternary", "P77"), "P77"),
        (("fit", "ternary", "P1", "--components", "L9.mlp"), "names no component"),
        (("apply", "no-such-folder"), "no readable edit.json"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(capsys, "edit", *arguments, "--out", str(tmp_path / "x"))
    assert code == 2 and said in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()
