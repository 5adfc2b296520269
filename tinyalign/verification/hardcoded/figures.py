"""What the report draws of a leaf: histograms and bars as plain numbers in its details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_BINS = 24


def histogram(series: Mapping[str, ArrayLike], title: str, unit: str = "nats") -> dict[str, Any]:
    """Counts of every series in bins they share, for a details key that ends in "histogram"."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in series.items()}
    together = np.concatenate(list(arrays.values()))
    low, high = float(together.min()), float(together.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in arrays.items()}
    return {
        "title": title,
        "unit": unit,
        "edges": [round(float(edge), 6) for edge in edges],
        "counts": counts,
    }


def bars(values: Mapping[str, float], title: str, unit: str) -> dict[str, Any]:
    """One number a label, for a details key that ends in "bars"."""
    return {"title": title, "unit": unit, "values": {name: float(value) for name, value in values.items()}}
