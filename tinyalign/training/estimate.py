"""What a recipe would cost here: a few real steps, timed, and the memory that they took."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tinyalign.common.errors import InputError
from tinyalign.training.loop import Trainer
from tinyalign.training.recipe import Recipe
from tinyalign.training.setup import prepare

_MIB = 1 << 20


@dataclass(frozen=True)
class DryRun:
    """An estimate from `timed_steps` real steps.

    `seconds` is the whole run's time at the pace measured, `memory_mib` the largest resident memory of this
    process so far (on a GPU: the most that was allocated there), `parameters` all weights, tied ones once.
    """

    recipe: str
    device: str
    parameters: int
    tokens: int
    epochs: float
    seconds_per_step: float
    tokens_per_second: float
    seconds: float
    memory_mib: float
    timed_steps: int
    reads: str

    def __post_init__(self) -> None:
        if self.timed_steps < 1 or self.seconds_per_step <= 0:
            raise InputError("A dry run needs at least one timed step.")

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def dry_run(
    recipe: Recipe, runs: str | Path = "runs", *, device: str | None = None, steps: int = 3
) -> DryRun:
    """Time `steps` steps of `recipe` (after one that is not counted, for compiling) and keep nothing.

    Raises what `train` would raise while getting ready.
    """
    if steps < 1:
        raise InputError(f"A dry run of {steps} steps measures nothing: give 1 or more.")
    with tempfile.TemporaryDirectory() as scratch:
        setup = prepare(recipe, runs, device=device, own=Path(scratch))
        trainer = Trainer(recipe, setup, Path(scratch))
        trainer.one_step()
        begun = time.perf_counter()
        for _ in range(steps):
            trainer.one_step()
        each = (time.perf_counter() - begun) / steps
    schedule = recipe.schedule
    tokens = schedule.steps * schedule.tokens_per_step
    return DryRun(
        recipe=recipe.name,
        device=str(setup.device),
        parameters=sum(p.numel() for p in setup.net.parameters()),
        tokens=tokens,
        epochs=tokens / setup.stream.tokens,
        seconds_per_step=each,
        tokens_per_second=schedule.tokens_per_step / each,
        seconds=each * schedule.steps,
        memory_mib=_memory(setup.device),
        timed_steps=steps,
        reads=setup.said,
    )


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return largest / _MIB if sys.platform == "darwin" else largest / 1024
