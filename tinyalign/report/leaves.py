"""One section a leaf: claim, result, number line, facts, figures, counterexamples, all other numbers."""

from __future__ import annotations

from collections.abc import Mapping

from tinyalign.report.details import details_figures, figure_keys
from tinyalign.report.fields import Fields
from tinyalign.report.listing import facts, shown, table
from tinyalign.report.marks import badge, icon, look
from tinyalign.report.markup import Html, each, fragment, tag
from tinyalign.report.number_line import SIGNS, estimate_words, figure, requirement
from tinyalign.report.numbers import number, together, unit_words
from tinyalign.report.reading import Document, Node, Result
from tinyalign.report.stories import Room, counterexamples

# Where a leaf's details say what its rows were drawn from.
_DATA_KEYS = (
    "data",
    "prompts",
    "grammar_sha256",
    "split",
    "pair",
    "family",
    "sub_grammar",
    "stories",
    "audit",
)


def leaves(document: Document, room: Room) -> Html:
    """Every leaf in the order of the tree."""
    parents = {child.anchor: node for node in document.tree.walk() for child in node.children}
    return each(_leaf(leaf, parents.get(leaf.anchor), room) for leaf in document.leaves)


def _leaf(leaf: Node, parent: Node | None, room: Room) -> Html:
    result = leaf.result
    crumb = tag("p", _place(parent), class_="crumb") if parent else None
    heading = f"title-{leaf.anchor}"
    head = tag(
        "header",
        icon("leaf", leaf.status),
        tag("h3", f"{leaf.id} ", tag("span", leaf.text), " ", badge(leaf.status), id=heading),
        crumb,
    )
    body = tag("p", "This leaf was not run.") if result is None else _result(leaf, result, room)
    return tag(
        "article", head, body, class_=f"leaf {look(leaf.status).css}", id=leaf.anchor, aria_labelledby=heading
    )


def _place(parent: Node) -> str:
    if parent.kind != "defeater":
        return f"supports {parent.id}: {parent.text}"
    closed = f" by {parent.closed_by}" if parent.status == "closed" else ""
    return f"tests the doubt {parent.id}, {look(parent.status).word}{closed}: {parent.text}"


def _result(leaf: Node, result: Result, room: Room) -> Html:
    line = figure(result)
    drawn = tag("figure", line) if line else None
    numbers = _facts(result)
    main = tag("div", drawn, numbers, class_="split result") if drawn else numbers
    incomplete = None
    if not result.complete:
        incomplete = tag(
            "p", tag("strong", "Incomplete:"), " the budget ended before all samples were drawn."
        )
    figures = details_figures(result.details, result.unit, f"verdict.tree, leaf {leaf.id!r}, details")
    drawn_keys = {"clauses", *_DATA_KEYS, *figure_keys(result.details)}
    others = {key: value for key, value in result.details.items() if key not in drawn_keys}
    return fragment(
        tag("p", result.summary) if result.summary else None,
        incomplete,
        main,
        _clauses(leaf, result.details),
        tag(
            "div", *(tag("figure", image, tag("figcaption", words)) for words, image in figures),
            class_="split pair",
        ) if figures else None,
        counterexamples(result.counterexamples, room),
        tag("details", tag("summary", "All other numbers of this leaf"), table(others)) if others else None,
    )  # fmt: skip


def _facts(result: Result) -> Html:
    return facts(
        [
            ("Estimate", estimate_words(result) or "a yes-or-no check"),
            ("Needs", requirement(result)),
            ("Samples", number(float(result.n)) if result.n else None),
            ("Error allowed", _chance(result.alpha)),
            ("p-value", _chance(result.p_value)),
            ("e-value", number(result.e_value) if result.e_value is not None else None),
            ("Kind", result.kind),
            *_data(result.details),
        ]
    )


def _data(details: Mapping[str, object]) -> list[tuple[str, object]]:
    """One entry that says where the rows came from, in the order of `_DATA_KEYS`."""
    told = [
        tag("div", "" if key == "data" else f"{key.replace('_', ' ')}: ", shown(details[key]))
        for key in _DATA_KEYS
        if details.get(key) is not None
    ]
    return [("Data", each(told) if told else "this leaf's part of the sealed stream")]


def _clauses(leaf: Node, details: Mapping[str, object]) -> Html | None:
    """The parts of a leaf that claims several things at once, each with its sign, interval and margin."""
    found = Fields(f"verdict.tree, leaf {leaf.id!r}, details", details).each("clauses")
    if len(found) < 2:
        return None
    return tag("ul", each(_clause(one) for one in found), class_="clauses")


def _clause(fields: Fields) -> Html:
    holds, fails = fields.get("holds") is True, fields.get("fails") is True
    status = "established" if holds else "defeated" if fails else "not established"
    unit = fields.words("unit")
    *bounds, margin = together([fields.number(key) for key in ("estimate", "low", "high", "margin")], unit)
    sign = SIGNS.get(fields.words("direction"), fields.words("direction"))
    numbers = f"{bounds[0]} [{bounds[1]}, {bounds[2]}], needs {sign} {margin}{unit_words(unit)}"
    return tag("li", badge(status), f" {fields.text('name')}: ", tag("span", numbers, class_="muted"))


def _chance(value: float | None) -> str | None:
    if value is None:
        return None
    return "below 1e-6" if 0 <= value < 1e-6 else number(value, digits=2)
