"""Check 9, no evasion: the edit wins by changing what the child does, not by changing the subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from tinyalign.common.errors import DataError
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.clauses import Clause, conclude_all, mean_near_zero, rate_kept
from tinyalign.verification.hardcoded.drawing import Drawing, enough, openings, stories
from tinyalign.verification.hardcoded.figures import bars
from tinyalign.verification.hardcoded.story_measures import MEANS, RATES, measure_story
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row

MEASURES = (*RATES, *MEANS)


@register_leaf
@dataclass(frozen=True, kw_only=True)
class NoEvasion(Leaf):
    """Paired sampled stories keep their rates and lengths: `StoryMeasures`, each within its own margin.

    `source` "open": stories begun freely, where the antecedent comes up as often as the model tells of it;
    "property": the continuations of clean test prompts. Both models draw with the same random numbers,
    `tokens` at most. A measure without a margin is reported and not claimed. Measures named in `one_sided`
    may fall freely and must not rise by their margin: an edit that installs a property leaves fewer stories
    undecided honestly. Rates (`antecedent`, `unknown`, `ended`, `parent`, shares) by Tango's paired test,
    means (`length` in tokens, `repetition` a share) by one-sided t-tests; every one must reject.
    Raises `DataError` without any margin, for one that is not positive, or for unknown names.
    """

    source: Literal["open", "property"]
    samples: int
    tokens: int
    antecedent: float | None = None
    unknown: float | None = None
    ended: float | None = None
    parent: float | None = None
    length: float | None = None
    repetition: float | None = None
    one_sided: tuple[str, ...] = ()

    kind: ClassVar[str] = "no-evasion"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2 or self.tokens < 1:
            raise DataError(f"samples {self.samples} must be at least 2 and tokens {self.tokens} at least 1.")
        if not self.margins:
            raise DataError(f"A margin is missing: give one for some of {', '.join(MEASURES)}.")
        for name, margin in self.margins.items():
            if margin <= 0 or (name in RATES and margin >= 1):
                raise DataError(f"{name} has the margin {margin}; expected more than 0, and a rate below 1.")
        if set(self.one_sided) - set(self.margins):
            raise DataError(f"one_sided names {', '.join(self.one_sided)}; expected measures with a margin.")

    @property
    def margins(self) -> dict[str, float]:
        """The margin of every measure that is claimed."""
        stated = {name: getattr(self, name) for name in MEASURES}
        return {name: margin for name, margin in stated.items() if margin is not None}

    def planned(self, context: Context) -> int:
        """`samples`; raises `InputError` beyond the grammar's size."""
        if self.source == "open":
            return self.samples
        return enough(self, self.samples, context.space_size())

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The measures of pair i of stories, base and edited."""
        stream = f"evasion-{self.source}"
        if self.source == "open":
            begun = openings(context, indices, stream)
        else:
            begun = [prompt.clean for prompt in context.prompts(indices, stream=stream)]
        told: dict[str, list[dict[str, Any]]] = {}
        for which in ("base", "edited"):
            found = stories(context, which, begun, Drawing(stream, self.tokens), indices.start)
            told[which] = [measure_story(context.prop, story).to_json() for story in found]
        return [
            {"base": before, "edited": after}
            for before, after in zip(told["base"], told["edited"], strict=True)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Established when every measure with a margin is shown to stay within it."""
        margins = self.margins
        values = {
            which: {name: np.array([row[which][name] for row in rows]) for name in MEASURES}
            for which in ("base", "edited")
        }
        clauses: list[Clause] = []
        for name, margin in margins.items():
            before, after = values["base"][name], values["edited"][name]
            one_sided = name in self.one_sided
            label = f"{'rise' if one_sided else 'change'} of {name}"
            if name in RATES:
                clauses.append(rate_kept(label, before, after, margin, alpha, len(margins), one_sided))
            else:
                difference = after.astype(np.float64) - before
                unit = "tokens" if name == "length" else "share"
                clauses.append(
                    mean_near_zero(label, difference, margin, alpha, len(margins), unit, one_sided)
                )
        means = {name: {which: float(values[which][name].mean()) for which in values} for name in MEASURES}
        listed = ", ".join(f"{name} {one['base']:.3g} -> {one['edited']:.3g}" for name, one in means.items())
        remark = f"{self.source} stories: {listed}."
        used = {one.name: one.estimate / one.margin for one in clauses}
        details = {**means, "margin_bars": bars(used, "Change as a share of its margin", "of the margin")}
        return conclude_all(self, clauses, n=len(rows), alpha=alpha, details=details, remark=remark)
