"""Writing the report, refusing what is no verdict, and the summary for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.nodes import NASTY
from tests.report.samples import verdict
from tinyalign.common.errors import InputError
from tinyalign.report.reading import read_verdict
from tinyalign.report.terminal import sentence, summary
from tinyalign.report.verdict import render, write_report


def test_the_file_is_what_was_rendered(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    assert write_report(verdict(), path) == path
    assert path.read_text(encoding="utf-8") == render(verdict())
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


def test_a_verdict_that_cannot_be_shown_leaves_the_old_report(tmp_path: Path) -> None:
    path = write_report(verdict(), tmp_path / "report.html")
    old = path.read_bytes()
    with pytest.raises(InputError):
        write_report({**verdict(), "tree": None}, path)
    assert path.read_bytes() == old and [one.name for one in tmp_path.iterdir()] == ["report.html"]


def _with(path: str, value: Any) -> dict[str, Any]:
    made: Any = verdict("defeated")
    *above, last = path.split(".")
    target = made
    for key in above:
        target = target[int(key)] if key.isdigit() else target[key]
    target[last] = value
    return made


_RESULT = "tree.children.0.children.0.result"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "tinyalign-verdict-9", r"verdict\.format is 'tinyalign-verdict-9', but must be 'tiny"),
        ("format", None, r"verdict\.format is missing"),
        ("verdict", "fine", r"verdict\.verdict is 'fine'"),
        ("sentence", 3, r"verdict\.sentence is 3, but must be text"),
        ("exit_code", True, r"verdict\.exit_code is True, but must be a whole number"),
        ("tree", [], r"verdict\.tree is \[\], but must be a mapping"),
        ("tree.kind", "hope", r"verdict\.tree\.kind is 'hope'"),
        ("stories", [3], r"verdict\.stories\[0\] is 3, but must be a mapping"),
        ("limits", "none", r"verdict\.limits is 'none', but must be a list"),
        ("limits", [3], r"verdict\.limits\[0\] is 3"),
        (f"{_RESULT}.estimate", "0.5", r"children\[0\]\.children\[0\]\.result\.estimate is '0.5'"),
        (f"{_RESULT}.estimate", float("nan"), r"estimate is nan"),
        (f"{_RESULT}.counterexamples.0.span", [5, 1], r"span is \[5, 1\], but must be a start and an end"),
        (f"{_RESULT}.counterexamples.0.span", [0, 10**6], r"span is \[0, 1000000\]"),
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_refused_by_name(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        render(_with(path, value))
    assert str(caught.value).endswith("with `tinyalign verify`.")
    with pytest.raises(InputError, match=message):
        summary(_with(path, value))


def test_an_empty_mapping_is_no_verdict() -> None:
    with pytest.raises(InputError, match=r"verdict\.format is missing"):
        render({})


def test_a_status_nobody_knows_is_shown_in_its_own_words() -> None:
    assert "postponed" in render(_with("tree.children.1.status", "postponed"))


@pytest.mark.parametrize(
    ("kind", "sign"), [("established", "✓"), ("defeated", "✗"), ("not established", "?")]
)
def test_the_summary_has_the_verdict_and_one_entry_a_node(kind: str, sign: str) -> None:
    made = verdict(kind)
    shown = summary(made)
    assert shown.startswith(f"{sign} {kind.upper()}: ")
    assert sentence(made) == f"{sign} {kind.upper()}: {made['sentence'].partition(': ')[2]}"
    for node in read_verdict(made).tree.walk():
        lines = [line.strip() for line in shown.splitlines()]
        assert sum(line.split(" ")[1:2] == [node.id] for line in lines) == 1
    assert "nats a token · needs ≤ 0.02 · n = 3,000" in shown


@pytest.mark.parametrize("width", [40, 80, 100])
def test_the_summary_keeps_to_the_width(width: int) -> None:
    assert max(map(len, summary(verdict("defeated"), width).splitlines())) <= width


def test_no_text_can_steer_the_terminal() -> None:
    made = _with("sentence", NASTY)
    made["tree"]["children"][0]["text"] = NASTY
    shown = summary(made) + sentence(made)
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_an_attack_whose_doubt_is_closed_does_not_stand_in_the_way() -> None:
    made = _with("tree.children.2.children.2.status", "closed")
    made["tree"]["children"][2]["children"][2]["children"][0]["status"] = "defeated"
    document = read_verdict(made)
    assert [node.id for node in document.against()] == ["1.1-rate", "3.1-locus", "3.2-role-swap"]
    assert "8 leaves" not in summary(made) and "1 doubt: closed" in summary(made)
    made["tree"]["children"][2]["children"][2]["status"] = "defeats"
    assert "3.d" in [node.id for node in read_verdict(made).against()]


def test_what_fails_under_a_claim_that_holds_does_not_stand_in_the_way() -> None:
    made = _with("tree.children.1.children.0.status", "defeated")
    assert "2.1-neutral-damage" not in [node.id for node in read_verdict(made).against()]
