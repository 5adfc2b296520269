"""The argument's tree: claims, assumptions and defeaters over leaves, and how their verdicts combine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tinyalign.common.errors import DataError
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.results import LeafResult, Status

Combine = Literal["and", "or", "chain"]
COMBINE: tuple[Combine, ...] = get_args(Combine)

DefeaterStatus = Literal["not raised", "closed", "open", "defeats"]


@dataclass(frozen=True)
class Assumption:
    """Something that the argument rests on and nobody tests."""

    id: str
    text: str

    def __post_init__(self) -> None:
        if not self.id or not self.text:
            raise DataError(f"An assumption needs an id and a text, found {self.id!r}.")


@dataclass(frozen=True)
class Defeater:
    """A doubt that an attack may raise against its parent claim. It can only take confidence away.

    `attack` is the leaf that searches for counterexamples; while it finds none ("established": no hit in its
    n attempts) the doubt is "not raised" and the parent is as before. Where it hits: with `closed_by`, the id
    of a leaf that measures a rate on the same family of prompts, the defeater is "closed" if that leaf is
    established, "defeats" the parent if that leaf is defeated, and is "open" otherwise, which leaves the
    parent "not established". Without `closed_by` the parent is a "for all", and one hit "defeats" it.
    """

    id: str
    text: str
    attack: Leaf
    closed_by: str | None = None

    def __post_init__(self) -> None:
        if not self.id or not self.text:
            raise DataError(f"A defeater needs an id and a text, found {self.id!r}.")

    def status(self, results: Mapping[str, LeafResult]) -> DefeaterStatus:
        """What has become of the doubt."""
        attack = results[self.attack.id].status
        if attack == "established":
            return "not raised"
        if attack == "not established":
            # The attack was cut short: nobody has looked as hard as the argument says.
            return "open"
        if self.closed_by is None:
            return "defeats"
        closing: Mapping[Status, DefeaterStatus] = {"established": "closed", "defeated": "defeats"}
        return closing.get(results[self.closed_by].status, "open")


@dataclass(frozen=True)
class Claim:
    """A sentence and what it follows from.

    `combine`: "and", every child holds, each leaf tested at the full alpha (the union of the nulls needs no
    correction: Berger 1982); "or", at least one does, shown by the mean of the children's e-values where all
    have one (Vovk and Wang 2021), otherwise each is tested at alpha / k; "chain", the upper ends of the
    children's intervals, each at alpha / k, add up to at most `margin` (k counts the leaves below;
    assumptions and defeaters are not counted). The children of "or" and "chain" are no claims.
    """

    id: str
    text: str
    combine: Combine
    children: tuple[Node, ...]
    margin: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.id or not self.text:
            raise DataError(f"A claim needs an id and a text, found {self.id!r}.")
        if not self.supports:
            raise DataError(f"The claim {self.id!r} has nothing below it that could support it: add a leaf.")
        if self.combine != "and" and any(isinstance(child, Claim) for child in self.children):
            raise DataError(f"The claim {self.id!r} combines by {self.combine!r}, which takes leaves only.")
        if (self.margin is None) != (self.combine != "chain"):
            raise DataError(
                f"The claim {self.id!r} combines by {self.combine!r}: a chain has a margin, the others none."
            )

    @property
    def supports(self) -> tuple[Claim | Leaf, ...]:
        """The children that can support the claim."""
        return tuple(child for child in self.children if isinstance(child, (Claim, Leaf)))

    @property
    def defeaters(self) -> tuple[Defeater, ...]:
        """The doubts raised against this claim."""
        return tuple(child for child in self.children if isinstance(child, Defeater))


Node = Claim | Leaf | Assumption | Defeater


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first, in the order of the template."""
    yield node
    if isinstance(node, Claim):
        for child in node.children:
            yield from walk(child)
    elif isinstance(node, Defeater):
        yield node.attack


def leaves(root: Node) -> tuple[Leaf, ...]:
    """All leaves in order, the defeaters' attacks among them."""
    return tuple(node for node in walk(root) if isinstance(node, Leaf))


def check_tree(root: Claim) -> None:
    """Raise `DataError` for an id used twice, or a defeater closed by a leaf that isn't there."""
    seen: set[str] = set()
    for node in walk(root):
        if node.id in seen:
            raise DataError(f"The id {node.id!r} is used twice in the argument: every node needs its own.")
        seen.add(node.id)
    ids = {leaf.id for leaf in leaves(root)}
    for node in walk(root):
        if isinstance(node, Defeater) and node.closed_by is not None and node.closed_by not in ids:
            raise DataError(f"The defeater {node.id!r} is closed by {node.closed_by!r}, which is no leaf.")


