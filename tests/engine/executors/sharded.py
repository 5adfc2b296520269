"""What tests of shards share: prompts, an executor that counts, a task whose workers can be met half-way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyalign.engine.executors import InProcess, SampleTask
from tinyalign.engine.executors.task import Task

PROMPTS = ("Once upon a time", "The dog", "Tom and his mom went to the park. Tom said")


class Counted:
    """In this process, keeping count of the shards that were computed."""

    def __init__(self) -> None:
        self.computed: list[range] = []

    def shards(self, task: Task, shards: Sequence[range]) -> Iterator[tuple[range, bytes]]:
        # Backwards: results must come in order all the same.
        for indices, shard in InProcess().shards(task, list(reversed(shards))):
            self.computed.append(indices)
            yield indices, shard


@dataclass(frozen=True)
class Gated(SampleTask):
    """Its first shard comes at once, the others when the file `gate` is there: workers die half-way."""

    gate: str = ""

    def items(self, indices: range) -> list[Any]:
        patience = time.monotonic() + 120
        while indices.start > 0 and not Path(self.gate).exists():
            assert time.monotonic() < patience, "nobody opened the gate"
            time.sleep(0.01)
        return super().items(indices)
