"""What a test with optional stopping hands on: the evidence against its null, as a log e-value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import check_count, check_fraction


@dataclass(frozen=True)
class EResult:
    """The result of an e-process: evidence that may be looked at after every sample.

    `log_e` is the natural log of the e-value after the last of `samples` samples, `log_e_max` the largest
    log e-value seen on the way (at least 0: before the first sample it is 0). A large one speaks *against*
    `null`, a sentence in words. `stopped_at` is the number of samples after which the e-value first reached
    1 / alpha, None if it never did; under the null that happens with probability at most alpha (Ville's
    inequality). Raises `InputError` when these contradict each other.
    """

    log_e: float
    log_e_max: float
    samples: int
    alpha: float
    stopped_at: int | None
    null: str
    method: str

    def __post_init__(self) -> None:
        check_fraction("alpha", self.alpha)
        check_count("The number of samples", self.samples)
        if not (math.isfinite(self.log_e) and math.isfinite(self.log_e_max)):
            raise InputError(f"Log e-values must be finite, but are {self.log_e} and {self.log_e_max}.")
        if self.log_e_max < max(self.log_e, 0.0):
            raise InputError(f"The largest log e-value {self.log_e_max} is below one that was reached.")
        if (self.stopped_at is not None) != (self.log_e_max >= log_threshold(self.alpha)):
            raise InputError(
                f"stopped_at is {self.stopped_at}, which contradicts a largest log e-value of "
                f"{self.log_e_max} at alpha {self.alpha}."
            )
        if self.stopped_at is not None and not 1 <= self.stopped_at <= self.samples:
            raise InputError(f"stopped_at must lie in 1..{self.samples}, but is {self.stopped_at}.")
        if not (self.null and self.method):
            raise InputError("An e-process must name its null hypothesis and its method.")

    @property
    def rejects(self) -> bool:
        """Whether the null is rejected at `alpha`."""
        return self.stopped_at is not None

    @property
    def p_value(self) -> float:
        """The anytime-valid p-value: 1 over the largest e-value, at most 1."""
        return math.exp(-self.log_e_max)

    def to_json(self) -> dict[str, float | int | str | None]:
        """The seven fields as a JSON-able dict."""
        return asdict(self)


def log_threshold(alpha: float) -> float:
    """log(1 / alpha), the log e-value at which a test of level `alpha` rejects."""
    return -math.log(alpha)


def first_crossing(log_path: np.ndarray, alpha: float) -> int | None:
    """The 1-based index at which `log_path` (one log e-value per sample) first reaches log(1 / alpha)."""
    reached = np.flatnonzero(log_path >= log_threshold(alpha))
    return int(reached[0]) + 1 if reached.size else None


def summarise(log_path: np.ndarray, alpha: float, null: str, method: str) -> EResult:
    """The `EResult` of a whole path (log e-value after each sample, at least one)."""
    return EResult(
        float(log_path[-1]),
        max(float(log_path.max()), 0.0),
        log_path.size,
        alpha,
        first_crossing(log_path, alpha),
        null,
        method,
    )
