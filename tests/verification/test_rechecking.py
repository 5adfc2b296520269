"""What a recheck agrees with, and everything that it finds and names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.verification.cases import ARGUMENT, damaged
from tests.verification.models import edited, tiny_base
from tinyalign.common.errors import InputError
from tinyalign.properties import get
from tinyalign.verification import Verdict, recheck
from tinyalign.verification.canonical import START, TamperedError, chained_line, read_chain

P1 = get("P1")


def test_recheck_agrees(run: Callable[..., Verdict], check: Callable[..., Any]) -> None:
    verdict = run(damaged())
    found = check(damaged(), share=1.0)
    assert found.verdict.hash == verdict.hash
    assert found.rows == found.remeasured == 50
    assert 0 < check(damaged(), share=0.02).remeasured <= 16
    assert check(damaged(), share=0.0).remeasured == 0
    with pytest.raises(InputError, match="between 0 and 1"):
        check(damaged(), share=2.0)


def test_recheck_names_a_changed_checkpoint(run: Callable[..., Verdict], check: Callable[..., Any]) -> None:
    run(damaged())
    with pytest.raises(TamperedError, match="The edited model edited has the identity"):
        check(edited(tiny_base(), "lm_head.weight", 0.6001))
    with pytest.raises(TamperedError, match="The base model edited has the identity"):
        check(damaged(), base=damaged())


def test_recheck_names_a_tampered_line(
    run: Callable[..., Verdict], check: Callable[..., Any], tmp_path: Path
) -> None:
    run(damaged())
    path = tmp_path / "run" / "results" / "1-loss.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines).replace(lines[4], lines[4].replace('"after":', '"after":1', 1)))
    with pytest.raises(TamperedError, match=r"1-loss\.jsonl, line 5"):
        check(damaged())
    path.write_text("".join(lines[:-1]))
    with pytest.raises(TamperedError, match=r"1-loss\.jsonl, line 41: the verdict rests on 40 rows"):
        check(damaged())


def test_recheck_measures_again_what_was_made_up(
    run: Callable[..., Verdict], check: Callable[..., Any], tmp_path: Path
) -> None:
    """Rows invented by somebody who knows the format: the chain is whole, the models say otherwise."""
    verdict = run(edited(tiny_base()))
    path = tmp_path / "run" / "results" / "1-loss.jsonl"
    values, _, _ = read_chain(path)
    values[7]["row"]["after"] += 0.5
    chain, text = START, ""
    for value in values:
        line, chain = chained_line(chain, value)
        text += line
    path.write_text(text)
    with pytest.raises(TamperedError, match="is not what the rows give"):
        check(edited(tiny_base()))
    # Even with a verdict computed from them.
    invented = run(edited(tiny_base()))
    assert invented.hash != verdict.hash
    with pytest.raises(TamperedError, match=r"1-loss\.jsonl, line 8: the models give another row"):
        check(edited(tiny_base()), share=1.0)


def test_recheck_names_a_changed_verdict_and_a_cut_ledger(
    run: Callable[..., Verdict], check: Callable[..., Any], tmp_path: Path
) -> None:
    run(edited(tiny_base()), "first")
    run(damaged())
    path = tmp_path / "run" / "verdict.json"
    text = path.read_text()
    path.write_text(text.replace('"verdict": "defeated"', '"verdict": "established"'))
    with pytest.raises(TamperedError, match="its hash is not that of its content"):
        check(damaged())
    path.write_text(text)
    ledger = tmp_path / "ledger" / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(TamperedError, match=r"ledger\.jsonl, line 1"):
        check(damaged())
    with pytest.raises(InputError, match="there is no verdict to check"):
        recheck(tmp_path / "nowhere", tiny_base(), damaged(), P1)


def test_another_argument_is_another_specification(
    run: Callable[..., Verdict], check: Callable[..., Any], argument: Path
) -> None:
    run(damaged())
    changed = copy.deepcopy(ARGUMENT)
    changed["claim"]["children"][0]["leaf"]["margin"] = 0.5
    argument.write_text(yaml.safe_dump(changed))
    with pytest.raises(TamperedError, match="The specification has the identity"):
        check(damaged())


def test_saved_verdicts_hold_all_that_a_recheck_needs(
    run: Callable[..., Verdict], tmp_path: Path, argument: Path, stories: Path
) -> None:
    verdict = run(damaged())
    report = verdict.save(tmp_path / "copy")
    assert report.name == "report.html"
    assert "defeated" in report.read_text().lower()
    found = recheck(
        tmp_path / "copy",
        tiny_base(),
        damaged(),
        P1,
        argument=argument,
        stories=stories,
        ledger=tmp_path / "ledger",
    )
    assert found.verdict.hash == verdict.hash
