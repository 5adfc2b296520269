"""Sampling with fixed rows: chunks of steps without a look from the host, refilled between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from tinyalign.engine.philox import uniforms
from tinyalign.engine.sampling import Request, Row, StopReason, Story, finish, not_finite
from tinyalign.engine.static.blocks import Blocks
from tinyalign.engine.static.drawing import NOT_FINITE
from tinyalign.engine.static.kept import Session, keep, take
from tinyalign.engine.static.prompts import Prompts
from tinyalign.engine.static.rows import LONGEST_CHUNK
from tinyalign.engine.static.serving import check_served
from tinyalign.engine.stops import Stops

if TYPE_CHECKING:
    from tinyalign.models import StoryModel

# Steps between two looks: a row whose story has ended waits for the next one. A look makes a GPU wait.
_CHUNK = {"cpu": 8, "cuda": LONGEST_CHUNK}
_CHUNK_WITH_STOP = {"cpu": 8, "cuda": 16}


def run(model: StoryModel, request: Request, *, batch_size: int, graphs: bool = True) -> Iterator[Story]:
    """Yield the stories in order, at most `batch_size` under way at a time.

    On a CUDA device steps are captured and replayed, unless `graphs` is False. Raises `InputError` at once
    for a model that is not served (see `serving.refusal`), `CheckpointError` on logits that are not finite.
    """
    check_served(model)
    return _stories(model, request, batch_size, graphs and model.device.type == "cuda")


def _stories(model: StoryModel, request: Request, batch_size: int, graphs: bool) -> Iterator[Story]:
    chosen = request.chosen
    if not chosen:
        return
    rows = min(batch_size, len(chosen))
    prompts = request.encoded[chosen.start // request.each : (chosen.stop - 1) // request.each + 1]
    capacity = min(model.context, max(map(len, prompts)) + request.limit)
    blocks = Blocks(model)
    session = take(model, blocks, rows, capacity, request.draw, graphs=graphs)
    try:
        table = _Table(model, request, blocks, session)
        done: dict[int, Story] = {}
        due, ended = chosen.start, list[_Ended]()
        table.refill()
        while table.live or ended:
            table.launch()
            # While the device works, texts are decoded, and whoever asked for stories has them.
            for end in ended:
                done[end.row.index] = finish(model, end.row, end.stopped, end.cut)
            while due in done:
                yield done.pop(due)
                due += 1
            ended = table.look()
            table.refill()
    finally:
        keep(model, session)


@dataclass(frozen=True)
class _Ended:
    """A row whose story ended, why, and the characters of its text before a stop string."""

    row: Row
    stopped: StopReason
    cut: int | None


class _Table:
    """The stories under way, by the row of the session they are in: what the host knows of them."""

    def __init__(self, model: StoryModel, request: Request, blocks: Blocks, session: Session) -> None:
        self.request, self.blocks, self.session = request, blocks, session
        self.end, self.context = model.eos_id, model.context
        self.live: dict[int, Row] = {}
        self.free = list(range(session.rows.rows))
        self.next = request.chosen.start
        last = (request.chosen.stop - 1) // request.each
        self.prompts = Prompts(blocks, request.encoded[: last + 1])
        self.stops = Stops(model, request)
        kind = blocks.device.type
        self.chunk = (_CHUNK_WITH_STOP if request.stop else _CHUNK)[kind]
        self.steps = 0

    def refill(self) -> None:
        """Begin the next stories in the rows that are free."""
        count = min(len(self.free), self.request.chosen.stop - self.next)
        if count == 0:
            return
        stories = np.arange(self.next, self.next + count)
        slots, self.free = np.array(self.free[:count]), self.free[count:]
        self.next += count
        prompts = stories // self.request.each
        for slot, index, prompt in zip(slots.tolist(), stories.tolist(), prompts.tolist(), strict=True):
            ids = self.request.encoded[prompt]
            self.live[slot] = Row(index, self.request.texts[prompt], len(ids), list(ids))
        begun = [self.live[slot] for slot in slots.tolist()]
        rows = self.session.rows
        rows.begin(
            slots,
            np.array([row.tokens[-1] for row in begun]),
            np.array([row.start - 1 for row in begun]),
            self._uniforms(begun),
        )
        self.prompts.copy(prompts, slots, rows)

    def launch(self) -> None:
        """Let the device take as many steps as some story has room for, up to a chunk."""
        if self.live:
            rooms = {slot: self._room(row) for slot, row in self.live.items()}
            self.steps = min(self.chunk, max(rooms.values()))
            longest = max(len(r.tokens) - 1 + min(self.steps, rooms[slot]) for slot, r in self.live.items())
            self.session.run(self.blocks, longest, self.steps)

    def look(self) -> list[_Ended]:
        """Wait for the steps, add their tokens to the stories and free the rows of those that ended.

        Raises `CheckpointError` where a story's logits were not finite.
        """
        if not self.live:
            return []
        drawn = self.session.rows.drawn[: self.steps].T.tolist()
        ended = []
        for slot, row in list(self.live.items()):
            end = self._advance(row, drawn[slot])
            if end is not None:
                ended.append(end)
                del self.live[slot]
                self.free.append(slot)
        return ended

    def _advance(self, row: Row, drawn: list[int]) -> _Ended | None:
        """Add the tokens that belong to the story; how it ended, if it did."""
        new = drawn[: self._room(row)]
        stopped: StopReason | None = None
        if self.end is not None and self.end in new:
            new, stopped = new[: new.index(self.end)], "end"
        finite = NOT_FINITE not in new
        row.tokens += new if finite else new[: new.index(NOT_FINITE)]
        found = self.stops.find(row.index, row, row.index // self.request.each)
        if found is not None:
            row.tokens = row.tokens[: row.start + found.tokens]
            return _Ended(row, "stop", found.cut)
        if not finite:
            raise not_finite()
        if stopped is None and self._room(row) == 0:
            stopped = "length" if len(row.tokens) - row.start >= self.request.limit else "context"
        return None if stopped is None else _Ended(row, stopped, None)

    def _uniforms(self, begun: list[Row]) -> Float64[np.ndarray, "k capacity"]:
        """The numbers that these stories draw with, each where the position before it was read."""
        numbers = np.zeros((len(begun), self.session.rows.capacity))
        if self.request.draw.temperature != 0:
            longest = max(map(self._room, begun))
            positions = np.array([[row.start] for row in begun]) + np.arange(longest)
            which, _ = inside = np.nonzero(positions <= numbers.shape[1])
            stories = np.array([row.index for row in begun])[which]
            numbers[which, positions[inside] - 1] = uniforms(self.request.seed, stories, positions[inside])
        return numbers

    def _room(self, row: Row) -> int:
        """How many tokens the story may still get."""
        size = len(row.tokens)
        return min(self.request.limit - (size - row.start), self.context - size)
