"""The ledger: attempts are counted, spend less each time, and cannot be undone unseen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyalign.verification.canonical import TamperedError, sha256_of
from tinyalign.verification.ledger import HEAD, LINES, Attempt, Ledger


def filled(folder: Path, attempts: int = 3) -> tuple[Ledger, list[Attempt]]:
    ledger = Ledger.open(folder)
    return ledger, [ledger.attempt("claim", f"edit {i}", 0.05) for i in range(attempts)]


def test_attempts_are_counted_for_each_claim_and_share_its_error(tmp_path: Path) -> None:
    ledger, attempts = filled(tmp_path)
    assert [one.number for one in attempts] == [1, 2, 3]
    assert [one.alpha for one in attempts] == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 12])
    assert ledger.attempt("another claim", "edit 0", 0.05).number == 1


def test_the_same_checkpoint_again_is_the_same_attempt(tmp_path: Path) -> None:
    ledger, attempts = filled(tmp_path)
    assert ledger.attempt("claim", "edit 1", 0.05) == attempts[1]
    assert len((tmp_path / LINES).read_text().splitlines()) == 3


def test_a_process_that_died_between_line_and_head_loses_nothing(tmp_path: Path) -> None:
    ledger, _ = filled(tmp_path, 2)
    head = (tmp_path / HEAD).read_text()
    third = ledger.attempt("claim", "edit 2", 0.05)
    (tmp_path / HEAD).write_text(head)
    assert ledger.attempt("claim", "edit 2", 0.05) == third
    assert ledger.attempt("claim", "edit 3", 0.05).number == 4


def test_half_a_line_is_written_over(tmp_path: Path) -> None:
    ledger, _ = filled(tmp_path, 2)
    with (tmp_path / LINES).open("a") as opened:
        opened.write('{"attempt": 3, "cl')
    assert ledger.attempt("claim", "edit 2", 0.05).number == 3
    assert len((tmp_path / LINES).read_text().splitlines()) == 3


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_changed_line_is_named(tmp_path: Path, line: int) -> None:
    ledger, _ = filled(tmp_path)
    lines = (tmp_path / LINES).read_text().splitlines(keepends=True)
    value = json.loads(lines[line])
    value["edited"] = "somebody else's"
    lines[line] = json.dumps(value) + "\n"
    (tmp_path / LINES).write_text("".join(lines))
    with pytest.raises(TamperedError, match=rf"ledger\.jsonl, line {line + 1}"):
        ledger.attempt("claim", "new", 0.05)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_deleted_line_is_noticed(tmp_path: Path, line: int) -> None:
    ledger, _ = filled(tmp_path)
    lines = (tmp_path / LINES).read_text().splitlines(keepends=True)
    (tmp_path / LINES).write_text("".join(lines[:line] + lines[line + 1 :]))
    with pytest.raises(TamperedError, match=rf"ledger\.jsonl.*line {line + 1}"):
        ledger.attempt("claim", "new", 0.05)


def test_a_verdict_misses_its_line_even_where_the_head_went_with_it(tmp_path: Path) -> None:
    ledger, attempts = filled(tmp_path)
    lines = (tmp_path / LINES).read_text().splitlines(keepends=True)
    (tmp_path / LINES).write_text(lines[0])
    (tmp_path / HEAD).write_text(json.dumps({"lines": 1, "chain": json.loads(lines[0])["chain"]}))
    ledger.check("claim", "edit 0", attempts[0])
    with pytest.raises(TamperedError, match=r"attempt 3 .* not there any more"):
        ledger.check("claim", "edit 2", attempts[2])
    (tmp_path / LINES).unlink()
    (tmp_path / HEAD).unlink()
    with pytest.raises(TamperedError, match="not there any more"):
        ledger.check("claim", "edit 0", attempts[0])


def test_a_head_that_was_deleted_or_damaged(tmp_path: Path) -> None:
    ledger, _ = filled(tmp_path)
    (tmp_path / HEAD).write_text("[]")
    with pytest.raises(TamperedError, match="no head of a ledger"):
        ledger.attempt("claim", "new", 0.05)
    (tmp_path / HEAD).unlink()
    with pytest.raises(TamperedError, match="was deleted"):
        ledger.attempt("claim", "new", 0.05)


def test_canonical_hashes_do_not_depend_on_the_order_of_keys() -> None:
    assert sha256_of({"a": 1, "b": [2.5, "ü"]}) == sha256_of({"b": [2.5, "ü"], "a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        sha256_of({"a": float("nan")})
