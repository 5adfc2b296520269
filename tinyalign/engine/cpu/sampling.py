"""Sampling with the C++ decoder: chunks of steps, stop strings between them, stories in order."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tinyalign.common.errors import InputError
from tinyalign.engine.cpu import native
from tinyalign.engine.cpu.weights import CpuModel, checked, current, memory_error
from tinyalign.engine.sampling import Request, Row, Sampling, StopReason, Story, finish, not_finite
from tinyalign.engine.stops import Stops

if TYPE_CHECKING:
    from tinyalign.models import StoryModel

LANES = 32

# Stories whose tokens are held at once, and steps between two looks from Python.
_WINDOW = 16_384
_STEPS = 64
_STEPS_WITH_STOP = 16
_RUNNING = 1
_REASONS: dict[int, StopReason] = {2: "end", 3: "length", 4: "context"}


def run(model: StoryModel, request: Request, *, batch_size: int, threads: int) -> Iterator[Story]:
    """Yield the stories in order; weights are read when the first one is asked for.

    At most `batch_size` stories (never more than 32) go on side by side in each of `threads` blocks.
    Raises `CheckpointError` when logits are not finite or memory runs out, `InputError` on token ids that
    the model doesn't have.
    """
    cpu = current(model, request.cache)
    for ids in request.encoded:
        if not ids or len(ids) >= cpu.context or not all(0 <= token < cpu.vocab for token in ids):
            raise InputError(
                f"A prompt of {len(ids)} token ids cannot be read: expected 1 to {cpu.context - 1} ids below "
                f"{cpu.vocab}."
            )
    chosen = request.chosen
    stops = Stops(model, request)
    for first in range(chosen.start, chosen.stop, _WINDOW):
        count = min(_WINDOW, chosen.stop - first)
        blocks = min(threads, -(-count // min(LANES, batch_size)))
        window = _Window(cpu, model, request, first, count, min(LANES, batch_size), blocks)
        try:
            yield from window.stories(stops)
        finally:
            window.close()


class _Window:
    """Consecutive stories under way in one session of the decoder."""

    def __init__(
        self,
        cpu: CpuModel,
        model: StoryModel,
        request: Request,
        first: int,
        count: int,
        lanes: int,
        blocks: int,
    ) -> None:
        self.cpu, self.model, self.request, self.first, self.count = cpu, model, request, first, count
        limit = min(request.limit, cpu.context)
        self.tokens = np.zeros((count, limit), dtype=np.int32)
        self.lengths = np.zeros(count, dtype=np.int32)
        self.status = np.zeros(count, dtype=np.int8)
        # Kept as attributes: the decoder reads them for as long as the session lives.
        self.prompts = np.array([token for ids in request.encoded for token in ids], dtype=np.int32)
        self.offsets = np.cumsum([0, *map(len, request.encoded)], dtype=np.int64)
        self.job = native.Job(
            prompts=native.address(self.prompts),
            offsets=native.address(self.offsets),
            first=first,
            count=count,
            each=request.each,
            limit=limit,
            end=-1 if model.eos_id is None else model.eos_id,
            capacity=min(cpu.context, max(map(len, request.encoded)) + limit),
            lanes=lanes,
            draw=_draw(request.draw, cpu.vocab, request.seed),
            tokens=native.address(self.tokens),
            lengths=native.address(self.lengths),
            status=native.address(self.status),
        )
        self.session = cpu.lib.ta_session(cpu.handle, ctypes.byref(self.job), blocks)
        if not self.session:
            raise memory_error()

    def close(self) -> None:
        """Give the session's memory back."""
        if self.session:
            self.cpu.lib.ta_session_free(self.session)
            self.session = None

    def stories(self, stops: Stops) -> Iterator[Story]:
        """The stories of the window, each as soon as all before it have ended."""
        done: dict[int, Story] = {}
        due = looked_at = 0
        ended = np.zeros(self.count, dtype=bool)
        more = True
        while more:
            code = checked(self.cpu.lib.ta_run(self.session, _STEPS_WITH_STOP if stops else _STEPS))
            if code < 0:
                raise not_finite()
            more = code == 1
            # Stories start in order, so the ones to look at lie between the next due and the last started.
            started = int(np.count_nonzero(self.status))
            for story in range(looked_at, started):
                if not ended[story]:
                    found = self._look(story, stops)
                    if found is not None:
                        ended[story] = True
                        done[story] = found
            while due in done:
                yield done.pop(due)
                due += 1
            looked_at = due

    def _look(self, story: int, stops: Stops) -> Story | None:
        """The story where it ended, by itself or at a stop string."""
        status = int(self.status[story])
        index = self.first + story
        if status == _RUNNING and not stops:
            return None
        prompt = index // self.request.each
        ids = self.request.encoded[prompt]
        new = self.tokens[story, : self.lengths[story]].tolist()
        row = Row(index, self.request.texts[prompt], len(ids), [*ids, *new])
        found = stops.find(index, row, prompt)
        if found is not None:
            self.cpu.lib.ta_stop(self.session, story)
            row.tokens = row.tokens[: len(ids) + found.tokens]
            return finish(self.model, row, "stop", found.cut)
        return None if status == _RUNNING else finish(self.model, row, _REASONS[status], None)


def _draw(draw: Sampling, vocab: int, seed: int) -> native.Draw:
    # What keeps every token is not asked for: sorting them would only cost time.
    top_k = draw.top_k if draw.top_k is not None and draw.top_k < vocab else 0
    top_p = draw.top_p if draw.top_p is not None and draw.top_p < 1 else 0.0
    return native.Draw(float(draw.temperature), float(top_p), top_k, seed & 0xFFFFFFFFFFFFFFFF)
