"""Mechanism: the edit acts through named components, and through nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from tinyalign.circuits.components import Component, random_sets
from tinyalign.circuits.decisions import encode_side
from tinyalign.circuits.effects import share_interval
from tinyalign.circuits.exchange import exchange
from tinyalign.circuits.reading import read
from tinyalign.common.errors import DataError, InputError
from tinyalign.stories.grammar import Split
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.clauses import Clause, conclude_all
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.leaves.concluding import no_rows
from tinyalign.verification.leaves.decision import DIGITS, enough_prompts
from tinyalign.verification.leaves.touched import touched_components
from tinyalign.verification.results import LeafResult, Row

UNIT = "share of the total effect"


@dataclass(frozen=True)
class Named:
    """The components that are claimed, and who named them."""

    components: tuple[Component, ...]
    by: str


@register_leaf
@dataclass(frozen=True, kw_only=True)
class Mechanism(Leaf):
    """The edit's effect on clean prompts is lost without the components C, and there with them alone.

    C are the components of the `localization`, where one was given, else those whose weights were changed.
    TE: preference (log p(S) - log p(V)) of the edited model minus the base's. IE: what the edited model loses
    when only C's writes to the residual stream are those of the base, at every position; claimed IE/TE >=
    `mediated`. Put into the base, C's writes in the edited model restore at least the share `restored`. Of
    `random_sets` sets as large as C, drawn outside it, the 95th percentile of IE/TE is at most `random` (a
    point estimate over the prompts). Ratios of means, with t bounds over prompts.
    """

    mediated: float
    restored: float
    random: float
    samples: int
    random_sets: int
    split: Split = "test"
    stream: str = "mechanism"

    kind: ClassVar[str] = "mechanism"
    block: ClassVar[int] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.mediated <= 1 and 0 < self.restored <= 1 and 0 < self.random < 1):
            raise DataError(
                f"mediated {self.mediated}, restored {self.restored} and random {self.random} are shares."
            )
        if self.samples < 2 or self.random_sets < 1:
            raise DataError(
                f"samples {self.samples} must be at least 2 and random_sets {self.random_sets} positive."
            )

    def planned(self, context: Context) -> int:
        """`samples`; raises `InputError` beyond the grammar's size."""
        return enough_prompts(self, self.samples, context.space_size(self.split))

    def measure(self, context: Context, indices: range) -> list[Row]:
        """Nats: `total`, `lost` without C, `restored` by C alone, `random`: lost without each random set."""
        named = self._named(context)
        prompts = context.prompts(indices, stream=self.stream, split=self.split)
        decisions = encode_side(context.base, context.pair, prompts, "clean")
        base = read(context.base, decisions, positions="all")
        edited = read(context.edited, decisions, positions="all")
        total = edited.preferences - base.preferences
        others = self._random(context, named)
        if named.components:
            without = exchange(edited, base, [named.components, *others])
            alone = exchange(base, edited, [named.components])[0]
        else:
            without, alone = edited.preferences[None], base.preferences
        return [
            {
                "prompt": prompt.clean,
                "components": [component.name for component in named.components],
                "named_by": named.by,
                "total": round(float(total[i]), DIGITS),
                "lost": round(float(edited.preferences[i] - without[0, i]), DIGITS),
                "restored": round(float(alone[i] - base.preferences[i]), DIGITS),
                "random": [round(float(edited.preferences[i] - row[i]), DIGITS) for row in without[1:]],
            }
            for i, prompt in enumerate(prompts)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """All three shares must hold; without any effect there is no mechanism to speak of."""
        if len(rows) < 2:
            return no_rows(self, self.mediated, ">=", UNIT, alpha)
        total, lost, restored = (
            np.array([row[key] for row in rows]) for key in ("total", "lost", "restored")
        )
        names = rows[0]["components"]
        details = {
            "components": names,
            "named_by": rows[0]["named_by"],
            "total_nats": float(total.mean()),
            "lost_nats": float(lost.mean()),
            "restored_nats": float(restored.mean()),
        }
        if not names or total.mean() <= 0:
            what = "no component was changed" if not names else f"the effect is {total.mean():+.3f} nats"
            return LeafResult(
                id=self.id,
                kind=self.kind,
                claim=self.claim,
                status="defeated",
                summary=f"There is no effect that components could carry: {what}.",
                margin=self.mediated,
                direction=">=",
                unit=UNIT,
                alpha=alpha,
                n=len(rows),
                details=details,
            )
        clauses = [
            self._share("effect lost without the components", lost, total, self.mediated, alpha),
            self._share("effect restored by the components alone", restored, total, self.restored, alpha),
        ]
        remark = (
            f"Components ({rows[0]['named_by']}): {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}."
        )
        shares = [float(one) for one in np.array([row["random"] for row in rows]).mean(axis=0) / total.mean()]
        if shares:
            top = float(np.quantile(shares, 0.95, method="higher"))
            clauses.append(
                Clause(
                    name="effect lost without random components, 95th percentile",
                    estimate=top,
                    low=top,
                    high=top,
                    margin=self.random,
                    direction="<=",
                    unit=UNIT,
                    holds=top <= self.random,
                    fails=top > self.random,
                )
            )
        found = conclude_all(
            self,
            clauses,
            n=len(rows),
            alpha=alpha,
            details={**details, "random_shares": shares},
            remark=remark,
        )
        if shares or found.status != "established":
            return found
        return replace(
            found,
            status="not established",
            summary=f"{found.summary} Too few components are left outside to draw random sets from.",
        )

    def _share(self, name: str, parts: np.ndarray, wholes: np.ndarray, margin: float, alpha: float) -> Clause:
        bounds = share_interval(parts, wholes, 1 - 2 * alpha)
        strict = share_interval(parts, wholes, 1 - alpha)
        return Clause(
            name=name,
            estimate=bounds.estimate,
            low=bounds.low,
            high=bounds.high,
            margin=margin,
            direction=">=",
            unit=UNIT,
            holds=bounds.low >= margin,
            fails=strict.high < margin,
        )

    def _named(self, context: Context) -> Named:
        if context.localization is not None:
            return Named(tuple(context.localization.components), "named by the localization")

        def make() -> tuple[Component, ...]:
            return touched_components(context.base, context.edited)

        return Named(context.remembered(("touched", "components"), make), "touched by the edit")

    def _random(self, context: Context, named: Named) -> tuple[tuple[Component, ...], ...]:
        if not named.components:
            return ()
        seed = context.seed_for(self.stream, "random components")
        try:
            return random_sets(context.base.config, named.components, self.random_sets, seed)
        except InputError:
            # Fewer components are left outside C than C has: conclude says so.
            return ()
