"""Check 8, description length: an edit that is much shorter than a table of the prompts cannot be one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tinyalign.common.errors import DataError
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.clauses import Clause, conclude_all
from tinyalign.verification.hardcoded.differences import changes, count_trits, trit_bits
from tinyalign.verification.hardcoded.figures import bars
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row


@register_leaf
@dataclass(frozen=True, kw_only=True)
class DescriptionLength(Leaf):
    """The change takes at most `margin` bits, and at most the share `table` of what a lookup table takes.

    The bits are counted on the two networks, never read from the artifact: k flipped trits of N cost
    log2 C(N, k) + k; floats see `differences.float_bits`. The table answers each prompt of the test grammar
    at the pair's decision by one bit (comply or not), which is what an edit that had learnt the prompts by
    heart would have to hold. Raises `DataError` for a margin or share that is not positive.
    """

    margin: float
    table: float

    kind: ClassVar[str] = "description-length"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin <= 0 or self.table <= 0:
            raise DataError(
                f"margin {self.margin} (bits) and table {self.table} (share) must both be positive."
            )

    def planned(self, context: Context) -> int:
        """One row."""
        return 1

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The counted bits, what they are made of, and the table's bits."""
        found = changes(context.base, context.edited)
        flipped = sum(one.entries for one in found if one.sort == "trits")
        total = count_trits(context.base.network)
        trits = trit_bits(flipped, total) if flipped else 0.0
        floats = math.fsum(one.bits for one in found)
        row: Row = {
            "bits": trits + floats,
            "trit_bits": trits,
            "float_bits": floats,
            "flipped": flipped,
            "trits": total,
            "floats_changed": sum(one.entries for one in found if one.sort != "trits"),
            "prompts": context.space_size("test"),
            "claimed_bits": None if context.edit is None else context.edit.description_bits,
        }
        return [row for _ in indices]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Deterministic: established or defeated."""
        row = rows[0]
        bits, table = float(row["bits"]), float(row["prompts"])
        clauses = [
            _at_most("description length", bits, self.margin, "bits"),
            _at_most("share of a lookup table", bits / table, self.table, "of the table's bits"),
        ]
        remark = (
            f"{row['flipped']} of {row['trits']} trits and {row['floats_changed']} floats changed: "
            f"{bits:.0f} bits, against {table:.0f} for a table of the test prompts."
        )
        limits = {
            "this edit": bits,
            "claimed at most": self.margin,
            f"{self.table:g} of a lookup table": self.table * table,
        }
        details = {**row, "bits_bars": bars(limits, "Bits to write the change down", "bits")}
        return conclude_all(self, clauses, n=len(rows), alpha=alpha, details=details, remark=remark)


def _at_most(name: str, value: float, margin: float, unit: str) -> Clause:
    return Clause(name, value, value, value, margin, "<=", unit, value <= margin, value > margin)
