"""Combination of verdicts: invariants over random trees, and the rules of each kind of claim."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyalign.common.errors import DataError
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.results import STATUSES, LeafResult, Row, Status
from tinyalign.verification.tree import (
    Assumption,
    Claim,
    Combine,
    Defeater,
    Node,
    check_tree,
    claim_status,
    leaf_alphas,
    leaves,
    obstacles,
    tree_json,
)

ORDER: Mapping[Status, int] = {"defeated": 0, "not established": 1, "established": 2}


@dataclass(frozen=True, kw_only=True)
class Named(Leaf):
    """A leaf that is never measured."""

    kind: ClassVar[str] = "named"

    def planned(self, context: Context) -> int:
        return 1

    def measure(self, context: Context, indices: range) -> list[Row]:
        raise AssertionError("no leaf is measured here")

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        raise AssertionError("no leaf is concluded here")


def leaf(name: str) -> Named:
    return Named(id=name, claim=f"claim of {name}")


def result(name: str, status: Status, **numbers: Any) -> LeafResult:
    return LeafResult(id=name, kind="named", claim="c", status=status, summary="s", **numbers)


def claim(combine: Combine, *children: Node, name: str = "top", margin: float | None = None) -> Claim:
    return Claim(name, "a claim", combine, children, margin)


trees = st.recursive(
    st.just("leaf"), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8
).filter(lambda tree: isinstance(tree, list))


def build(shape: Any, names: Any) -> Node:
    name = next(names)
    if shape == "leaf":
        return leaf(f"n{name}")
    return Claim(f"n{name}", "a claim", "and", tuple(build(one, names) for one in shape))


def as_tree(shape: Any) -> Claim:
    made = build(shape, itertools.count())
    assert isinstance(made, Claim)
    return made


@given(trees, st.data())
def test_and_takes_the_worst_leaf_however_it_is_nested(shape: Any, data: st.DataObject) -> None:
    root = as_tree(shape)
    given_: dict[str, Status] = {one.id: data.draw(st.sampled_from(STATUSES)) for one in leaves(root)}
    found = claim_status(root, {name: result(name, status) for name, status in given_.items()}, 0.05)
    assert found == min(given_.values(), key=ORDER.__getitem__)


@given(trees, st.data())
def test_a_leaf_that_gets_better_never_makes_the_claim_worse(shape: Any, data: st.DataObject) -> None:
    root = as_tree(shape)
    given_: dict[str, Status] = {one.id: data.draw(st.sampled_from(STATUSES)) for one in leaves(root)}
    results = {name: result(name, status) for name, status in given_.items()}
    before = claim_status(root, results, 0.05)
    name = data.draw(st.sampled_from(sorted(given_)))
    after = claim_status(root, {**results, name: result(name, "established")}, 0.05)
    assert ORDER[after] >= ORDER[before]


@given(trees, st.floats(0.001, 0.2))
def test_every_leaf_of_a_conjunction_has_the_whole_error(shape: Any, alpha: float) -> None:
    assert set(leaf_alphas(as_tree(shape), alpha).values()) == {alpha}


@given(st.integers(1, 6), st.sampled_from(["or", "chain"]), st.floats(0.001, 0.2))
def test_or_and_chain_split_the_error(count: int, combine: Combine, alpha: float) -> None:
    own = tuple(leaf(f"l{i}") for i in range(count))
    inner = claim(combine, *own, Assumption("a", "t"), name="in", margin=1.0 if combine == "chain" else None)
    root = claim("and", leaf("other"), inner)
    found = leaf_alphas(root, alpha)
    assert found["other"] == alpha
    assert sum(found[one.id] for one in own) == pytest.approx(alpha)


def test_or_by_statuses() -> None:
    root = claim("or", leaf("a"), leaf("b"))
    verdicts = {
        pair: claim_status(root, {n: result(n, s) for n, s in zip("ab", pair, strict=True)}, 0.05)
        for pair in itertools.product(STATUSES, repeat=2)
    }
    assert verdicts["defeated", "established"] == "established"
    assert verdicts["defeated", "not established"] == "not established"
    assert verdicts["defeated", "defeated"] == "defeated"


def test_or_of_e_values_takes_their_mean() -> None:
    root = claim("or", leaf("a"), leaf("b"))

    def status(first: float, second: float) -> Status:
        found = {"a": first, "b": second}
        return claim_status(
            root, {n: result(n, "not established", e_value=e) for n, e in found.items()}, 0.05
        )

    assert status(39.0, 1.0) == "established"
    assert status(38.0, 1.0) == "not established"
    # One large e-value that its own leaf calls established still has to carry the mean.
    alone = {"a": result("a", "established", e_value=25.0), "b": result("b", "not established", e_value=1.0)}
    assert claim_status(root, alone, 0.05) == "not established"


def test_chain_adds_upper_ends() -> None:
    root = claim("chain", leaf("a"), leaf("b"), margin=0.2)

    def status(high: float, low: float = 0.0, complete: bool = True) -> Status:
        first = result("a", "established", estimate=low, low=low, high=high, complete=complete)
        second = result("b", "established", estimate=0.05, low=0.05, high=0.1)
        return claim_status(root, {"a": first, "b": second}, 0.05)

    assert status(0.1) == "established"
    assert status(0.11) == "not established"
    assert status(0.3, low=0.16) == "defeated"
    assert status(0.1, complete=False) == "not established"
    nothing = {"a": result("a", "established"), "b": result("b", "established")}
    assert claim_status(root, nothing, 0.05) == "not established"


@pytest.mark.parametrize(
    ("attack", "closing", "doubt", "status"),
    [
        ("established", "not established", "not raised", "not established"),
        ("established", "established", "not raised", "established"),
        ("defeated", "established", "closed", "established"),
        ("defeated", "not established", "open", "not established"),
        ("defeated", "defeated", "defeats", "defeated"),
        ("not established", "established", "open", "not established"),
    ],
)
def test_a_doubt_is_closed_only_by_a_measured_rate(
    attack: Status, closing: Status, doubt: str, status: Status
) -> None:
    defeater = Defeater("d", "a doubt", leaf("attack"), "closing")
    root = claim("and", leaf("closing"), defeater)
    results = {"attack": result("attack", attack), "closing": result("closing", closing)}
    assert defeater.status(results) == doubt
    assert claim_status(root, results, 0.05) == status


def test_an_attack_never_adds_confidence_and_one_hit_defeats_a_for_all() -> None:
    root = claim("and", leaf("own"), Defeater("d", "a doubt", leaf("attack")))
    for own, attack in itertools.product(STATUSES, repeat=2):
        results = {"own": result("own", own), "attack": result("attack", attack)}
        found = claim_status(root, results, 0.05)
        assert ORDER[found] <= ORDER[own]
        if attack == "defeated":
            assert found == "defeated"


def test_the_document_holds_every_node() -> None:
    root = claim("and", leaf("a"), Assumption("s", "assumed"), Defeater("d", "doubt", leaf("x"), "a"))
    results = {name: result(name, "established") for name in ("a", "x")}
    found = tree_json(root, results, 0.05)
    assert [child["kind"] for child in found["children"]] == ["leaf", "assumption", "defeater"]
    assert found["children"][1]["status"] == "assumed"
    assert found["children"][2]["status"] == "not raised"
    assert found["children"][2]["children"][0]["result"]["id"] == "x"
    assert found["status"] == "established"


def test_obstacles_are_what_counts() -> None:
    chain = claim("chain", leaf("link"), name="sum", margin=0.5)
    inner = claim("and", leaf("a"), leaf("b"), name="inner")
    root = claim("and", inner, chain, Defeater("doubt", "t", leaf("attack"), "a"), leaf("c"))
    link = result("link", "defeated", estimate=0.1, low=0.1, high=0.2)
    results = {
        **{name: result(name, "established") for name in "abc"},
        "link": link,
        "attack": result("attack", "defeated"),
    }

    def ids(status: Status) -> list[str]:
        return [one.id for one in obstacles(root, results, 0.05, status)]

    assert claim_status(root, results, 0.05) == "established"
    assert ids("defeated") == ids("not established") == []
    results |= {"a": result("a", "not established"), "b": result("b", "defeated")}
    assert ids("defeated") == ["b"]
    assert ids("not established") == ["doubt"]
    results |= {"a": result("a", "defeated"), "link": replace(link, low=0.6, estimate=0.7, high=0.8)}
    assert ids("defeated") == ["a", "b", "sum", "doubt"]


@pytest.mark.parametrize(
    ("root", "words"),
    [
        (claim("and", leaf("a"), leaf("a")), "used twice"),
        (claim("and", leaf("a"), Defeater("d", "t", leaf("x"), "nowhere")), "no leaf"),
    ],
)
def test_trees_that_name_wrongly(root: Claim, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_tree(root)


def test_claims_that_cannot_be() -> None:
    with pytest.raises(DataError, match="nothing below"):
        claim("and", Assumption("a", "t"))
    with pytest.raises(DataError, match="leaves only"):
        claim("or", claim("and", leaf("a"), name="in"))
    with pytest.raises(DataError, match="a chain has a margin"):
        claim("chain", leaf("a"))
    with pytest.raises(DataError, match="a chain has a margin"):
        claim("and", leaf("a"), margin=0.5)
