"""The training loop: resumable to the bit, interruptible, the same on a CPU and on a GPU."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.common.files import write_json
from tinyalign.common.seeds import derive_seed
from tinyalign.training.checkpoint import Checkpoint, read_checkpoint
from tinyalign.training.curves import write_curves
from tinyalign.training.distillation import distillation_loss, language_loss
from tinyalign.training.export import to_story_model
from tinyalign.training.optimizer import Optimizer
from tinyalign.training.progress import TrainingProgress
from tinyalign.training.recipe import Recipe
from tinyalign.training.setup import Setup, prepare

if TYPE_CHECKING:
    from tinyalign.models.story_model import StoryModel

_CURVE_EVERY = 50


@dataclass(frozen=True)
class TrainingRun:
    """A finished (or interrupted) run: the model as it stands, how far it came, and what it took."""

    model: StoryModel
    folder: Path
    steps: int
    finished: bool
    tokens: int
    seconds: float
    final_loss: float

    def to_json(self) -> dict[str, Any]:
        """The figures, and the model's identity."""
        return {
            "folder": str(self.folder),
            "steps": self.steps,
            "finished": self.finished,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "final_loss": self.final_loss,
            "sha256": self.model.sha256,
        }


def train(
    recipe: Recipe,
    runs: str | Path = "runs",
    *,
    device: str | None = None,
    quiet: bool = False,
    stop_after: int | None = None,
) -> TrainingRun:
    """Train what `recipe` says in `runs`/NAME, going on from the checkpoint there if there is one.

    Writes checkpoint.safetensors while it runs, and at the end `model/` (a Hugging Face folder), loss.json,
    loss.html and run.json. Ctrl-C saves a checkpoint and returns with `finished` False, and so does
    reaching step `stop_after`. On one machine equal recipes give equal bits, and a run that was stopped and
    resumed equals one that was not.

    Raises `CheckpointError` when the checkpoint is damaged or belongs to another recipe, and whatever
    reading stories, teacher or start raises.
    """
    folder = Path(runs) / recipe.name
    stored = read_checkpoint(folder)
    if stored is not None and stored.recipe != recipe.to_json():
        raise CheckpointError(
            f"{folder} holds the checkpoint of another recipe: give this one another name, or delete it."
        )
    setup = prepare(recipe, runs, device=device)
    trainer = Trainer(recipe, setup, folder)
    if stored is not None:
        trainer.restore(stored)
    return trainer.run(quiet=quiet, stop_after=stop_after)


class Trainer:
    """The state of one run, step by step; `train` is the way to use it."""

    def __init__(self, recipe: Recipe, setup: Setup, folder: Path) -> None:
        self._recipe, self._setup, self._folder = recipe, setup, folder
        self._optimizer = Optimizer(setup.net, setup.net.matrices(), recipe.schedule)
        if setup.optimizer_state:
            self._optimizer.restore(setup.optimizer_state)
        self._step = 0
        self._history: list[dict[str, float]] = []
        self._seconds = 0.0
        self._losses = (
            torch.compile(self._plain_losses, dynamic=False) if recipe.compile else self._plain_losses
        )

    def restore(self, stored: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self._setup.net.load_state_dict(stored.weights)
        self._optimizer.restore(stored.optimizer)
        self._step, self._history, self._seconds = stored.step, stored.history, stored.seconds

    def run(self, *, quiet: bool, stop_after: int | None) -> TrainingRun:
        recipe, schedule = self._recipe, self._recipe.schedule
        last = min(schedule.steps, stop_after or schedule.steps)
        begun, saved = time.monotonic() - self._seconds, time.monotonic()
        losses: list[float] = []
        bar = TrainingProgress(recipe.name, schedule.steps, self._step, schedule.tokens_per_step, quiet=quiet)
        with bar:
            bar.say(self._setup.said)
            try:
                while self._step < last:
                    losses.append(self.one_step())
                    self._step += 1
                    self._seconds = time.monotonic() - begun
                    bar.update(self._step, losses[-1], schedule.matrix_rate * schedule.rate(self._step - 1))
                    if self._step % _CURVE_EVERY == 0 or self._step == schedule.steps:
                        self._note(losses)
                        losses = []
                    if time.monotonic() - saved > recipe.checkpoint_seconds:
                        self._save()
                        saved = time.monotonic()
            except KeyboardInterrupt:
                bar.say(f"{recipe.name}: interrupted; saved at step {self._step}, the same command goes on.")
            # A curve point that was begun is lost with an interruption; the weights are not.
            self._save()
        return self._finish()

    def one_step(self) -> float:
        """One optimizer step; the mean loss of its tokens in nats."""
        schedule, device = self._recipe.schedule, self._setup.device
        # Dropout is the only draw, and its seed is the step's own: nothing has to be stored for a resume.
        torch.manual_seed(derive_seed("dropout", self._recipe.seed, self._step))
        self._setup.net.train()
        length = schedule.row_length(self._step)
        batch = self._setup.stream.batch(self._step, length)
        total = 0.0
        parts = schedule.accumulation
        for inputs, targets in zip(batch.inputs.chunk(parts), batch.targets.chunk(parts), strict=True):
            loss, plain = self._losses(inputs.to(device), targets.to(device))
            (loss / parts).backward()
            total += plain.item() / parts
        if not total < float("inf"):
            raise InputError(
                f"The loss of {self._recipe.name} became {total} at step {self._step}: lower the learning "
                "rates and start again."
            )
        self._optimizer.step(self._step)
        return total

    def _plain_losses(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(what is minimised, the language-modelling loss alone), nats a token."""
        logits = self._setup.net(inputs)
        plain = language_loss(logits, targets.flatten())
        if self._setup.teacher is None:
            return plain, plain
        weight = self._recipe.distill_weight
        taught = distillation_loss(logits, self._setup.teacher(inputs))
        return weight * taught + (1 - weight) * plain, plain

    def _note(self, losses: list[float]) -> None:
        schedule = self._recipe.schedule
        point = {
            "step": float(self._step),
            "tokens": float(self._step * schedule.tokens_per_step),
            "seconds": self._seconds,
            "rate": schedule.matrix_rate * schedule.rate(self._step - 1),
            "loss": sum(losses) / max(len(losses), 1),
        }
        if self._step % self._recipe.validation_every == 0 or self._step == schedule.steps:
            point["validation_nats"] = self._setup.validation_loss()
        self._history.append(point)

    def _save(self) -> None:
        Checkpoint(
            weights=dict(self._setup.net.state_dict()),
            optimizer=self._optimizer.state(),
            step=self._step,
            recipe=self._recipe.to_json(),
            history=self._history,
            seconds=self._seconds,
        ).save(self._folder)

    def _finish(self) -> TrainingRun:
        recipe = self._recipe
        model = to_story_model(
            self._setup.net,
            self._setup.tokenizer,
            name=recipe.name,
            source=f"trained by the recipe {recipe.name}",
        )
        run = TrainingRun(
            model=model,
            folder=self._folder,
            steps=self._step,
            finished=self._step >= recipe.schedule.steps,
            tokens=self._step * recipe.schedule.tokens_per_step,
            seconds=self._seconds,
            final_loss=self._history[-1]["loss"] if self._history else 0.0,
        )
        write_curves(self._folder, recipe.name, self._history)
        if run.finished:
            from tinyalign.models.saving import save

            save(model, self._folder / "model", float_bits=16 if recipe.bits == 16 else 32)
        write_json(
            self._folder / "run.json",
            {
                **run.to_json(),
                "folder": recipe.name,
                "recipe": recipe.to_json(),
                "data": self._setup.to_json(),
            },
        )
        return run
