"""The benchmark as a page: bars of ratios with their spread, where the time goes, and the machine."""

from __future__ import annotations

from html import escape
from typing import Any

import plotly.graph_objects as go

_HEAD = (
    "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>tinyalign bench</title>"
    "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td{padding:0.1rem 1rem 0.1rem 0}</style></head><body><h1>tinyalign bench</h1>"
)


def page(figures: dict[str, Any]) -> str:
    """An HTML page, whole in itself, of what `tinyalign bench --json` writes."""
    parts = [_HEAD, _table(figures["machine"])]
    script = True
    for figure in _figures(figures):
        parts.append(figure.to_html(full_html=False, include_plotlyjs=script))
        script = False
    return "".join(parts) + "</body></html>\n"


def _table(facts: dict[str, Any]) -> str:
    rows = "".join(f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
    return f"<table>{rows}</table>"


def _figures(figures: dict[str, Any]) -> list[go.Figure]:
    drawn = [_decode(result) for result in figures["decode"]]
    if figures["profile"]:
        drawn.append(_profile(figures["profile"]))
    drawn += [_linear(result) for result in figures["linear"]]
    return drawn


def _decode(result: dict[str, Any]) -> go.Figure:
    rows = result["contestants"]
    which = "cpu" if result["threads"] == 1 else "wall"
    middle, low, high = zip(*(row["slower_than_ours"][which] for row in rows), strict=True)
    figure = go.Figure(
        go.Bar(
            x=middle,
            y=[f"{row['name']} (batch {row['batch']})" for row in rows],
            orientation="h",
            text=[f"{row['rate_' + which]:,.0f} tokens/s" for row in rows],
            error_x={
                "type": "data",
                "array": [h - m for m, h in zip(middle, high, strict=True)],
                "arrayminus": [m - lo for m, lo in zip(middle, low, strict=True)],
            },
        )
    )
    time = "processor time" if which == "cpu" else "wall time"
    figure.update_layout(
        title=f"{result['model']}: {time} a token over tinyalign's, {result['tokens']} new tokens, "
        f"threads: {result['threads']}",
        xaxis={"type": "log", "title": "times tinyalign's"},
        yaxis={"autorange": "reversed"},
    )
    return figure


def _profile(profiles: list[dict[str, Any]]) -> go.Figure:
    parts = ("blocks", "attention", "outside", "drawing")
    figure = go.Figure(
        [go.Bar(name=part, x=[p["model"] for p in profiles], y=[p[part] for p in profiles]) for part in parts]
    )
    figure.update_layout(
        barmode="stack", title="Where a token's time goes", yaxis={"title": "microseconds of processor time"}
    )
    return figure


def _linear(result: dict[str, Any]) -> go.Figure:
    rows = result["contestants"]
    figure = go.Figure(go.Bar(x=[row["name"] for row in rows], y=[row["ratio"] for row in rows]))
    refused = "; ".join(f"{name} {why}" for name, why in result["refused"].items())
    size = f"{result['rows']} rows, {result['d_in']} x {result['d_out']}"
    figure.update_layout(
        title=f"One layer, {size}: times as fast as float" + (f" ({refused})" if refused else "")
    )
    return figure
