"""The argument as one indented tree in inline SVG: twice, for wide screens and for phones."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from tinyalign.report.marks import glyph, look
from tinyalign.report.markup import Html, each, fragment, tag
from tinyalign.report.number_line import estimate_words, ground, interval, requirement, scale_of
from tinyalign.report.numbers import number, unit_words
from tinyalign.report.reading import Node

_LINE = 20.0
_GLYPH = 22.0
COMBINED = {
    "and": "all of these must hold",
    "or": "one of these must hold",
    "chain": "these are added up",
}


@dataclass(frozen=True)
class Format:
    """Sizes of one drawing in pixels: `column` is where the small number lines begin (None: without them)."""

    name: str
    width: float
    indent: float
    font: float
    column: float | None

    @property
    def character(self) -> float:
        """The width to allow for a character of the text: an upper estimate for system fonts."""
        return self.font * 0.545


WIDE = Format("wide", 880.0, 30.0, 15.0, 640.0)
NARROW = Format("narrow", 352.0, 13.0, 14.0, None)


@dataclass(frozen=True)
class _Row:
    node: Node
    depth: int
    top: float
    lines: tuple[str, ...]
    notes: tuple[str, ...]
    parent: int | None

    least: float

    @property
    def bottom(self) -> float:
        return self.top + max(self.least, _LINE * (len(self.lines) + len(self.notes)) + 9.0)

    @property
    def middle(self) -> float:
        return self.top + _GLYPH / 2


def tree(root: Node, form: Format) -> Html:
    """The tree under `root`; leaves, assumptions and defeaters link to their place on the page."""
    rows = _rows(root, form)
    return tag(
        "svg",
        each(_branch(row, rows, form) for row in rows),
        each(_drawn(row, form) for row in rows),
        class_=f"tree {form.name}",
        viewBox=f"0 0 {form.width:.0f} {rows[-1].bottom:.0f}",
        font_size=form.font,
        role="group",
        aria_label="The argument as a tree: each claim with what supports it, indented below it",
    )


def combined(node: Node) -> str:
    """How a claim follows from its children, in words; "" for other nodes."""
    words = COMBINED.get(node.combine, node.combine) if node.kind == "claim" else ""
    if words and node.margin is not None:
        words += f", needs ≤ {number(node.margin, node.unit)}{unit_words(node.unit)}"
    return words


def _left(depth: int, form: Format) -> float:
    # A very deep tree is no longer indented, so that half of the width is left for words.
    return min(depth * form.indent, form.width / 2)


def _rows(root: Node, form: Format) -> list[_Row]:
    rows: list[_Row] = []

    def add(node: Node, depth: int, parent: int | None) -> None:
        top = rows[-1].bottom if rows else 1.0
        right = form.column - 16 if form.column and node.kind == "leaf" else form.width
        room = int((right - _left(depth, form) - _GLYPH - 10) / form.character)
        lines = textwrap.wrap(f"{node.id} {node.text}", room) or [node.id]
        notes = [note for note in (_note(node, form),) if note]
        least = 42.0 if form.column and node.result and node.result.estimate is not None else 30.0
        rows.append(
            _Row(
                node,
                depth,
                top,
                tuple(lines),
                tuple(w for n in notes for w in textwrap.wrap(n, room)),
                parent,
                least,
            )
        )
        own = len(rows) - 1
        for child in node.children:
            add(child, depth + 1, own)

    add(root, 0, None)
    return rows


def _note(node: Node, form: Format) -> str:
    """The small second line: how a claim combines, how a doubt stands, what a leaf found."""
    if node.kind == "claim":
        return combined(node)
    if node.kind == "defeater":
        return f"doubt: {look(node.status).word}" + (
            f" by {node.closed_by}" if node.status == "closed" else ""
        )
    if node.kind == "assumption":
        return "assumption"
    if node.result is None:
        return look(node.status).word
    if form.column is not None:
        return ""
    found, needs = estimate_words(node.result), requirement(node.result, unit=False)
    return " · ".join(part for part in (found, f"needs {needs}" if needs else "") if part)


def _branch(row: _Row, rows: list[_Row], form: Format) -> Html | None:
    if row.parent is None:
        return None
    above = rows[row.parent]
    x, left = _left(above.depth, form) + _GLYPH / 2, _left(row.depth, form)
    return tag("path", class_="branch", d=f"M{x:.1f} {above.top + _GLYPH:.1f}V{row.middle:.1f}H{left:.1f}")


def _drawn(row: _Row, form: Format) -> Html:
    node, left = row.node, _left(row.depth, form)
    mark = tag("g", glyph(node.kind, node.status), transform=f"translate({left:.1f} {row.top:.1f})")
    x = left + _GLYPH + 8
    first = row.top + form.font + 1
    words = [
        tag("tspan", node.id, class_="id"),
        fragment(" ", row.lines[0][len(node.id) :].strip()),
    ]
    if not row.lines[0].startswith(node.id):
        words = [fragment(row.lines[0])]
    spans = [tag("tspan", *words, x=x, y=first)]
    spans += [tag("tspan", line, x=x, y=first + at * _LINE) for at, line in enumerate(row.lines[1:], 1)]
    name = tag("text", fragment(*spans, between=" "), class_="name")
    under = first + len(row.lines) * _LINE
    notes = [
        tag("text", note, class_="how", x=x, y=under + at * _LINE, font_size=form.font - 1)
        for at, note in enumerate(row.notes)
    ]
    hit = tag(
        "rect",
        class_="hit",
        x=left,
        y=row.top - 2,
        width=form.width - left - 1,
        height=row.bottom - row.top - 4,
        rx=4,
    )
    drawn = fragment(hit, mark, name, *notes, _small_line(row, form))
    status = f"{node.kind} {node.id}, {look(node.status).word}: {node.text}"
    if node.kind == "claim":
        return tag("g", tag("title", status), drawn)
    return tag("a", tag("title", status), drawn, href=f"#{node.anchor}", aria_label=status)


def _small_line(row: _Row, form: Format) -> Html | None:
    result = row.node.result
    if form.column is None or result is None:
        return None
    if result.estimate is None or result.margin is None or not result.direction:
        return tag(
            "text", look(row.node.status).word, class_="how", x=form.column, y=row.top + 15, font_size=13
        )
    scale = scale_of(result, form.column, form.width - 4)
    found = f"{estimate_words(result, unit=False)}, needs {requirement(result, unit=False)}"
    shown = textwrap.shorten(found, 40, placeholder="…")
    return fragment(
        ground(result, scale, row.top - 1, 16.0),
        interval(result, scale, row.top + 7, 4.0),
        tag("text", shown, class_="how", x=form.column, y=row.top + 29, font_size=12),
    )


def legend() -> Html:
    """What the shapes and signs mean, as a list."""
    shapes = [
        ("claim", "claim"),
        ("leaf", "leaf, run as a test"),
        ("assumption", "assumption"),
        ("defeater", "doubt"),
    ]
    signs = ["established", "defeated", "not established"]

    def entry(kind: str, status: str, words: str) -> Html:
        drawing = tag(
            "svg", glyph(kind, status), viewBox="0 0 22 22", width=18, height=18, aria_hidden="true"
        )
        return tag("li", drawing, words)

    return tag(
        "ul",
        each(entry(kind, "assumed", words) for kind, words in shapes),
        each(entry("leaf", status, f"{look(status).word}") for status in signs),
        class_="legend",
    )
