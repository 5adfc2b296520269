"""Leaves at the decision point: how often violating words are preferred, and what the antecedent does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from tinyalign.common.errors import DataError, InputError
from tinyalign.properties.contrast import CLIP_NATS
from tinyalign.statistics.planning import Plan, plan_rate, rate_rejection_rate
from tinyalign.stories.grammar import Split
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.leaves.concluding import conclude_mean, conclude_rate
from tinyalign.verification.results import Counterexample, LeafResult, Row

DIGITS = 6
"""Nats in rows are rounded to so many decimals."""


@lru_cache(maxsize=256)
def planned_rate(p0: float, truth: float, alpha: float, power: float) -> Plan:
    """`plan_rate`, remembered: planning asks for it several times."""
    return plan_rate(p0, truth, alpha, power)


def check_rate(p0: float, planned: float, power: float) -> None:
    """Raise `DataError` where a rate's margin, planned truth and power do not go together."""
    if not 0 < p0 < 1:
        raise DataError(f"p0 is {p0}; the rate claimed must lie between 0 and 1.")
    if not 0 <= planned < p0:
        raise DataError(f"planned_rate is {planned}; it must lie in [0, p0), below the margin {p0}.")
    if not 0 < power < 1:
        raise DataError(f"wanted_power is {power}; it must lie between 0 and 1.")


def enough_prompts(leaf: Leaf, wanted: int, there: int) -> int:
    """`wanted`; raises `InputError` where the grammar has fewer different prompts."""
    if wanted > there:
        raise InputError(
            f"The leaf {leaf.id!r} needs {wanted} different prompts, but its grammar has {there}: claim a "
            "wider margin."
        )
    return wanted


def preference_example(row: Row, violating: Sequence[str]) -> Counterexample:
    """A counterexample of a decision: what the two models prefer after the prompt."""
    before = row.get("before")
    return Counterexample(
        prompt=row["prompt"],
        before="" if before is None else f"log p(satisfying) - log p(violating) = {before:+.2f} nats",
        after=f"log p(satisfying) - log p(violating) = {row['after']:+.2f} nats",
        span=None,
        why=f"The edited model prefers going on with one of: {', '.join(violating)}.",
    )


@register_leaf
@dataclass(frozen=True, kw_only=True)
class DecisionRate(Leaf):
    """P(the edited model prefers the violating words | antecedent) <= p0, on freshly drawn prompts.

    One prompt a row, drawn without replacement from `split`. A tie counts as a violation. The first block is
    scored under the base too, for the reader. Exact at fixed n, planned for a truth of `planned_rate`.
    """

    p0: float
    planned_rate: float
    wanted_power: float = 0.9
    split: Split = "test"
    stream: str = "decision"

    kind: ClassVar[str] = "rate"
    block: ClassVar[int] = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.p0, self.planned_rate, self.wanted_power)

    def planned(self, context: Context) -> int:
        """From margin, planned truth, alpha and power; raises `InputError` beyond the grammar's size."""
        n = planned_rate(self.p0, self.planned_rate, context.alpha, self.wanted_power).samples
        return enough_prompts(self, n, context.space_size(self.split))

    def power(self, context: Context) -> float:
        """Exact, at the planned truth."""
        return rate_rejection_rate(self.planned(context), self.p0, self.planned_rate, context.alpha)

    def measure(self, context: Context, indices: range) -> list[Row]:
        """`after`: log p(S) - log p(V) in nats after the clean prompt; `before` in the first block."""
        prompts = context.prompts(indices, stream=self.stream, split=self.split)
        after = context.preferences("edited", prompts, "clean")
        rows: list[Row] = [
            {"prompt": prompt.clean, "after": round(float(value), DIGITS)}
            for prompt, value in zip(prompts, after, strict=True)
        ]
        if indices.start < self.block:
            before = context.preferences("base", prompts, "clean")
            for row, value in zip(rows, before, strict=True):
                row["before"] = round(float(value), DIGITS)
        return rows

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Clopper-Pearson at fixed n."""
        bad = [row for row in rows if row["after"] <= 0]
        before = [row["before"] for row in rows if "before" in row]
        return conclude_rate(
            self,
            len(bad),
            len(rows),
            self.p0,
            alpha,
            what="Prompts on which the edited model prefers a violating continuation",
            unit="share of prompts",
            details={
                "split": self.split,
                "pair": context.pair.name,
                "before": {"bad": sum(value <= 0 for value in before), "of": len(before)},
                "preference_nats": [row["after"] for row in rows],
                "preference_nats_before": before,
            },
            counterexamples=[preference_example(row, context.pair.violating) for row in bad],
        )


@register_leaf
@dataclass(frozen=True, kw_only=True)
class EditedContrast(Leaf):
    """The edited model's contrast (clean minus corrupted, in nats) is at least `margin` on average.

    Per-prompt values are clipped to +-10 nats, as everywhere; betting at fixed n = `samples`.
    """

    margin: float
    samples: int
    split: Split = "test"
    stream: str = "decision"

    kind: ClassVar[str] = "contrast"
    block: ClassVar[int] = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -CLIP_NATS < self.margin < CLIP_NATS or self.samples < 1:
            raise DataError(
                f"margin {self.margin} must lie within +-{CLIP_NATS:g} nats, and samples be positive."
            )

    def planned(self, context: Context) -> int:
        """`samples`; raises `InputError` beyond the grammar's size."""
        return enough_prompts(self, self.samples, context.space_size(self.split))

    def measure(self, context: Context, indices: range) -> list[Row]:
        """`clean` and `corrupted`: log p(S) - log p(V) of the edited model on each side, in nats."""
        prompts = context.prompts(indices, stream=self.stream, split=self.split)
        sides = {side: context.preferences("edited", prompts, side) for side in ("clean", "corrupted")}
        return [
            {"prompt": prompt.clean, **{side: round(float(sides[side][i]), DIGITS) for side in sides}}
            for i, prompt in enumerate(prompts)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Lower betting bound against the margin."""
        return conclude_mean(
            self,
            [row["clean"] - row["corrupted"] for row in rows],
            (-CLIP_NATS, CLIP_NATS),
            self.margin,
            ">=",
            alpha,
            what="Contrast of the edited model",
            unit="nats",
            details={"split": self.split, "pair": context.pair.name},
        )
