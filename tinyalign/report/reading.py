"""A verdict read for showing: the mapping of verdict.json, checked, with names instead of keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tinyalign.report.fields import Fields

FORMAT = "tinyalign-verdict-1"
VERDICTS = ("established", "defeated", "not established")


@dataclass(frozen=True)
class Counterexample:
    """What broke a claim: the two texts, and the span of `after` (None: all of it) that decides."""

    prompt: str
    before: str
    after: str
    span: tuple[int, int] | None
    why: str
    shrunk: str | None
    attacker: str | None


@dataclass(frozen=True)
class Result:
    """One leaf's result. Numbers that a leaf does not have are None; `details` holds those for figures."""

    kind: str
    claim: str
    status: str
    estimate: float | None
    low: float | None
    high: float | None
    margin: float | None
    direction: str
    unit: str
    alpha: float | None
    n: int | None
    p_value: float | None
    e_value: float | None
    complete: bool
    summary: str
    details: Mapping[str, object]
    counterexamples: tuple[Counterexample, ...]


@dataclass(frozen=True)
class Node:
    """A node of the argument. `anchor` is its own id on the page; `margin` that of a numeric chain."""

    kind: str
    id: str
    text: str
    combine: str
    status: str
    margin: float | None
    unit: str
    closed_by: str
    anchor: str
    children: tuple[Node, ...]
    result: Result | None

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in reading order."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class Story:
    """Two continuations of one prompt under the same random numbers, with the text checker's verdicts."""

    prompt: str
    before: str
    after: str
    verdict_before: str
    verdict_after: str


@dataclass(frozen=True)
class Document:
    """A whole verdict; the fields that are only listed (`property`, `seal`, ...) stay mappings."""

    verdict: str
    exit_code: int
    sentence: str
    hash: str
    prop: Mapping[str, object]
    pair: Mapping[str, object]
    base: Mapping[str, object]
    edited: Mapping[str, object]
    edit: Mapping[str, object] | None
    localization: Mapping[str, object]
    argument: Mapping[str, object]
    preserved: tuple[str, ...]
    seal: Mapping[str, object]
    tree: Node
    stories: tuple[Story, ...]
    assumptions: tuple[str, ...]
    limits: tuple[str, ...]
    rerun: tuple[str, ...]
    started: str
    seconds: float | None
    leaves: tuple[Node, ...] = field(repr=False)

    @property
    def opening(self) -> str:
        """The first sentence of `sentence`, without the verdict's word before it."""
        return self._split()[0]

    @property
    def rest(self) -> str:
        """What follows the first sentence, "" where nothing does."""
        return self._split()[1]

    def _split(self) -> tuple[str, str]:
        first, dot, rest = self.sentence.partition(". ")
        word = f"{self.verdict}: "
        if first.lower().startswith(word):
            first = first[len(word) :]
        return first + dot.strip(), rest

    @property
    def supports(self) -> tuple[Node, ...]:
        """The leaves that support claims: all but the attacks of doubts."""
        attacks = {
            child.anchor for node in self.tree.walk() if node.kind == "defeater" for child in node.children
        }
        return tuple(leaf for leaf in self.leaves if leaf.anchor not in attacks)

    def against(self) -> tuple[Node, ...]:
        """The leaves and doubts that keep the top claim from being established, in reading order.

        Where some defeat it, those alone. What stands under a claim that holds is not in the way.
        """
        found = list(_failing(self.tree))
        defeating = [node for node in found if node.status in ("defeated", "defeats")]
        return tuple(defeating or found)


def _failing(node: Node) -> Iterator[Node]:
    if node.kind == "claim" and node.status != "established":
        for child in node.children:
            yield from _failing(child)
    elif (node.kind == "leaf" and node.status != "established") or (
        node.kind == "defeater" and node.status in ("open", "defeats")
    ):
        yield node


