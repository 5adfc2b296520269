"""Whole verifications on a tiny model: verdicts, kill and resume, budgets, plans, input refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.verification.cases import ARGUMENT, damaged
from tests.verification.models import edited, tiny_base
from tinyalign.common.errors import InputError, UnknownNameError
from tinyalign.properties import get
from tinyalign.verification import Budget, Verdict, verify
from tinyalign.verification.leaves import NeutralDamage
from tinyalign.verification.planning import plan
from tinyalign.verification.preparing import prepare
from tinyalign.verification.running import RunBrokeError
from tinyalign.verification.verdict import nodes, verdict_hash

P1 = get("P1")


def test_an_edit_that_does_nothing_and_one_that_damages(run: Callable[..., Verdict], tmp_path: Path) -> None:
    fine = run(edited(tiny_base()))
    assert (fine.status, fine.exit_code) == ("established", 0)
    assert fine.sentence.startswith("Established: obeys-prohibition: nothing is damaged.")
    bad = run(damaged(), "bad")
    assert (bad.status, bad.exit_code) == ("defeated", 1)
    assert "1-loss (neutral-damage)" in bad.sentence
    assert bad.results["1-loss"]["status"] == "defeated"
    content = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert content == fine.to_json()
    assert content["hash"] == verdict_hash(content)
    assert [node["kind"] for node in nodes(content["tree"])] == ["claim", "leaf", "leaf", "assumption"]
    assert content["seal"]["attempt"] == 1
    assert bad.to_json()["seal"]["attempt"] == 2
    assert bad.to_json()["seal"]["alpha"] == pytest.approx(0.05 / 6)
    assert content["rows"] == {"1-loss": 40, "2-stories": 10}
    first = content["stories"][0]
    assert first["before"] == first["after"]
    assert len(content["stories"]) == 4


def test_the_seed_follows_from_what_is_verified(run: Callable[..., Verdict], argument: Path) -> None:
    one = run(edited(tiny_base()))
    other = run(damaged(), "other")
    again = run(edited(tiny_base()), "again")
    assert one.content["seal"]["seed"] == again.content["seal"]["seed"]
    assert one.content["seal"]["seed"] != other.content["seal"]["seed"]
    assert one.hash == again.hash
    changed = copy.deepcopy(ARGUMENT)
    changed["claim"]["children"][0]["leaf"]["margin"] = 0.03
    argument.write_text(yaml.safe_dump(changed))
    assert run(edited(tiny_base()), "changed").content["seal"]["seed"] != one.content["seal"]["seed"]


class Killed(BaseException):
    """Stands for a signal in the middle of a run."""


@pytest.mark.parametrize("after_steps", [1, 2, 3])
def test_killed_and_resumed_ends_in_the_same_hash(
    run: Callable[..., Verdict], tmp_path: Path, after_steps: int
) -> None:
    whole = run(damaged(), "whole")
    steps = 0

    def kill(leaf: str, done: int, planned: int) -> None:
        nonlocal steps
        steps += 1
        if steps == after_steps:
            raise Killed

    with pytest.raises(Killed):
        run(damaged(), progress=kill)
    rows = tmp_path / "run" / "results" / "1-loss.jsonl"
    with rows.open("a") as opened:
        opened.write('{"i": 16, "ro')
    assert run(damaged()).hash == whole.hash
    # Where all rows were there already nothing is written, and the half line stays unread.
    kept = rows.read_bytes().removesuffix(b'{"i": 16, "ro')
    assert kept == (tmp_path / "whole" / "results" / "1-loss.jsonl").read_bytes()


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_any_chunk_gives_the_same_bytes(run: Callable[..., Verdict], tmp_path: Path, chunk: int) -> None:
    whole = run(damaged(), "whole")
    assert run(damaged(), chunk=chunk).hash == whole.hash
    for name in ("1-loss", "2-stories"):
        one, other = (tmp_path / where / "results" / f"{name}.jsonl" for where in ("run", "whole"))
        assert one.read_bytes() == other.read_bytes()


def test_a_budget_that_is_too_small_establishes_nothing_and_can_be_raised(
    run: Callable[..., Verdict],
) -> None:
    short = run(edited(tiny_base()), budget=Budget(samples=20))
    assert (short.status, short.exit_code) == ("not established", 3)
    assert "the budget ran out" in short.sentence
    assert short.results["1-loss"]["n"] == 20
    assert short.results["1-loss"]["complete"] is False
    assert short.results["2-stories"]["n"] == 0
    assert run(edited(tiny_base()), budget=Budget(seconds=0)).exit_code == 3
    full = run(edited(tiny_base()))
    assert full.exit_code == 0
    assert full.hash == run(edited(tiny_base()), "fresh").hash


def test_fail_fast_leaves_the_rest_unmeasured(run: Callable[..., Verdict]) -> None:
    found = run(damaged(), fail_fast=True)
    assert found.exit_code == 1
    assert found.results["2-stories"]["status"] == "not established"
    assert found.results["2-stories"]["n"] == 0


def test_budgets_as_they_are_written() -> None:
    assert Budget.parse("90") == Budget.parse("90s") == Budget(seconds=90.0)
    assert Budget.parse("5000samples") == Budget(samples=5000)
    for text in ("", "ten", "-3", "1.5samples", "nan"):
        with pytest.raises(InputError, match="A budget is written"):
            Budget.parse(text)


def test_a_run_that_breaks_says_where(run: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> list[Any]:
        raise RuntimeError("out of something")

    monkeypatch.setattr(NeutralDamage, "_measure", broken)
    with pytest.raises(RunBrokeError, match=r"leaf '1-loss' .* samples 0-15: RuntimeError: out of something"):
        run(edited(tiny_base()))


def test_one_folder_holds_one_run(run: Callable[..., Verdict]) -> None:
    run(damaged())
    with pytest.raises(InputError, match="belong to another run"):
        run(edited(tiny_base()))


def test_input_that_does_not_go_together(run: Callable[..., Verdict]) -> None:
    base = tiny_base()
    with pytest.raises(UnknownNameError, match="logit pair"):
        verify(base, base, P1, pair="acting")
    changed = edited(base)
    changed.network.get_parameter("lm_head.weight").data[0] += 1
    with pytest.raises(InputError, match="changed in place"):
        run(changed)
    with pytest.raises(InputError, match=r"P1 .* is not present in base"):
        verify(base, edited(base), P1, argument="preservation")


def test_a_plan_measures_outside_the_sealed_stream(argument: Path, stories: Path) -> None:
    base = tiny_base()
    case = prepare(base, edited(base), P1, pair="action", argument=argument, stories=stories)
    found = plan(case)
    assert [one.samples for one in found] == [40, 10]
    assert all(one.alpha == 0.025 and one.seconds > 0 for one in found)
