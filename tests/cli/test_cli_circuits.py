"""`tinyalign contrast` and `tinyalign localize`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import run
from tinyalign.circuits import Localization


def test_contrast_says_whether_a_property_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "contrast", "ternary", "P1", "--pair", "action", "--n", "8")
    assert code == 0
    assert "P1 obeys-prohibition (action) is not present in ternary: contrast" in " ".join(out.split())
    code, out, _ = run(capsys, "contrast", "ternary", "obeys-prohibition", "--n", "8", "--json")
    record = json.loads(out)
    assert (code, record["pair"], record["n"], record["split"]) == (0, "feeling", 8, "test")


@pytest.mark.slow
def test_localize_names_components_and_writes_the_record(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "circuit.json"
    options = ("--n", "8", "--n-fit", "8", "--max-components", "2", "--json", str(target))
    code, out, _ = run(capsys, "localize", "ternary", "P1", "--pair", "feeling", *options)
    found = Localization.from_json(json.loads(target.read_text(encoding="utf-8")))
    assert code == 0
    assert 1 <= len(found.components) <= 2
    assert all(component.name in out for component in found.components)
    assert "random sets" in out and "% [" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("contrast", "ternary", "P1", "--pair", "feelings"), "did you mean feeling?"),
        (("contrast", "ternary", "P99"), "Unknown property"),
        (("localize", "ternary", "P1", "--effect", "cause"), "Unknown effect"),
        (("localize", "ternary", "P1", "--parts", "head"), "expected mlp or neuron"),
        (("localize", "ternary", "P1", "--split", "tests"), "did you mean test?"),
        pytest.param(
            ("localize", "ternary", "P1", "--pair", "action", "--n", "8"),
            "is not present in ternary",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_bad_arguments_are_one_sentence_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1 and err.startswith("tinyalign: ")
