"""The benchmark as a page: bars of ratios with their spread, tables of all figures, and the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

_HEAD = (
    "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
    "<meta name='viewport' content='width=device-width'><title>tinyalign bench</title>"
    "<style>body{font-family:sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;line-height:1.4}"
    "table{border-collapse:collapse;font-size:.85rem;margin:.5rem 0 1.5rem}"
    "td,th{padding:.15rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}"
    ".wide{overflow-x:auto}</style></head><body>"
    "<h1>tinyalign bench</h1>"
    "<p>Contestants run in turn, round after round; ratios are taken within a round, and bars show their "
    "median and extremes. Every output is filled with what nobody makes before a run and judged after it: "
    "<i>nats off</i> says by how much the contestant's worst choice falls short of the likeliest token "
    "when the exact network reads the contestant's own story.</p>"
)


def page(figures: dict[str, Any]) -> str:
    """An HTML page, whole in itself, of what `tinyalign bench --json` writes."""
    parts = [_HEAD]
    script = True
    for part in _sections(figures):
        if isinstance(part, go.Figure):
            parts.append(part.to_html(full_html=False, include_plotlyjs=script))
            script = False
        else:
            parts.append(part)
    return "".join(parts) + "</body></html>\n"


def _sections(figures: dict[str, Any]) -> Iterator[go.Figure | str]:
    for result in figures["decode"]:
        yield f"<h2>Decoding: {_setting(result)}</h2>"
        yield _bars(result, f"time a token over {result['baseline']}'s")
        yield _decode_table(result)
    for result in figures["score"]:
        yield f"<h2>Scoring: {_setting(result)}</h2>"
        yield f"<p>{result['prompts']} prompts with {result['continuations']} continuations each.</p>"
        yield _bars(result, f"time over {result['baseline']}'s")
        yield _score_table(result)
    if figures["profile"]:
        yield "<h2>Where the time goes</h2>"
        yield _profile(figures["profile"])
        yield _profile_table(figures["profile"])
    if figures["linear"]:
        yield "<h2>One linear layer</h2>"
        for result in figures["linear"]:
            yield _linear(result)
            yield _absent(result["refused"])
    yield "<h2>The machine</h2>"
    yield _table(("measured peak, a second", ""), [(k, _number(v)) for k, v in figures["peaks"].items()])
    yield _table(("", ""), [(k, str(v)) for k, v in figures["machine"].items()])
    yield _absent(figures["absent"])


def _setting(result: dict[str, Any]) -> str:
    threads = f"threads: {result['threads']}, " if result["device"] == "cpu" else ""
    time = "processor time" if result["clock"] == "cpu" else "wall time"
    return escape(f"{result['model']} ({result['device']}, {threads}{time})")


def _bars(result: dict[str, Any], axis: str) -> go.Figure:
    rows, clock = result["contestants"], result["clock"]
    middle, low, high = zip(*(row["slower_than_ours"][clock] for row in rows), strict=True)
    figure = go.Figure(
        go.Bar(
            x=middle,
            y=[row["name"] + (f" (batch {row['batch']})" if "batch" in row else "") for row in rows],
            orientation="h",
            text=[f"{row['rate_' + clock]:,.0f} a second" for row in rows],
            error_x={
                "type": "data",
                "array": [h - m for m, h in zip(middle, high, strict=True)],
                "arrayminus": [m - lo for m, lo in zip(middle, low, strict=True)],
            },
        )
    )
    figure.update_layout(
        xaxis={"type": "log", "title": axis},
        yaxis={"autorange": "reversed", "automargin": True},
        height=150 + 32 * len(rows),
        margin={"t": 20, "b": 60},
    )
    return figure


def _decode_table(result: dict[str, Any]) -> str:
    clock = result["clock"]
    rows = []
    for row in result["contestants"]:
        agreement = row["agreement"]
        tried = ", ".join(f"{batch}: {rate:,.0f}" for batch, rate in row["tried"].items())
        rows.append(
            (
                row["name"],
                _number(row["rate_" + clock]),
                _times(row["slower_than_ours"][clock]),
                "same text" if agreement["worst"] is None else f"{agreement['worst']:.2g}",
                "" if agreement["allowed"] is None else f"{agreement['allowed']:g}",
                f"{agreement['equal']:.0%}",
                "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}",
                f"{tried}; {row['no_larger_batch']}",
                row["remark"] or "",
            )
        )
    head = (
        "contestant",
        "tokens a second",
        "times ours",
        "nats off",
        "allowed",
        "tokens of the reference",
        "of peak",
        "batches tried: tokens a second",
        "remark",
    )
    return _table(head, rows) + _cost(result["int8_cache_cost"]) + _absent(result["absent"])


def _cost(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return ""
    cost = measured["cost"]
    return (
        f"<p>The int8 cache costs {cost['cost']:.5f} nats a token on {cost['texts']} texts "
        f"({escape(measured['on'])}, {cost['tokens']:,} tokens); single tokens move by {cost['spread']:.5f} "
        f"in the mean and {cost['worst']:.3f} at most.</p>"
    )


def _score_table(result: dict[str, Any]) -> str:
    clock = result["clock"]
    rows = [
        (
            row["name"],
            _number(row["rate_" + clock]),
            _times(row["slower_than_ours"][clock]),
            f"{row['off']:.1g}",
        )
        for row in result["contestants"]
    ]
    head = ("contestant", "scores a second", "times ours", f"nats off (allowed: {result['allowed_nats']:g})")
    return _table(head, rows) + _absent(result["absent"])


def _profile(profiles: list[dict[str, Any]]) -> go.Figure:
    parts = ("blocks", "attention", "outside", "drawing")
    figure = go.Figure(
        [go.Bar(name=part, x=[p["model"] for p in profiles], y=[p[part] for p in profiles]) for part in parts]
    )
    figure.update_layout(barmode="stack", yaxis={"title": "microseconds of processor time a token"})
    return figure


def _profile_table(profiles: list[dict[str, Any]]) -> str:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.0%}"

    return _table(
        ("model", "multiply-adds in the blocks", "blocks, share of peak", "inner loops alone, share of peak"),
        [
            (
                p["model"],
                _number(p["multiply_adds_in_blocks"]),
                share(p["share_of_peak"]),
                share(p["share_of_peak_inside"]),
            )
            for p in profiles
        ],
    )


def _linear(result: dict[str, Any]) -> go.Figure:
    rows = result["contestants"]
    which = "ratio" if result["clock"] == "cpu" else "wall_ratio"
    figure = go.Figure(go.Bar(x=[row["name"] for row in rows], y=[row[which] for row in rows]))
    figure.update_layout(
        title=f"{result['rows']} rows, {result['d_in']} x {result['d_out']} ({result['device']})",
        yaxis={"title": "times as fast as float", "type": "log"},
        xaxis={"automargin": True},
    )
    return figure


def _absent(absent: dict[str, str]) -> str:
    return _table(("absent or refused", "why"), list(absent.items())) if absent else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='wide'><table><tr>{top}</tr>{body}</table></div>"


def _times(slower: Sequence[float]) -> str:
    middle, low, high = slower
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _number(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)
