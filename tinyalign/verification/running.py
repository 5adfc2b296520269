"""Measuring: leaf by leaf, block by block, each row kept as soon as it is there."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinyalign.common.errors import InputError, TinyalignError
from tinyalign.verification.canonical import TamperedError, canonical
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.results import LeafResult, Row
from tinyalign.verification.rows import RowFile
from tinyalign.verification.seal import Seal

Progress = Callable[[str, int, int], None]
"""Called with a leaf's id, its rows so far and its rows planned."""

TOLERANCE = 2e-3
"""How far a number measured again may lie from the one on file: another machine rounds otherwise."""

BROKEN = (
    TinyalignError,
    RuntimeError,
    ArithmeticError,
    ValueError,
    LookupError,
    TypeError,
    OSError,
    MemoryError,
)


class RunBrokeError(TinyalignError):
    """Measuring failed: neither for nor against the claim. The command line exits with 4."""


@dataclass(frozen=True)
class Budget:
    """At most so many seconds of measuring, or so many samples over all leaves; None is without limit."""

    seconds: float | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise InputError(f"A budget of {self.seconds} seconds cannot be kept: give a number from 0 up.")
        if self.samples is not None and self.samples < 0:
            raise InputError(f"A budget of {self.samples} samples cannot be kept: give a number from 0 up.")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """ "90" or "90s" are seconds, "5000samples" samples; raises `InputError` for anything else."""
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|seconds|samples)?\s*", text)
        if found is None or (found[2] == "samples" and "." in found[1]):
            raise InputError(f"A budget is written 90, 90s or 5000samples, not {text!r}.")
        return cls(samples=int(found[1])) if found[2] == "samples" else cls(seconds=float(found[1]))


@dataclass
class Meter:
    """What is left of a budget."""

    budget: Budget
    started: float
    measured: int = 0

    @property
    def spent(self) -> bool:
        """Whether nothing more may be measured."""
        over = self.budget.seconds is not None and time.monotonic() - self.started >= self.budget.seconds
        return over or (self.budget.samples is not None and self.measured >= self.budget.samples)

    def room(self, wanted: int) -> int:
        """How many of the wanted samples fit into the budget."""
        return wanted if self.budget.samples is None else min(wanted, self.budget.samples - self.measured)


def header(leaf: Leaf, seal: Seal) -> dict[str, Any]:
    """The first line of a leaf's results: which run they belong to."""
    return {"leaf": leaf.id, "specification": seal.specification_sha256, "seed": str(seal.seed)}


def plan_all(leaves: Mapping[str, tuple[Leaf, Context]]) -> dict[str, int]:
    """The rows that each leaf takes; raises what `planned` raises, before anything is measured."""
    return {name: leaf.planned(context) for name, (leaf, context) in leaves.items()}


def measure_block(leaf: Leaf, context: Context, block: int, planned: int) -> list[Row]:
    """The rows of one block as they read after JSON; raises `RunBrokeError` with the leaf and the rows."""
    indices = range(block * leaf.block, min((block + 1) * leaf.block, planned))
    try:
        rows = leaf.measure(context, indices)
        if len(rows) != len(indices):
            raise RunBrokeError(f"{len(rows)} rows came for {len(indices)} samples.")
        return [json.loads(canonical(row)) for row in rows]
    except BROKEN as error:
        raise RunBrokeError(
            f"The run broke at leaf {leaf.id!r} ({leaf.kind}), samples {indices.start}-{indices.stop - 1}: "
            f"{type(error).__name__}: {error}"
        ) from error


def measure_leaf(
    leaf: Leaf,
    context: Context,
    file: RowFile,
    planned: int,
    meter: Meter,
    progress: Progress | None = None,
    chunk: int | None = None,
) -> None:
    """Append rows until all planned ones are there or the budget is spent.

    `chunk` bounds how many rows are written at once. Rows are measured in whole blocks whatever `chunk` is,
    and a block of which some rows are on file already is measured again and compared: raises `TamperedError`
    with the line that the models do not give, `RunBrokeError` where measuring fails.
    """
    while len(file.rows) < planned and not meter.spent:
        block = len(file.rows) // leaf.block
        rows = measure_block(leaf, context, block, planned)
        there = len(file.rows) - block * leaf.block
        for place, (old, new) in enumerate(zip(file.rows[block * leaf.block :], rows, strict=False)):
            if not agree(old, new):
                raise TamperedError(
                    f"{file.path}, line {block * leaf.block + place + 2}: the models give another row now: "
                    "remove the file to measure it again."
                )
        rest = rows[there:][: meter.room(len(rows) - there)]
        meter.measured += len(rest)
        step = chunk or len(rest)
        for start in range(0, len(rest), max(step, 1)):
            file.append(rest[start : start + step])
            if progress is not None:
                progress(leaf.id, len(file.rows), planned)
        if not rest:
            return


def conclude(leaf: Leaf, context: Context, rows: list[Row], planned: int) -> LeafResult:
    """The leaf's result at its alpha; "not established" where rows are missing that its test needs."""
    if len(rows) >= planned:
        return leaf.conclude(context, rows, context.alpha)
    nothing = LeafResult(
        id=leaf.id,
        kind=leaf.kind,
        claim=leaf.claim,
        status="not established",
        summary="There is no estimate yet.",
        alpha=context.alpha,
        n=len(rows),
    )
    if not rows:
        return nothing.unfinished(planned)
    try:
        found = leaf.conclude(context, rows, context.alpha)
    except InputError:
        # Some tests ask for more rows than there are; then there is nothing to say so far.
        return nothing.unfinished(planned)
    return found if leaf.sequential and found.status == "established" else found.unfinished(planned)


def agree(old: Any, new: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether two JSON values say the same: texts and counts exactly, floats within `tolerance`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(agree(old[key], new[key], tolerance) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(
            agree(one, other, tolerance) for one, other in zip(old, new, strict=True)
        )
    if isinstance(old, float) and isinstance(new, (int, float)):
        return math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance)
    return type(old) is type(new) and old == new
