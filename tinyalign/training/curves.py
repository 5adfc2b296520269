"""Loss curves: the points as JSON, and a plotly figure of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyalign.common.files import write_json, write_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Point = Mapping[str, float]


def loss_figure(curves: Mapping[str, Sequence[Point]]) -> Figure:
    """One line a run: training loss (nats a token) against tokens read, validation as markers."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, points in curves.items():
        figure.add_scatter(
            x=[p["tokens"] for p in points],
            y=[p["loss"] for p in points],
            mode="lines",
            name=f"{name}, training",
        )
        held_out = [p for p in points if "validation_nats" in p]
        figure.add_scatter(
            x=[p["tokens"] for p in held_out],
            y=[p["validation_nats"] for p in held_out],
            mode="markers",
            name=f"{name}, validation",
        )
    figure.update_layout(
        xaxis_title="tokens read", yaxis_title="nats a token", template="plotly_white", title="Loss curves"
    )
    return figure


def write_curves(folder: Path, name: str, points: Sequence[Point]) -> None:
    """`loss.json` and `loss.html` in `folder`."""
    write_json(folder / "loss.json", {"run": name, "points": [dict(p) for p in points]})
    write_text(folder / "loss.html", loss_figure({name: points}).to_html(include_plotlyjs="cdn"))
