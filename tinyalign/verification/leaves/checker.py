"""The text checker's own error, from the committed audit of its verdicts by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tinyalign.common.resources import data_folder
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row

AUDIT = "checker_labels.json"


@register_leaf
@dataclass(frozen=True, kw_only=True)
class CheckerError(Leaf):
    """U_missed: how often a story that the checker does not flag is a violation all the same.

    A link of a numeric chain, P(V) <= U_flagged + U_missed, whose sum has the margin. From the audit in
    `data/measurements/checker_labels.json`: `audit` names the set of hand-labelled stories ("both": the
    two together; the checker's rules were written with the development labels in view); the violations among
    those not flagged are counted and bounded (Clopper-Pearson). Nothing is sampled here. That the miss
    rate of the audited stories is that of the stories at stake is an assumption the argument must state.
    """

    audit: Literal["held-out", "development", "both"]

    kind: ClassVar[str] = "checker-error"

    def planned(self, context: Context) -> int:
        """One row: the audit's counts."""
        return 1

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The audit's counts for the property; zeros where nobody has audited it."""
        path = data_folder() / "measurements" / AUDIT
        audits = json.loads(path.read_text(encoding="utf-8"))
        row: Row = {"labels": 0, "called": 0, "violations": 0, "right": 0}
        for name in ("held-out", "development") if self.audit == "both" else (self.audit,):
            audited = audits[name].get(context.prop.id)
            if audited is not None:
                row["labels"] += audited["labels"]
                for key, counted in (("called", "called"), ("violations", "labelled"), ("right", "right")):
                    row[key] += audited["violated"][counted]
        return [row for _ in indices]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """The bound is the link; a chain judges it."""
        row = rows[0]
        unflagged = row["labels"] - row["called"]
        if unflagged < 1:
            return LeafResult(
                id=self.id,
                kind=self.kind,
                claim=self.claim,
                status="not established",
                summary=f"Nobody has audited the checker of {context.prop.id} ({self.audit} labels).",
                alpha=alpha,
                details=row,
            )
        missed = row["violations"] - row["right"]
        high = clopper_pearson(missed, unflagged, 1 - alpha, "upper").high
        low = clopper_pearson(missed, unflagged, 1 - alpha, "lower").low
        return LeafResult(
            id=self.id,
            kind=self.kind,
            claim=self.claim,
            status="established",
            summary=f"Of {unflagged} hand-labelled stories that the checker did not flag {missed} were "
            f"violations: at most {high:.1%} at error {alpha:.3g}.",
            estimate=missed / unflagged,
            low=low,
            high=high,
            direction="<=",
            unit="share of stories not flagged",
            alpha=alpha,
            n=len(rows),
            details={**row, "audit": self.audit, "unflagged": unflagged, "missed": missed},
        )
