"""`tinyalign verify` from outside: its exit codes, its plan, and its sentences for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.running import run
from tests.verification.cases import ARGUMENT, damaged
from tests.verification.models import edited, tiny_base

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, two edited models, an argument and stories."""
    folder = tmp_path_factory.mktemp("command")
    tiny_base().save(folder / "base")
    edited(tiny_base()).save(folder / "same")
    damaged().save(folder / "damaged")
    (folder / "small.yaml").write_text(yaml.safe_dump(ARGUMENT))
    texts = [
        f"A mouse found {i} nuts and kept them all in a little box under the old green tree."
        for i in range(60)
    ]
    (folder / "stories.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


def verify(capsys: Capture, place: Path, after: str, out: Path, *options: str) -> tuple[int, str, str]:
    return run(
        capsys,
        *("verify", str(place / "base"), str(place / after), "--property", "P1"),
        *("--argument", str(place / "small.yaml"), "--stories", str(place / "stories.jsonl")),
        *("--folder", str(out), "--ledger", str(out.parent / "ledger"), *options),
    )


def test_established_defeated_and_not_established(capsys: Capture, place: Path, tmp_path: Path) -> None:
    code, out, _ = verify(capsys, place, "same", tmp_path / "a")
    assert code == 0
    assert "report.html" in out
    assert (tmp_path / "a" / "report.html").is_file()
    code, out, _ = verify(capsys, place, "damaged", tmp_path / "b")
    assert code == 1
    assert "1-loss" in out
    code, out, _ = verify(capsys, place, "same", tmp_path / "c", "--budget", "8samples", "--json")
    assert code == 3
    assert json.loads(out)["verdict"] == "not established"


def test_recheck_and_what_it_refuses(capsys: Capture, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    verify(capsys, place, "damaged", out)
    code, text, _ = verify(capsys, place, "damaged", out, "--recheck")
    assert code == 1
    assert "Checked again, and the same" in text
    code, _, error = verify(capsys, place, "same", out, "--recheck")
    assert code == 4
    assert "the checkpoint was changed" in error


def test_a_broken_run_exits_with_four(capsys: Capture, place: Path, tmp_path: Path) -> None:
    broken = edited(tiny_base())
    broken.network.get_parameter("lm_head.weight").data.fill_(3e38)
    broken.save(tmp_path / "broken")
    code, _, error = run(
        capsys,
        *(
            "verify",
            str(place / "base"),
            str(tmp_path / "broken"),
            "-p",
            "P1",
            "--folder",
            str(tmp_path / "out"),
        ),
        *("--argument", str(place / "small.yaml"), "--stories", str(place / "stories.jsonl")),
        *("--ledger", str(tmp_path / "ledger")),
    )
    assert code == 4
    assert "The run broke at leaf '1-loss'" in error


def test_a_plan_runs_nothing(capsys: Capture, place: Path, tmp_path: Path) -> None:
    code, out, _ = verify(capsys, place, "same", tmp_path / "a", "--plan", "--json")
    assert code == 0
    assert [one["id"] for one in json.loads(out)] == ["1-loss", "2-stories"]
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--budget", "much"), "A budget is written"),
        (("--property", "P99"), "Unknown property"),
        (("--pair", "acting"), "Unknown logit pair"),
        (("--argument", "standart"), "did you mean standard"),
        (("--stories", "absent.jsonl"), "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence_and_exits_with_two(
    capsys: Capture, place: Path, tmp_path: Path, options: tuple[str, str], words: str
) -> None:
    code, _, error = verify(capsys, place, "same", tmp_path / "a", *options)
    assert code == 2
    assert words in error
    assert error.strip().count("\n") == 0


def test_a_missing_margin_is_named(capsys: Capture, place: Path, tmp_path: Path) -> None:
    content = json.loads(json.dumps(ARGUMENT))
    del content["claim"]["children"][0]["leaf"]["margin"]
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    code, _, error = verify(capsys, place, "same", tmp_path / "a", "--argument", str(tmp_path / "bad.yaml"))
    assert code == 2
    assert "lacks 'margin'" in error