def read_verdict(verdict: Mapping[str, object]) -> Document:
    """The mapping of a verdict.json as a `Document`.

    Raises `InputError`, naming the place, for another format, a missing field, or a value of another kind.
    """
    fields = Fields("verdict", verdict)
    fields.one_of("format", (FORMAT,))
    tree = _node(fields.below("tree"), set())
    return Document(
        verdict=fields.one_of("verdict", VERDICTS),
        exit_code=fields.whole("exit_code"),
        sentence=fields.text("sentence"),
        hash=fields.text("hash"),
        prop=fields.mapping("property"),
        pair=fields.mapping("pair", optional=True),
        base=fields.mapping("base"),
        edited=fields.mapping("edited"),
        edit=fields.mapping("edit", optional=True) or None,
        localization=fields.mapping("localization", optional=True),
        argument=fields.mapping("argument", optional=True),
        preserved=fields.texts("preserved"),
        seal=fields.mapping("seal"),
        tree=tree,
        stories=tuple(
            Story(
                each.text("prompt"),
                each.text("before"),
                each.text("after"),
                each.words("verdict_before"),
                each.words("verdict_after"),
            )
            for each in fields.each("stories")
        ),
        assumptions=fields.texts("assumptions"),
        limits=fields.texts("limits"),
        rerun=fields.texts("rerun"),
        started=fields.words("started"),
        seconds=fields.number("seconds"),
        leaves=tuple(node for node in tree.walk() if node.kind == "leaf"),
    )


def _node(fields: Fields, used: set[str]) -> Node:
    kind = fields.one_of("kind", ("claim", "leaf", "assumption", "defeater"))
    name = fields.text("id")
    anchor = _anchor(f"{kind}-{name}", used)
    result = _result(fields.below("result")) if fields.has("result") else None
    unsaid = "assumed" if kind == "assumption" else "not run" if kind == "leaf" else "not established"
    return Node(
        kind=kind,
        id=name,
        text=fields.text("text"),
        combine=fields.words("combine"),
        status=fields.words("status") or (result.status if result else unsaid),
        margin=fields.number("margin"),
        unit=fields.words("unit"),
        closed_by=fields.words("closed_by"),
        anchor=anchor,
        children=tuple(_node(child, used) for child in fields.each("children")),
        result=result,
    )


def _anchor(wanted: str, used: set[str]) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")
    anchor, count = stem, 1
    while anchor in used:
        count += 1
        anchor = f"{stem}-{count}"
    used.add(anchor)
    return anchor


def _result(fields: Fields) -> Result:
    return Result(
        kind=fields.words("kind"),
        claim=fields.words("claim"),
        status=fields.text("status"),
        estimate=fields.number("estimate"),
        low=fields.number("low"),
        high=fields.number("high"),
        margin=fields.number("margin"),
        direction=fields.words("direction"),
        unit=fields.words("unit"),
        alpha=fields.number("alpha"),
        n=fields.whole("n") if fields.has("n") else None,
        p_value=fields.number("p_value"),
        e_value=fields.number("e_value"),
        complete=fields.get("complete") is not False,
        summary=fields.words("summary"),
        details=fields.mapping("details", optional=True),
        counterexamples=tuple(_counterexample(each) for each in fields.each("counterexamples")),
    )


def _counterexample(fields: Fields) -> Counterexample:
    return Counterexample(
        prompt=fields.words("prompt"),
        before=fields.words("before"),
        after=fields.words("after"),
        span=_span(fields),
        why=fields.words("why"),
        shrunk=fields.words("shrunk") or None,
        attacker=fields.words("attacker") or None,
    )


def _span(fields: Fields) -> tuple[int, int] | None:
    value = fields.get("span")
    if value is None:
        return None
    after = fields.words("after")
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, int) for end in value):
        start, end = value
        if 0 <= start <= end <= len(after):
            return (start, end)
    raise fields.error("span", value, f"a start and an end within the {len(after)} characters of `after`")
