"""A progress bar with loss, rate, tokens a second and time left; plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_LINE_EVERY_SECONDS = 20.0


class TrainingProgress:
    """Shown on standard error, so that standard output stays for results."""

    def __init__(self, name: str, steps: int, done: int, tokens_per_step: int, *, quiet: bool = False):
        self._console = Console(stderr=True, quiet=quiet)
        self._name, self._steps, self._per_step = name, steps, tokens_per_step
        self._first, self._begun = done, time.monotonic()
        self._last_line = self._begun
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("loss {task.fields[loss]:.3f}  rate {task.fields[rate]:.1e}"),
            TextColumn("{task.fields[pace]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task(
            name, total=steps, completed=done, loss=float("nan"), rate=0.0, pace=0.0
        )

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ):
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, highlight=False)

    def update(self, step: int, loss: float, rate: float) -> None:
        """`step` steps are done; `loss` in nats a token, `rate` the matrices' learning rate."""
        now = time.monotonic()
        pace = (step - self._first) * self._per_step / max(now - self._begun, 1e-9)
        self._bar.update(self._task, completed=step, loss=loss, rate=rate, pace=pace)
        if not self._console.is_terminal and now - self._last_line > _LINE_EVERY_SECONDS:
            self._last_line = now
            left = (self._steps - step) * self._per_step / max(pace, 1e-9)
            self.say(
                f"{self._name}: step {step}/{self._steps}, loss {loss:.3f}, rate {rate:.1e}, "
                f"{pace:,.0f} tokens/s, {left / 60:.0f} min left"
            )
