"""Figures of what properties do: which are present in a model, and how often they come up in stories."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from tinyalign.properties.admission import AdmissionTable
from tinyalign.properties.base_rates import BaseRate
from tinyalign.properties.contrast import ADMISSION_LOWER_BOUND, ADMISSION_NATS

_PRESENT, _ABSENT, _SWAP = "#1b7837", "#999999", "#c2a5cf"


def figure(table: AdmissionTable) -> go.Figure:
    """One row a property: its contrast (nats, 95% interval), filled where present, and its role swap.

    The dotted line is the contrast that admission asks for, the dashed one the bound its low end must pass.
    """
    rows = list(reversed(table.rows))
    names = [f"{row.primary.property_id} {row.primary.property_name}" for row in rows]
    means = [row.primary.mean for row in rows]
    chart = go.Figure()
    chart.add_scatter(
        x=[row.primary.role_swap.estimate for row in rows],
        y=names,
        mode="markers",
        name="roles swapped",
        marker={"color": _SWAP, "symbol": "diamond-open", "size": 9},
    )
    chart.add_scatter(
        x=[mean.estimate for mean in means],
        y=names,
        mode="markers",
        name="contrast",
        marker={"color": [_PRESENT if row.admitted else _ABSENT for row in rows], "size": 10},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [mean.high - mean.estimate for mean in means],
            "arrayminus": [mean.estimate - mean.low for mean in means],
        },
        customdata=[[row.primary.pair, row.primary.n, row.primary.sign.estimate] for row in rows],
        hovertemplate="%{y}: %{x:.2f} nats (%{customdata[0]}, n = %{customdata[1]}, "
        "positive on %{customdata[2]:.0%} of prompts)<extra></extra>",
    )
    chart.add_vline(x=ADMISSION_NATS, line_dash="dot")
    chart.add_vline(x=ADMISSION_LOWER_BOUND, line_dash="dash", line_width=0.5)
    chart.update_layout(
        title=f"Properties present in {table.model}: {len(table.admitted)} of {len(rows)}",
        xaxis_title="contrast, nats (right: towards the property)",
        template="plotly_white",
        height=120 + 32 * len(rows),
    )
    return chart


def base_rates_figure(rates: Sequence[BaseRate]) -> go.Figure:
    """One row a property: the share of stories with its antecedent, split by what then happens."""
    rows = list(reversed(rates))
    names = [f"{row.property_id} {row.property_name}" for row in rows]
    chart = go.Figure()
    for verdict, color in (("satisfied", _PRESENT), ("violated", "#b2182b"), ("unknown", _ABSENT)):
        chart.add_bar(
            x=[row.counts[verdict] / row.stories for row in rows],
            y=names,
            orientation="h",
            name=verdict,
            marker={"color": color},
            customdata=[[row.counts[verdict], row.stories] for row in rows],
            hovertemplate="%{y}, "
            + verdict
            + ": %{customdata[0]} of %{customdata[1]} stories<extra></extra>",
        )
    chart.update_layout(
        barmode="stack",
        title="How often each antecedent occurs, and what then happens",
        xaxis_title="share of stories",
        xaxis_tickformat=".0%",
        template="plotly_white",
        height=120 + 32 * len(rows),
    )
    return chart
