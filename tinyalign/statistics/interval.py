"""The two things a test or an estimate hands on: a confidence interval and a p-value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from tinyalign.common.errors import InputError
from tinyalign.statistics.checks import check_fraction


@dataclass(frozen=True)
class Interval:
    """A confidence interval with its point estimate, in the units of what is estimated.

    `level` is the coverage promised for the whole interval. A one-sided interval ends at the edge of the
    parameter's range (0 or 1 for a rate, -1 or 1 for a difference of rates) and says so in `method`.
    Raises `InputError` unless low <= estimate <= high are finite and 0 < level < 1.
    """

    estimate: float
    low: float
    high: float
    level: float
    method: str

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.estimate, self.low, self.high))):
            raise InputError(
                f"An interval needs finite numbers, but got {self.low}, {self.estimate}, {self.high}."
            )
        if not self.low <= self.estimate <= self.high:
            raise InputError(
                f"An interval must contain its estimate, but {self.estimate} is outside "
                f"[{self.low}, {self.high}]."
            )
        check_fraction("An interval's level", self.level)
        if not self.method:
            raise InputError("An interval must name the method that it came from.")

    @property
    def width(self) -> float:
        """high - low, in the units of the estimate."""
        return self.high - self.low

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the closed interval."""
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, float | str]:
        """The five fields as a JSON-able dict."""
        return asdict(self)


@dataclass(frozen=True)
class PValue:
    """The result of one fixed-sample test.

    `value` is P(evidence at least this strong | null), so a small one speaks *against* `null`, a sentence
    in words. `statistic` is the test's own (its docstring says the sign). Raises `InputError` when `value`
    is outside [0, 1] or the statistic is not finite.
    """

    value: float
    statistic: float
    null: str
    method: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise InputError(f"A p-value must lie in [0, 1], but is {self.value}.")
        if not math.isfinite(self.statistic):
            raise InputError(f"A test statistic must be finite, but is {self.statistic}.")
        if not (self.null and self.method):
            raise InputError("A p-value must name its null hypothesis and its method.")

    def rejects(self, alpha: float = 0.05) -> bool:
        """Whether the null is rejected at level `alpha`; raises `InputError` unless 0 < alpha < 1."""
        check_fraction("alpha", alpha)
        return self.value <= alpha

    def to_json(self) -> dict[str, float | str]:
        """The four fields as a JSON-able dict."""
        return asdict(self)
