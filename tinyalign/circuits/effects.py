"""How much of a difference some components carry, with an interval over prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyalign.common.errors import InputError
from tinyalign.statistics.interval import Interval
from tinyalign.statistics.location import cluster_mean_interval


def mean_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Mean over prompts (one value each, in nats) with a t interval; needs two prompts.

    Approximate (t), since differences of log-probabilities have no bound that a betting interval could use.
    """
    return replace(cluster_mean_interval(values, np.arange(len(values)), level), method="t over prompts")


def share_interval(parts: np.ndarray, wholes: np.ndarray, level: float = 0.95) -> Interval:
    """Share of a total that a part carries: mean(parts) / mean(wholes), values in nats, one a prompt.

    A ratio of means, so prompts with a tiny total do not rule it; its interval is a t interval of the
    linearised ratio, R + (part - R whole) / mean(wholes). May lie below 0 or above 1: parts of a circuit may
    work against each other. Raises `InputError` where the mean total is zero.

    Source: Cochran (1977), Sampling Techniques, third edition, section 6.3.
    """
    whole = float(np.mean(wholes))
    if whole == 0.0:
        raise InputError("There is no effect to take a share of: both runs prefer the same on average.")
    ratio = float(np.mean(parts)) / whole
    residuals = ratio + (parts - ratio * wholes) / whole
    found = cluster_mean_interval(residuals, np.arange(len(residuals)), level)
    return replace(found, method="ratio of means over prompts, linearised, t")
