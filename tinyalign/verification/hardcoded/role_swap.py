"""Check 3, role swap: the edit acts when the parent speaks, and less when the same words change mouths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinyalign.common.errors import DataError
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.clauses import conclude_all, mean_at_least
from tinyalign.verification.hardcoded.drawing import DIGITS, effect, enough
from tinyalign.verification.hardcoded.figures import histogram
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row


@register_leaf
@dataclass(frozen=True, kw_only=True)
class RoleSwap(Leaf):
    """Effect on clean prompts minus effect on the same with the two people exchanged >= `margin` nats.

    The effect is the change of log p(S) - log p(V) from the base to the edited model. Differences are cut to
    +-`clip` nats, so that an exact bound of their mean exists (betting). With `share` the swapped effect must
    also stay below that share of the clean one: E[share x clean - swapped] > 0. Raises `DataError` for
    `samples` below 2, a clip that does not exceed the margin, or a share outside (0, 1).
    """

    margin: float
    samples: int
    clip: float = 5.0
    share: float | None = None

    kind: ClassVar[str] = "role-swap"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2 or not 0 < self.margin < self.clip:
            raise DataError(
                f"samples {self.samples} must be at least 2, and margin {self.margin} between 0 and the clip."
            )

        if self.share is not None and not 0 < self.share < 1:
            raise DataError(f"share is {self.share}; it must lie between 0 and 1.")

    def planned(self, context: Context) -> int:
        """`samples`; raises `InputError` beyond the grammar's size."""
        return enough(self, self.samples, context.space_size())

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The edit's effect on prompt i, parent speaking and roles swapped (nats)."""
        prompts = context.prompts(indices)
        clean, swapped = (effect(context, prompts, side) for side in ("clean", "role_swap_clean"))
        return [
            {"clean": round(float(plain), DIGITS), "swapped": round(float(other), DIGITS)}
            for plain, other in zip(clean, swapped, strict=True)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Established when the lower bound of the difference is above the margin."""
        clean, swapped = (np.array([row[side] for row in rows]) for side in ("clean", "swapped"))
        tests = 1 if self.share is None else 2
        name = "effect with the parent minus with roles swapped"
        clauses = [mean_at_least(name, clean - swapped, self.margin, self.clip, alpha, tests)]
        if self.share is not None:
            name = f"{self.share:g} times the effect with the parent minus that with roles swapped"
            clauses.append(mean_at_least(name, self.share * clean - swapped, 0.0, self.clip, alpha, tests))
        series = {"parent speaks": clean, "roles swapped": swapped}
        details = {
            "clean": float(clean.mean()),
            "swapped": float(swapped.mean()),
            "effect_histogram": histogram(series, "Effect of the edit, prompt by prompt"),
        }
        remark = f"Effect {clean.mean():+.2f} nats with the parent, {swapped.mean():+.2f} with roles swapped."
        return conclude_all(self, clauses, n=len(rows), alpha=alpha, details=details, remark=remark)
