"""Several tests at once: which of them may be believed together, and how evidence is merged."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import as_sample, check_count, check_fraction


@dataclass(frozen=True)
class Multiplicity:
    """Which of several nulls are rejected together at `alpha`, in the order in which they were given.

    `adjusted[i]` is the smallest alpha at which null i would be rejected (at most 1). `controls` names what
    alpha bounds: "family-wise error" or "false discovery rate". Raises `InputError` when `rejected` and
    `adjusted` disagree.
    """

    rejected: tuple[bool, ...]
    adjusted: tuple[float, ...]
    alpha: float
    method: str
    controls: str

    def __post_init__(self) -> None:
        check_fraction("alpha", self.alpha)
        if len(self.rejected) != len(self.adjusted) or not self.rejected:
            raise InputError("Rejections and adjusted values must be equally many, at least one.")
        if any(r != (a <= self.alpha) for r, a in zip(self.rejected, self.adjusted, strict=True)):
            raise InputError(f"Rejections must be the adjusted values at or below alpha {self.alpha}.")

    def to_json(self) -> dict[str, object]:
        """The five fields as a JSON-able dict, tuples as lists."""
        return asdict(self) | {"rejected": list(self.rejected), "adjusted": list(self.adjusted)}


def _p_values(p_values: ArrayLike) -> np.ndarray:
    p = as_sample("p-values", p_values)
    if ((p < 0) | (p > 1)).any():
        raise InputError(f"p-values must lie in [0, 1], but one is {p[(p < 0) | (p > 1)][0]}.")
    return p


def _result(adjusted: np.ndarray, alpha: float, method: str, controls: str) -> Multiplicity:
    check_fraction("alpha", alpha)
    return Multiplicity(
        tuple(bool(a <= alpha) for a in adjusted), tuple(float(a) for a in adjusted), alpha, method, controls
    )


def holm(p_values: ArrayLike, alpha: float = 0.05) -> Multiplicity:
    """Holm's step-down: P(any true null is rejected) <= alpha, whatever the dependence.

    The i-th smallest of m p-values is multiplied by m - i + 1 and made monotone. Raises `InputError` for an
    empty list, a p outside [0, 1] or an impossible alpha.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    steps = p[order] * np.arange(p.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return _result(adjusted, alpha, "Holm", "family-wise error")


def e_bh(log_e_values: ArrayLike, alpha: float = 0.05) -> Multiplicity:
    """The e-BH procedure on natural log e-values: expected false share of the rejected <= alpha.

    Rejects the k largest of K e-values for the largest k whose k-th largest is at least K / (k alpha); valid
    under any dependence and at any stopping times. Raises `InputError` for an empty list, log e-values that
    are not finite, or an impossible alpha.

    Source: Wang and Ramdas (2022), JRSS-B 84, 822-852 (the e-BH procedure and its FDR theorem).
    """
    log_e = as_sample("Log e-values", log_e_values)
    order = np.argsort(-log_e, kind="stable")
    ranks = np.arange(1, log_e.size + 1)
    # log K / (k e_[k]); clipped before exp, because beyond 0 the adjusted value is 1 anyway.
    log_needed = np.minimum(np.log(log_e.size / ranks) - log_e[order], 0.0)
    adjusted = np.empty_like(log_e)
    adjusted[order] = np.minimum.accumulate(np.exp(log_needed)[::-1])[::-1]
    return _result(adjusted, alpha, "e-BH", "false discovery rate")


def merge_alternatives(log_e_values: ArrayLike) -> float:
    """OR: the log of the mean of e-values, evidence against "every one of these nulls is true".

    Valid under any dependence. Raises `InputError` for an empty list or log e-values that are not finite.
    Source: Vovk and Wang (2021), Annals of Statistics 49, 1736-1754 (merging by the arithmetic mean).
    """
    log_e = as_sample("Log e-values", log_e_values)
    top = log_e.max()
    return float(top + np.log(np.exp(log_e - top).mean()))


def merge_fresh_streams(log_e_values: ArrayLike) -> float:
    """The log of the product of e-values: the same claim tested anew on samples that are independent.

    Only for streams that are fresh given everything that came before; for anything else use
    `merge_alternatives`. Raises `InputError` for an empty list or log e-values that are not finite.
    Source: Vovk and Wang (2021) (sequential e-values, merged by the product).
    """
    return float(as_sample("Log e-values", log_e_values).sum())


def intersection_union(p_values: ArrayLike) -> float:
    """AND: the p-value of "all these claims hold", the largest of theirs; no correction is needed.

    Null: at least one of the claims' nulls is true. Valid under any dependence. Raises `InputError` for an
    empty list or a p outside [0, 1].

    Source: Berger (1982), Technometrics 24, 295-300, theorem 1.
    """
    return float(_p_values(p_values).max())


def attempt_alpha(attempt: int, alpha: float = 0.05) -> float:
    """The error that attempt number 1, 2, 3, ... may spend: alpha / (j (j + 1)), alpha in total for ever.

    Raises `InputError` for an attempt below 1 or an impossible alpha. Source: the telescoping sum of
    1 / (j (j + 1)) = 1 with Bonferroni's inequality.
    """
    check_count("The attempt", attempt, 1)
    check_fraction("alpha", alpha)
    return alpha / (attempt * (attempt + 1))
