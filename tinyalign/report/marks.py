"""How a status looks: a word, a sign, a colour class; and a shape for each kind of node."""

from __future__ import annotations

from dataclasses import dataclass

from tinyalign.report.markup import Html, fragment, tag


@dataclass(frozen=True)
class Look:
    """One status: `css` names its colours in the style sheet, `sign` is its character in plain text."""

    css: str
    sign: str
    word: str


_GOOD, _BAD, _OPEN, _NEUTRAL = "good", "bad", "open", "neutral"
_LOOKS = {
    "established": Look(_GOOD, "✓", "established"),
    "not raised": Look(_GOOD, "✓", "not raised"),
    "closed": Look(_GOOD, "✓", "closed"),
    "defeated": Look(_BAD, "✗", "defeated"),
    "defeats": Look(_BAD, "✗", "confirmed"),
    "not established": Look(_OPEN, "?", "not established"),
    "open": Look(_OPEN, "?", "open"),
    "not run": Look(_OPEN, "?", "not run"),
    "assumed": Look(_NEUTRAL, "•", "assumed"),
}
# The paths of the signs, on a field of 22 x 22: drawn, so that no font can lack them.
_PATHS = {
    _GOOD: "M6 11.5l3.4 3.4L16 7.6",
    _BAD: "M7 7l8 8M15 7l-8 8",
    _OPEN: "M8 8.6c0-3.8 6-3.8 6 0 0 2.2-3 2.2-3 4.6M11 16v.4",
    _NEUTRAL: "M11 10.9v.2",
}
_SHAPES = {
    "claim": ("rect", {"x": 1.0, "y": 1.0, "width": 20.0, "height": 20.0, "rx": 4.0}),
    "leaf": ("circle", {"cx": 11.0, "cy": 11.0, "r": 10.0}),
    "assumption": ("ellipse", {"cx": 11.0, "cy": 11.0, "rx": 10.0, "ry": 7.0}),
    "defeater": ("path", {"d": "M11 .5L21.5 11 11 21.5.5 11z"}),
}


def look(status: str) -> Look:
    """The look of a status; one this page does not know keeps its own word and is marked as neutral."""
    return _LOOKS.get(status, Look(_NEUTRAL, "•", status))


def glyph(kind: str, status: str) -> Html:
    """The shape of a node's kind with the sign of its status, as SVG of 22 x 22, to go inside an <svg>."""
    shape, sizes = _SHAPES.get(kind, _SHAPES["claim"])
    css = look(status).css
    return fragment(
        tag(shape, class_=f"shape {css}", **sizes), tag("path", class_=f"sign {css}", d=_PATHS[css])
    )


def icon(kind: str, status: str, size: int = 22) -> Html:
    """`glyph` as an image of its own; the word beside it says the status, so it is hidden from readers."""
    return tag(
        "svg", glyph(kind, status), class_="icon", viewBox="0 0 22 22", width=size, height=size,
        aria_hidden="true", focusable="false",
    )  # fmt: skip


def badge(status: str) -> Html:
    """The status as a small coloured word with its sign."""
    shown = look(status)
    return tag("span", f"{shown.sign} {shown.word}", class_=f"badge {shown.css}")
