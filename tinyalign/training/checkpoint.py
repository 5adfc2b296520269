"""One file that a killed run goes on from: weights, optimizer, and where it stood; whole or not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tinyalign.common.errors import CheckpointError
from tinyalign.common.files import atomic_path

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """`weights` and `optimizer` by name; `step` is the next one to take; `history` the loss curve so far.

    No random state: every draw of a run is a function of (seed, step).
    """

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    step: int
    recipe: dict[str, Any]
    history: list[dict[str, float]]
    seconds: float

    def save(self, folder: Path) -> None:
        """Write `folder`/checkpoint.safetensors atomically."""
        tensors = {f"weights.{k}": v.detach().cpu().contiguous() for k, v in self.weights.items()}
        tensors |= {f"optimizer.{k}": v.detach().cpu().contiguous() for k, v in self.optimizer.items()}
        state = {"step": self.step, "recipe": self.recipe, "history": self.history, "seconds": self.seconds}
        with atomic_path(folder / FILE) as temporary:
            save_file(tensors, str(temporary), metadata={"state": json.dumps(state)})


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in a run's folder, or None where there is none; `CheckpointError` if it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as opened:
            state = json.loads((opened.metadata() or {})["state"])
            names = opened.keys()
            tensors = {name: opened.get_tensor(name) for name in names}
        return Checkpoint(
            weights=_under("weights.", tensors),
            optimizer=_under("optimizer.", tensors),
            step=int(state["step"]),
            recipe=dict(state["recipe"]),
            history=list(state["history"]),
            seconds=float(state["seconds"]),
        )
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is damaged ({error}): delete it to train from the start."
        ) from error


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