def leaf_alphas(root: Claim, alpha: float) -> dict[str, float]:
    """The error each leaf may spend so that the top claim is wrongly established with at most `alpha`."""
    found: dict[str, float] = {}

    def descend(claim: Claim, share: float) -> None:
        own = share if claim.combine == "and" else share / len(claim.supports)
        for child in claim.children:
            if isinstance(child, Claim):
                descend(child, own)
            elif isinstance(child, Leaf):
                found[child.id] = own
            elif isinstance(child, Defeater):
                found[child.attack.id] = share

    descend(root, alpha)
    return found


def claim_status(claim: Claim, results: Mapping[str, LeafResult], alpha: float) -> Status:
    """The verdict on a claim, from its leaves' results (which were concluded at `leaf_alphas`).

    `alpha` is the root's; only an "or" of e-values reads it. Monotone: a child that gets better never makes
    the claim worse.
    """
    doubts = {defeater.status(results) for defeater in claim.defeaters}
    if "defeats" in doubts:
        return "defeated"
    below: list[Status] = [
        claim_status(child, results, alpha) if isinstance(child, Claim) else results[child.id].status
        for child in claim.supports
    ]
    status = _combined(claim, below, results, alpha)
    return "not established" if status == "established" and "open" in doubts else status


def obstacles(
    claim: Claim, results: Mapping[str, LeafResult], alpha: float, status: Status
) -> list[Claim | Leaf | Defeater]:
    """What keeps the claim at `status` ("defeated" or "not established"): leaves, whole claims or doubts.

    Below an "and" the children of that status, down to their leaves; an "or" or a chain stands for itself.
    What does not count (an attack whose doubt is closed, a link of a chain that holds) is left out.
    """
    found: list[Claim | Leaf | Defeater] = []
    for child in claim.children:
        if isinstance(child, Leaf) and results[child.id].status == status:
            found.append(child)
        elif isinstance(child, Claim) and claim_status(child, results, alpha) == status:
            found += obstacles(child, results, alpha, status) if child.combine == "and" else [child]
        elif isinstance(child, Defeater):
            wanted = "defeats" if status == "defeated" else "open"
            found += [child] if child.status(results) == wanted else []
    return found


def _combined(claim: Claim, below: list[Status], results: Mapping[str, LeafResult], alpha: float) -> Status:
    if claim.combine == "and":
        if "defeated" in below:
            return "defeated"
        return "established" if all(one == "established" for one in below) else "not established"
    own = [results[child.id] for child in claim.supports]
    if claim.combine == "chain":
        return _chain(claim, own)
    if all(one == "defeated" for one in below):
        return "defeated"
    e_values = [one.e_value for one in own if one.e_value is not None]
    if len(e_values) == len(own):
        # Mean of e-values: an e-value whatever their dependence. It replaces the split of alpha.
        return "established" if math.fsum(e_values) / len(e_values) >= 1 / alpha else "not established"
    return "established" if "established" in below else "not established"


def _chain(claim: Claim, own: list[LeafResult]) -> Status:
    """Whether the upper ends add up to at most the margin; defeated where the lower ends exceed it."""
    assert claim.margin is not None
    if any(one.low is None or one.high is None or not one.complete for one in own):
        return "not established"
    high = math.fsum(one.high for one in own if one.high is not None)
    low = math.fsum(one.low for one in own if one.low is not None)
    if high <= claim.margin:
        return "established"
    return "defeated" if low > claim.margin else "not established"


def tree_json(node: Node, results: Mapping[str, LeafResult], alpha: float) -> dict[str, Any]:
    """The node with its verdict and everything below it, as the report reads it."""
    made: dict[str, Any] = {"id": node.id, "combine": None, "children": [], "result": None}
    if isinstance(node, Claim):
        made |= {
            "kind": "claim",
            "text": node.text,
            "combine": node.combine,
            "margin": node.margin,
            "unit": node.unit,
            "status": claim_status(node, results, alpha),
            "children": [tree_json(child, results, alpha) for child in node.children],
        }
    elif isinstance(node, Leaf):
        result = results[node.id]
        made |= {"kind": "leaf", "text": node.claim, "status": result.status, "result": result.to_json()}
    elif isinstance(node, Defeater):
        made |= {
            "kind": "defeater",
            "text": node.text,
            "status": node.status(results),
            "closed_by": node.closed_by,
            "children": [tree_json(node.attack, results, alpha)],
        }
    else:
        made |= {"kind": "assumption", "text": node.text, "status": "assumed"}
    return made
