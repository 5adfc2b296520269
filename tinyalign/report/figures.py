"""Figures that a leaf's details ask for: histograms (one row a series) and bars, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

from tinyalign.common.errors import InputError
from tinyalign.report.markup import Html, each, fragment, tag
from tinyalign.report.numbers import together, unit_words
from tinyalign.report.scale import Scale, spanning

_WIDTH, _EDGE = 360.0, 10.0
_ROW = 74.0
MOST_BARS = 30
_LABEL = 52


def histogram(value: object, unit: str, where: str) -> Html:
    """`{"edges": [k + 1 rising numbers], "counts": {series: [k counts]}}` as rows that share one axis.

    Every row has its own height scale: series are compared by where they lie. Raises `InputError` for
    another form.
    """
    edges, series = _read_histogram(value, where)
    scale = Scale(edges[0], edges[-1], _EDGE, _WIDTH - _EDGE)
    rows = [
        _series(name, counts, edges, scale, at * _ROW) for at, (name, counts) in enumerate(series.items())
    ]
    foot = len(rows) * _ROW
    ticks = scale.ticks(5)
    axis = each(
        tag("text", name, class_="tick", x=scale.at(at), y=foot + 14, text_anchor="middle")
        for at, name in zip(ticks, together(ticks, unit), strict=True)
    )
    zero = None
    if scale.low < 0.0 < scale.high:
        zero = tag("line", class_="zero", x1=scale.at(0.0), x2=scale.at(0.0), y1=18.0, y2=foot)
    names = ", ".join(series)
    span = " to ".join(together((edges[0], edges[-1]), unit))
    return tag(
        "svg", zero, *rows, axis, class_="figure", viewBox=f"0 0 360 {foot + 20:.0f}", role="img",
        aria_label=f"Histogram of {names}, from {span}{unit_words(unit)}.",
    )  # fmt: skip


def _series(name: str, counts: list[float], edges: list[float], scale: Scale, top: float) -> Html:
    base, room = top + _ROW - 4, _ROW - 28
    highest = max(counts) or 1.0
    blocks = ""
    for count, first, last in zip(counts, edges, edges[1:], strict=False):
        if count:
            height = max(1.0, count / highest * room)
            left, right = scale.at(first), scale.at(last)
            # A hair of ground between neighbours keeps single bins apart.
            blocks += f"M{left + 0.3:.1f} {base:.1f}V{base - height:.1f}H{right - 0.3:.1f}V{base:.1f}z"
    return fragment(
        tag("text", _short(name), class_="series", x=_EDGE, y=top + 14),
        tag("path", class_="bar", d=blocks) if blocks else None,
        tag("line", class_="axis", x1=scale.left, x2=scale.right, y1=base, y2=base),
    )


def _read_histogram(value: object, where: str) -> tuple[list[float], dict[str, list[float]]]:
    if isinstance(value, Mapping):
        found = cast(Mapping[str, object], value)
        edges, counts = _numbers(found.get("edges")), found.get("counts")
        if edges and isinstance(counts, Mapping) and all(a < b for a, b in pairwise(edges)):
            series = {str(name): _numbers(row) for name, row in counts.items()}
            if series and all(row is not None and len(row) == len(edges) - 1 for row in series.values()):
                return edges, {name: row for name, row in series.items() if row is not None}
    raise InputError(
        f"{where} cannot be drawn: a histogram needs `edges`, k + 1 rising numbers, and `counts`, a mapping "
        "of names to k counts each; write the verdict again with `tinyalign verify`."
    )


def _numbers(value: object) -> list[float] | None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in value):
        return None
    return [float(each) for each in value]


def bars(value: object, unit: str, where: str) -> Html:
    """`{label: number}` as horizontal bars from zero, in the given order, each with its value.

    At most `MOST_BARS` are drawn; a line says how many more there are. Raises `InputError` for another form.
    """
    if not isinstance(value, Mapping) or _numbers(list(value.values())) is None:
        raise InputError(
            f"{where} cannot be drawn: bars need a mapping of labels to numbers; write the verdict again "
            "with `tinyalign verify`."
        )
    labels, sizes = [str(label) for label in value][:MOST_BARS], [float(size) for size in value.values()]
    left_out = len(sizes) - len(labels)
    shown = together(sizes[:MOST_BARS], unit)
    scale = spanning([0.0, *sizes[:MOST_BARS]], _EDGE, _WIDTH - _EDGE, pad=0.0)
    rows = [
        _bar(label, size, text, scale, 34.0 * at)
        for at, (label, size, text) in enumerate(zip(labels, sizes, shown, strict=False))
    ]
    foot = 34.0 * len(rows)
    if left_out:
        rows.append(tag("text", f"and {left_out} more in verdict.json", class_="tick", x=_EDGE, y=foot + 13))
    said = "; ".join(f"{label}: {text}" for label, text in zip(labels, shown, strict=True))
    return tag(
        "svg", *rows, class_="figure", viewBox=f"0 0 360 {foot + (22 if left_out else 6):.0f}", role="img",
        aria_label=f"Bars{unit_words(unit)}: {said}.",
    )  # fmt: skip


def _bar(label: str, size: float, shown: str, scale: Scale, top: float) -> Html:
    first, last = sorted((scale.at(0.0), scale.at(size)))
    return fragment(
        tag("text", _short(label), class_="series", x=_EDGE, y=top + 13),
        tag("text", shown, class_="value", x=_WIDTH - _EDGE, y=top + 13, text_anchor="end"),
        tag("rect", class_="track", x=scale.left, y=top + 19, width=scale.right - scale.left, height=8, rx=2),
        tag("rect", class_="bar", x=first, y=top + 19, width=max(1.0, last - first), height=8, rx=2),
    )


def _short(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"
