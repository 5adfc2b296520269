"""Steps as CUDA graphs: captured once for each attended length, replayed without the host's launches."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tinyalign.engine.static.rows import Rows

# Runs before a capture: libraries and Triton set themselves up, which a capture cannot hold.
_WARM_UPS = 3


@dataclass(frozen=True)
class Captured:
    """A way to run one step again, and the pool its memory is in, which later captures share."""

    replay: Callable[[], object]
    pool: Any


class Graphs:
    """The captured steps of one set of `rows`, by attended length."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.captured: dict[int, Captured] = {}

    def run(self, step: Callable[[int], None], attended: int, steps: int) -> None:
        """Run `step(attended)` so many times by replays; the first time at a length it is captured."""
        if attended not in self.captured:
            # Warming up takes the stories further: what it writes into the caches is written again before
            # anything attends to it, the rest is put back.
            before = [tensor.clone() for tensor in self.rows.changing()]
            pool = next((captured.pool for captured in self.captured.values()), None)
            self.captured[attended] = capture(lambda: step(attended), self.rows.tokens.device, pool)
            for tensor, value in zip(self.rows.changing(), before, strict=True):
                tensor.copy_(value)
        for _ in range(steps):
            self.captured[attended].replay()


def capture(step: Callable[[], None], device: torch.device, pool: Any) -> Captured:
    """Warm `step` up on a stream of its own and capture it; it has run a few times afterwards.

    Raises `RuntimeError` where a step cannot be captured; the current stream is then the one it was.
    """
    # One capture at a time, and none that what another thread does with the device would break.
    with _capturing, torch.cuda.device(device):
        here, beside = torch.cuda.current_stream(), _stream(device)
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UPS):
                step()
            graph = torch.cuda.CUDAGraph()
            # Torch's own choice is one stream for the process, on the device that captured first.
            with torch.cuda.graph(graph, pool=pool, stream=beside, capture_error_mode="thread_local"):
                step()
        here.wait_stream(beside)
    return Captured(graph.replay, graph.pool())


_capturing = threading.Lock()


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all captures on a device: graphs that share a pool must share it."""
    return torch.cuda.Stream(device)
