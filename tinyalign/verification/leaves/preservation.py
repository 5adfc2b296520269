"""What must not change: the decisions of the other properties, and stories as a whole."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from tinyalign.common.errors import DataError
from tinyalign.engine import sample
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.statistics.betting import betting_interval, betting_test
from tinyalign.statistics.paired import tango_interval, tango_test
from tinyalign.statistics.planning import plan_paired, rate_rejection_rate, tango_rejection_rate
from tinyalign.stories.grammar import Split
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.leaves.concluding import SHOWN, conclude_rate, no_rows, status_of
from tinyalign.verification.leaves.decision import DIGITS, check_rate, planned_rate, preference_example
from tinyalign.verification.results import LeafResult, Row, Status

UNIT = "rise of the share of violating decisions"


@lru_cache(maxsize=64)
def _pairs_needed(margin: float, discordance: float, alpha: float, power: float) -> int:
    return plan_paired(margin, discordance, 0.0, alpha, power).samples


@register_leaf
@dataclass(frozen=True, kw_only=True)
class PairedPreservation(Leaf):
    """E[bad after - bad before] < margin over the other properties that are present in the base.

    Row i draws a fresh prompt of one property, the properties taking turns; "bad" is that the violating words
    are preferred (on the side with the antecedent). `include_own` adds the argument's own property, for edits
    that are claimed to change nothing. `test`: "tango" (score test, fixed n planned for `discordance`) or
    "betting" (exact at the same n).
    """

    margin: float
    discordance: float
    wanted_power: float = 0.9
    test: Literal["tango", "betting"] = "tango"
    include_own: bool = False
    split: Split = "test"
    stream: str = "preservation"

    kind: ClassVar[str] = "paired"
    block: ClassVar[int] = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.margin < 1 or not 0 < self.discordance < 1:
            raise DataError(f"margin {self.margin} and discordance {self.discordance} must lie in (0, 1).")
        if not 0 < self.wanted_power < 1:
            raise DataError(f"wanted_power is {self.wanted_power}; it must lie between 0 and 1.")

    def planned(self, context: Context) -> int:
        """Pairs for no change on average at the planned discordance; 0 where no other property is present."""
        if not self._kept(context):
            return 0
        n = _pairs_needed(self.margin, self.discordance, context.alpha, self.wanted_power)
        there = min(context.space_size(self.split, prop, pair) for prop, pair in self._kept(context))
        return min(n, there * len(self._kept(context)))

    def power(self, context: Context) -> float | None:
        """Exact for the score test when nothing changes on average at the planned discordance."""
        if self.test != "tango" or not self._kept(context):
            return None
        return tango_rejection_rate(self.planned(context), self.margin, self.discordance, 0.0, context.alpha)

    def measure(self, context: Context, indices: range) -> list[Row]:
        """`before` and `after`: log p(S) - log p(V) in nats of the row's `property`."""
        kept = self._kept(context)
        rows: dict[int, Row] = {}
        for turn, (prop, pair) in enumerate(kept):
            own = [index for index in indices if index % len(kept) == turn]
            if not own:
                continue
            prompts = context.prompts(
                range(own[0] // len(kept), own[-1] // len(kept) + 1),
                stream=f"{self.stream}: {prop.id} {pair.name}",
                split=self.split,
                prop=prop,
                pair=pair,
            )
            before = context.preferences("base", prompts, "clean", pair)
            after = context.preferences("edited", prompts, "clean", pair)
            for place, index in enumerate(own):
                rows[index] = {
                    "property": f"{prop.id} {pair.name}",
                    "prompt": prompts[place].clean,
                    "before": round(float(before[place]), DIGITS),
                    "after": round(float(after[place]), DIGITS),
                }
        return [rows[index] for index in indices]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Tango's score test or betting; per-property counts in the details."""
        if not self._kept(context):
            return LeafResult(
                id=self.id,
                kind=self.kind,
                claim=self.claim,
                status="established",
                summary="Empty: no other property is present in the base, so there is nothing to preserve.",
                margin=self.margin,
                direction="<=",
                unit=UNIT,
                details={"empty": True},
            )
        if not rows:
            return no_rows(self, self.margin, "<=", UNIT, alpha)
        table: dict[str, dict[str, int]] = defaultdict(
            lambda: {"pairs": 0, "worse": 0, "better": 0, "bad": 0}
        )
        for row in rows:
            counted = table[row["property"]]
            counted["pairs"] += 1
            counted["worse"] += row["before"] > 0 >= row["after"]
            counted["better"] += row["after"] > 0 >= row["before"]
            counted["bad"] += row["before"] <= 0
        worse, better = (sum(one[key] for one in table.values()) for key in ("worse", "better"))
        numbers = self._numbers(rows, worse, better, alpha)
        return LeafResult(
            id=self.id,
            kind=self.kind,
            claim=self.claim,
            summary=f"Of {len(rows)} decisions of {len(table)} properties {worse} got worse and {better} "
            f"better: a rise of {(worse - better) / len(rows):+.2%}, at most {numbers['high']:+.2%} at error "
            f"{alpha:.3g}, claimed below {self.margin:.1%}.",
            margin=self.margin,
            direction="<=",
            unit=UNIT,
            alpha=alpha,
            n=len(rows),
            details={
                "test": "Tango score, fixed n" if self.test == "tango" else "betting, fixed n",
                "worse": worse,
                "better": better,
                "properties": dict(table),
                "split": self.split,
            },
            counterexamples=tuple(
                preference_example(row, self._violating(context, row["property"]))
                for row in [row for row in rows if row["before"] > 0 >= row["after"]][:SHOWN]
            ),
            **numbers,
        )

    def _kept(self, context: Context) -> tuple[tuple[Property, LogitPair], ...]:
        own = ((context.prop, context.pair),) if self.include_own else ()
        return (*context.preserved, *own)

    def _violating(self, context: Context, name: str) -> tuple[str, ...]:
        return next(pair.violating for prop, pair in self._kept(context) if f"{prop.id} {pair.name}" == name)

    def _numbers(self, rows: Sequence[Row], worse: int, better: int, alpha: float) -> dict[str, Any]:
        if self.test == "tango":
            low = tango_interval(worse, better, len(rows), 1 - alpha, "lower").low
            high = tango_interval(worse, better, len(rows), 1 - alpha, "upper").high
            p = tango_test(worse, better, len(rows), self.margin).value
            failed: Status = "defeated" if low > self.margin else "not established"
            return {
                "estimate": (worse - better) / len(rows),
                "low": low,
                "high": high,
                "p_value": p,
                "status": "established" if p <= alpha else failed,
            }
        rises = [(row["after"] <= 0) - (row["before"] <= 0) for row in rows]
        low = betting_interval(rises, -1, 1, 1 - alpha, "lower").low
        high = betting_interval(rises, -1, 1, 1 - alpha, "upper").high
        test = betting_test(rises, self.margin, -1, 1, "less", alpha, horizon=len(rows))
        return {
            "estimate": (worse - better) / len(rows),
            "low": low,
            "high": high,
            "e_value": math.exp(min(test.log_e, 700.0)),
            "status": status_of(low, high, self.margin, "<="),
        }


@register_leaf
@dataclass(frozen=True, kw_only=True)
class UniversalPreservation(Leaf):
    """Under one random stream, at most the share `p0` of stories is not the same, character by character.

    That share bounds |P(E before) - P(E after)| for *every* event E about a story at once (a coupling bounds
    the total variation), so only very local edits can pass. Stories begin with `prompt`.
    """

    p0: float
    planned_rate: float
    wanted_power: float = 0.9
    max_new_tokens: int = 150
    prompt: str = "Once upon a time"
    stream: str = "free stories"

    kind: ClassVar[str] = "universal"
    block: ClassVar[int] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.p0, self.planned_rate, self.wanted_power)
        if self.max_new_tokens < 1:
            raise DataError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1.")

    def planned(self, context: Context) -> int:
        """From margin, planned truth, alpha and power."""
        return planned_rate(self.p0, self.planned_rate, context.alpha, self.wanted_power).samples

    def power(self, context: Context) -> float:
        """Exact, at the planned truth."""
        return rate_rejection_rate(self.planned(context), self.p0, self.planned_rate, context.alpha)

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The base's story, and the edited one's where it differs."""
        first = indices.start - indices.start % self.block
        drawn: dict[str, list[str]] = {}
        for which in ("base", "edited"):
            stories = sample(
                context.model(which),
                self.prompt,
                n=indices.stop - first,
                max_new_tokens=self.max_new_tokens,
                seed=context.seed_for(self.stream, "stories", first),
            )
            drawn[which] = [story.text for story in stories][indices.start - first :]
        return [
            {"prompt": self.prompt, "before": before, "after": after}
            for before, after in zip(drawn["base"], drawn["edited"], strict=True)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Clopper-Pearson at fixed n on the share that differs."""
        differ = sum(row["before"] != row["after"] for row in rows)
        return conclude_rate(
            self,
            differ,
            len(rows),
            self.p0,
            alpha,
            what="Stories that differ under the same random numbers",
            unit="share of stories",
        )
