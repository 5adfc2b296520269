"""A median without any assumption on the distribution, and a mean whose samples come in clusters."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, t

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import as_sample, check_fraction
from tinyalign.statistics.interval import Interval


def median_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """An exact interval of the median, from order statistics: valid for every distribution, ties included.

    For n independent values the interval from the r-th smallest to the r-th largest covers with at least
    1 - 2 P(Binomial(n, 1/2) < r); r is the largest that keeps `level`. Units of `values`; the estimate is
    the sample median. Raises `InputError` for too few values (at least 1 - log2(1 - level) are needed: 6
    at .95) or an impossible level.

    Source: David and Nagaraja (2003), Order Statistics, third edition, section 7.1.
    """
    check_fraction("level", level)
    x = np.sort(as_sample("Values", values))
    tail = (1 - level) / 2
    # ppf gives the smallest r with cdf >= tail, so P(X < r) = P(X <= r - 1) < tail.
    rank = int(binom.ppf(tail, x.size, 0.5))
    if binom.cdf(rank, x.size, 0.5) <= tail:
        rank += 1
    if rank < 1:
        needed = math.ceil(1 - math.log2(1 - level))
        raise InputError(
            f"A median's interval of level {level} needs at least {needed} values, but got {x.size}."
        )
    return Interval(
        float(np.median(x)), float(x[rank - 1]), float(x[-rank]), level, f"order statistics, rank {rank}"
    )


def cluster_mean_interval(values: ArrayLike, clusters: ArrayLike, level: float = 0.95) -> Interval:
    """A t interval of the mean of all values when values of one cluster (a story, a template) go together.

    `clusters[i]` is the number of the cluster of values[i]; clusters are independent of each other, values
    inside one need not be. The estimate is the plain mean of all values (a token of a long story weighs as
    much as one of a short story), in their units; its standard error comes from the clusters' summed
    deviations, with one degree of freedom per cluster less one. Approximate: it needs a few dozen clusters
    (with 40 it missed 8.6% where 5% was promised, so draw a fresh prompt per sample where you can). Raises
    `InputError` for lists of different lengths, fewer than two clusters or an impossible level.

    Source: Cochran (1977), Sampling Techniques, third edition, chapter 9A (clusters of unequal size);
    Liang and Zeger (1986), Biometrika 73, 13-22.
    """
    check_fraction("level", level)
    x = as_sample("Values", values, 2)
    names = as_sample("Clusters", clusters)
    if names.size != x.size:
        raise InputError(f"Each value needs its cluster, but there are {x.size} values and {names.size}.")
    _, index = np.unique(names, return_inverse=True)
    groups = int(index.max()) + 1
    if groups < 2:
        raise InputError("A clustered mean needs at least two clusters, but there is one.")
    mean = float(x.mean())
    totals = np.bincount(index, weights=x - mean)
    error = math.sqrt(groups / (groups - 1) * float(totals @ totals)) / x.size
    half = float(t.isf((1 - level) / 2, groups - 1)) * error
    return Interval(mean, mean - half, mean + half, level, f"cluster-robust t, {groups} clusters")
