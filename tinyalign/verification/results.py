"""What a leaf hands on: one frozen result with its numbers, and the counterexamples it met."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from tinyalign.common.errors import InputError

Status = Literal["established", "defeated", "not established"]
STATUSES: tuple[Status, ...] = get_args(Status)

Row = dict[str, Any]
"""One measured sample as JSON values: what a leaf's `measure` gives and its `conclude` reads."""


@dataclass(frozen=True)
class Counterexample:
    """One prompt on which the claim fails.

    `before` and `after` are the base's and the edited model's texts, `span` the (start, end) in code points
    of `after` that decides, None where the decision is one of probabilities. `why` says in words what failed.
    `shrunk` is a smaller prompt that still fails, if one was looked for; `attacker` who found it.
    """

    prompt: str
    before: str
    after: str
    span: tuple[int, int] | None
    why: str
    shrunk: str | None = None
    attacker: str | None = None

    def __post_init__(self) -> None:
        if self.span is not None and not 0 <= self.span[0] < self.span[1] <= len(self.after):
            raise InputError(f"The span {self.span} is not inside the text of {len(self.after)} characters.")

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; the span as a list."""
        return {**asdict(self), "span": None if self.span is None else list(self.span)}


@dataclass(frozen=True)
class LeafResult:
    """What became of one leaf.

    `estimate`, `low` and `high` are in `unit`; the claim is that the truth is `direction` `margin`. The
    interval is the one that decides: at level 1 - `alpha`, one-sided where the claim is, its open end at the
    edge of what the quantity can be. A check without sampling has `low == high == estimate`, or None where
    there is no number at all. `n` counts the rows it rests on. `p_value` or `e_value` (never both) is the
    evidence against "the claim is false by the margin". `details` holds numbers for readers and figures.

    "defeated" says that the data speak for the claim's opposite (the whole interval lies beyond the margin, a
    deterministic check failed, or a counterexample to a "for all" was confirmed); "not established" that
    they do not suffice. `complete` is False where the budget ended before all rows were measured.
    Raises `InputError` for fields that contradict each other.
    """

    id: str
    kind: str
    claim: str
    status: Status
    summary: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    direction: Literal["<=", ">="] | None = None
    unit: str = ""
    alpha: float | None = None
    n: int = 0
    p_value: float | None = None
    e_value: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    counterexamples: tuple[Counterexample, ...] = ()
    complete: bool = True

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"A leaf's status is one of {', '.join(STATUSES)}, not {self.status!r}.")
        if not (self.id and self.claim and self.summary):
            raise InputError(f"The result of the leaf {self.id!r} needs an id, a claim and a summary.")
        numbers = (self.estimate, self.low, self.high, self.margin, self.alpha, self.p_value, self.e_value)
        if not all(math.isfinite(number) for number in numbers if number is not None):
            raise InputError(
                f"The result of the leaf {self.id!r} has numbers that are not finite: {numbers}."
            )
        if (self.low is None) != (self.high is None):
            raise InputError(f"The leaf {self.id!r} gives one end of an interval without the other.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InputError(f"The leaf {self.id!r} has an interval from {self.low} down to {self.high}.")
        if self.direction not in (None, "<=", ">="):
            raise InputError(f"A direction is '<=' or '>=', not {self.direction!r}.")
        if self.p_value is not None and self.e_value is not None:
            raise InputError(f"The leaf {self.id!r} gives both a p-value and an e-value: give one.")
        if self.n < 0:
            raise InputError(f"The leaf {self.id!r} counts {self.n} rows.")

    def unfinished(self, planned: int) -> LeafResult:
        """The same numbers as "not established": the budget ended before all `planned` rows were measured."""
        summary = f"The budget ran out after {self.n} of {planned} samples. So far: {self.summary}"
        return replace(self, status="not established", summary=summary, p_value=None, complete=False)

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values."""
        return {
            "id": self.id,
            "kind": self.kind,
            "claim": self.claim,
            "status": self.status,
            "summary": self.summary,
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "margin": self.margin,
            "direction": self.direction,
            "unit": self.unit,
            "alpha": self.alpha,
            "n": self.n,
            "p_value": self.p_value,
            "e_value": self.e_value,
            "details": dict(self.details),
            "complete": self.complete,
            "counterexamples": [one.to_json() for one in self.counterexamples],
        }
