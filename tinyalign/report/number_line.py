"""A margin against an interval on a number line: the one figure that every leaf has."""

from __future__ import annotations

import math
from dataclasses import replace

from tinyalign.report.marks import look
from tinyalign.report.markup import Html, each, fragment, tag
from tinyalign.report.numbers import is_share, number, together, unit_words
from tinyalign.report.reading import Result
from tinyalign.report.scale import Scale, spanning

SIGNS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">", "within": "within ±"}
_WIDTH, _EDGE = 360.0, 10.0
# Bold text of 12 pixels is at most about this wide a character; labels are kept within the drawing by it.
_CHARACTER = 7.6


def requirement(result: Result, *, unit: bool = True) -> str:
    """What the margin asks for, as "≤ 5%"; "" where there is no margin."""
    if result.margin is None or not result.direction:
        return ""
    _, margin = _bounds_and_margin(result)
    return (
        f"{SIGNS.get(result.direction, result.direction)} {margin}{unit_words(result.unit) if unit else ''}"
    )


def estimate_words(result: Result, *, unit: bool = True) -> str:
    """The estimate with its interval, as "2.1% [1.2%, 3.4%]"; "" where nothing was estimated."""
    if result.estimate is None:
        return ""
    shown, _ = _bounds_and_margin(result)
    counted = result.low == result.estimate == result.high
    interval = "" if result.low is None or counted else f" [{shown[1]}, {shown[2]}]"
    return f"{shown[0]}{interval}{unit_words(result.unit) if unit else ''}"


def _bounds_and_margin(result: Result) -> tuple[list[str], str]:
    shown = together((result.estimate, result.low, result.high, result.margin), result.unit)
    return shown[:3], shown[3]


def scale_of(result: Result, left: float, right: float) -> Scale:
    """A scale that shows the estimate, the margin and the bound that decides.

    The other end of the interval is shown where it is not far out; else the interval runs off the edge.
    """
    ends = [end for end in (result.low, result.high) if end is not None]
    margins = [] if result.margin is None else [result.margin]
    if result.direction == "within" and result.margin is not None:
        margins = [-result.margin, result.margin]
    near = [*margins, *([] if result.estimate is None else [result.estimate])]
    if result.direction in ("<=", "<") and result.high is not None:
        near.append(result.high)
    elif result.direction in (">=", ">") and result.low is not None:
        near.append(result.low)
    else:
        near += ends
    kept = spanning(near, left, right)
    reach = 4 * (kept.high - kept.low)
    far = [end for end in ends if kept.low - reach <= end <= kept.high + reach]
    scale = spanning([*near, *far], left, right)
    if not is_share(result.unit):
        return scale
    # No share lies beyond 100%, nor below 0% unless it is a difference.
    low = max(scale.low, 0.0) if min(*near, *far) >= 0.0 else scale.low
    return replace(scale, low=low, high=min(scale.high, max(1.0, *near)))


def ground(result: Result, scale: Scale, top: float, height: float) -> Html:
    """The side on which the claim holds, shaded, and the margin's line."""
    if result.margin is None:
        return fragment()
    start, end = scale.left, scale.right
    lines = [result.margin]
    if result.direction in ("<=", "<"):
        end = scale.at(result.margin)
    elif result.direction in (">=", ">"):
        start = scale.at(result.margin)
    elif result.direction == "within":
        lines = [-result.margin, result.margin]
        start, end = scale.at(-result.margin), scale.at(result.margin)
    else:
        start = end
    shade = tag("rect", class_="holds", x=start, y=top, width=max(0.0, end - start), height=height)
    marks = [
        tag("line", class_="margin", x1=scale.at(at), x2=scale.at(at), y1=top, y2=top + height)
        for at in lines
    ]
    return fragment(shade, *marks)


def interval(result: Result, scale: Scale, y: float, size: float) -> Html:
    """The interval with its ends (an arrowhead where it runs off the drawing) and the estimate's dot."""
    css = look(result.status).css
    parts: list[Html] = []
    if result.low is not None and result.high is not None:
        first, last = scale.at(result.low), scale.at(result.high)
        parts.append(tag("line", class_=f"interval {css}", x1=first, x2=last, y1=y, y2=y))
        for value, at, side in ((result.low, first, -1.0), (result.high, last, 1.0)):
            if scale.holds(value):
                drawn = f"M{at:.1f} {y - size:.1f}V{y + size:.1f}"
            else:
                back = at - side * size
                drawn = f"M{back:.1f} {y - size:.1f}L{at:.1f} {y:.1f}L{back:.1f} {y + size:.1f}"
            parts.append(tag("path", class_=f"interval {css}", d=drawn))
    if result.estimate is not None and math.isfinite(result.estimate):
        parts.append(tag("circle", class_=f"dot {css}", cx=scale.at(result.estimate), cy=y, r=size * 0.75))
    return fragment(*parts)


def _label(words: str, x: float, y: float, css: str) -> Html:
    half = len(words) * _CHARACTER / 2
    inside = min(max(x, half + 2), _WIDTH - half - 2) if 2 * half < _WIDTH else _WIDTH / 2
    return tag("text", words, class_=css, x=inside, y=y, text_anchor="middle")


def figure(result: Result) -> Html | None:
    """The number line of one leaf as SVG, with its numbers in words as the label; None without numbers."""
    if result.estimate is None or result.margin is None or not result.direction:
        return None
    scale = scale_of(result, _EDGE, _WIDTH - _EDGE)
    needs, got = f"needs {requirement(result)}", estimate_words(result)
    # A long unit stands beside the figure; inside, the words must fit.
    short = max(len(needs), len(got)) * _CHARACTER > _WIDTH - 2 * _EDGE
    needs_label = f"needs {requirement(result, unit=False)}" if short else needs
    got_label = estimate_words(result, unit=False) if short else got
    ticks = scale.ticks()
    names = together(ticks, result.unit)
    axis = each(
        fragment(
            tag("line", class_="axis", x1=scale.at(at), x2=scale.at(at), y1=72.0, y2=76.0),
            _label(name, scale.at(at), 90.0, "tick"),
        )
        for at, name in zip(ticks, names, strict=True)
    )
    shown = "the shaded side is where the claim holds"
    return tag(
        "svg",
        ground(result, scale, 20.0, 52.0),
        tag("line", class_="axis", x1=scale.left, x2=scale.right, y1=72.0, y2=72.0),
        interval(result, scale, 38.0, 6.0),
        _label(needs_label, scale.at(result.margin), 13.0, "margin-label"),
        _label(got_label, scale.at(result.estimate), 62.0, "value"),
        axis,
        class_="figure line",
        viewBox="0 0 360 96",
        role="img",
        aria_label=f"{got}; {needs}; {shown}.",
    )


def finding(result: Result) -> str:
    """Estimate, interval, margin and n on one line of plain words; "" where the leaf has no numbers."""
    needs = requirement(result, unit=False)
    parts = [estimate_words(result), f"needs {needs}" if needs else ""]
    if result.n is not None:
        parts.append(f"n = {number(float(result.n))}")
    return " · ".join(part for part in parts if part)
