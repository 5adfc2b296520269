"""Sampling with the persistent kernel: prompts read once, then launches of some steps, stories in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.cuda.layout import (
    JOB,
    LARGEST_BLOCK,
    SLOT,
    SMALLEST_BLOCK,
    Shape,
    model_type,
    structure,
)
from tinyalign.engine.cuda.machine import Kernel, Machine
from tinyalign.engine.cuda.serving import check_served
from tinyalign.engine.cuda.weights import DeviceWeights
from tinyalign.engine.sampling import Request, Row, StopReason, Story, finish, not_finite
from tinyalign.engine.stops import Stops
from tinyalign.models import StoryModel

# Stories whose tokens are held at once, and steps between two looks from the host.
_WINDOW = 65_536
_STEPS = 64
_STEPS_WITH_STOP = 16
_RUNNING, _LENGTH, _STOPPED = 1, 3, 5
_REASONS: dict[int, StopReason] = {2: "end", 3: "length", 4: "context"}
# Shares of the free memory for what stories keep and for what prompts keep.
_OWN_SHARE, _SHARED_SHARE = 0.5, 0.2


def run(
    model: StoryModel, request: Request, *, batch_size: int | None, machine: Machine | None = None
) -> Iterator[Story]:
    """Yield the stories in order; weights are read when the first one is asked for.

    At most `batch_size` stories go on side by side (None: as many as the device runs at once). Raises
    `InputError` for a model that isn't served or ids that it doesn't have, `CheckpointError` when logits are
    not finite or the device's memory is too small.
    """
    if machine is None:
        from tinyalign.engine.cuda.gpu import Gpu

        check_served(model)
        machine = Gpu(model.device)
    for ids in request.encoded:
        if not ids or len(ids) >= model.context or not all(0 <= t < model.config.d_vocab for t in ids):
            raise InputError(
                f"A prompt of {len(ids)} token ids cannot be read: expected 1 to {model.context - 1} ids "
                f"below {model.config.d_vocab}."
            )
    chosen = request.chosen
    stops = Stops(model, request)
    with _allocating():
        runner = _Runner(model, request, machine, batch_size)
    first = chosen.start
    while first < chosen.stop:
        with _allocating():
            window = runner.window(first, chosen.stop)
        yield from window.stories(stops)
        first += window.count
        # Before there is another: each takes what is free.
        del window


@contextlib.contextmanager
def _allocating() -> Iterator[None]:
    """For tensors that are written to later, and may be outside of an inference mode that is on now.

    Raises `CheckpointError` where memory runs out.
    """
    try:
        with torch.inference_mode(False):
            yield
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            "The device's memory ran out: lower max_new_tokens or batch_size, use cache='int8', or free some."
        ) from error


class _Runner:
    """What all windows share: weights, kernel, and how many stories go on side by side."""

    def __init__(self, model: StoryModel, request: Request, machine: Machine, batch_size: int | None) -> None:
        self.model, self.request, self.device = model, request, model.device
        count = len(request.chosen)
        most = count if batch_size is None else min(count, batch_size)
        self.shape = _shape(model, most, machine, int8=request.cache == "int8")
        stories = self.shape.stories
        self.weights = DeviceWeights(model)
        self.kernel: Kernel = machine.kernel(self.shape, self.weights.packed_bytes)
        fields = self.weights.fields(self.kernel.resident)
        self.structure = structure(model_type(self.shape.layers), fields, self.device)
        self.limit = min(request.limit, model.context)
        longest = max(map(len, request.encoded))
        self.shared_capacity = longest
        self.capacity = min(model.context, longest + self.limit)
        free = machine.free_memory()
        each = stories * (4 * self.shape.cache_words(1, self.capacity) + 4 * self.shape.vocab)
        fitting = int(free * _OWN_SHARE) // each
        if fitting < 1:
            raise CheckpointError(
                f"The device has {free} bytes free and {stories} stories take {each}: lower max_new_tokens, "
                "use cache='int8', or free some memory."
            )
        self.lanes = min(stories, most)
        self.blocks = min(self.kernel.blocks, fitting, -(-most // self.lanes))
        self.prompts_fitting = max(
            1, int(free * _SHARED_SHARE) // (4 * self.shape.cache_words(1, self.shared_capacity)) - 1
        )

    def window(self, first: int, stop: int) -> _Window:
        """The next stories from `first` on whose prompts fit into memory."""
        numbers: dict[tuple[int, ...], int] = {}
        prompt_of: list[int] = []
        for index in range(first, min(stop, first + _WINDOW)):
            ids = tuple(self.request.encoded[index // self.request.each])
            if ids not in numbers and len(numbers) == self.prompts_fitting:
                break
            prompt_of.append(numbers.setdefault(ids, len(numbers)))
        return _Window(self, first, list(numbers), prompt_of)


def _shape(model: StoryModel, most: int, machine: Machine, *, int8: bool) -> Shape:
    """Smaller blocks where larger ones would leave multiprocessors without work, or don't fit."""
    large = Shape.of(model, LARGEST_BLOCK, int8)
    if most <= SMALLEST_BLOCK * machine.processors or large.scratch > machine.shared_memory:
        return Shape.of(model, SMALLEST_BLOCK, int8)
    return large


@dataclass
class _Pass:
    """One job under way: its tensors on the device."""

    runner: _Runner
    job: torch.Tensor
    status: torch.Tensor
    lengths: torch.Tensor
    tokens: torch.Tensor
    broken: torch.Tensor
    kept: list[torch.Tensor]

    def launch(self) -> np.ndarray:
        """Go on, and give the stories' status; raises `CheckpointError` on logits that are not finite."""
        self.runner.kernel.launch(self.runner.structure, self.job, self.runner.blocks)
        if int(self.broken):
            raise not_finite()
        return self.status.cpu().numpy()


class _Window:
    """Consecutive stories: their prompts are read when it is made."""

    def __init__(
        self, runner: _Runner, first: int, prompts: Sequence[tuple[int, ...]], prompt_of: list[int]
    ) -> None:
        self.runner, self.first, self.count = runner, first, len(prompt_of)
        shape, device = runner.shape, runner.device
        self.prompts = self._ints([token for ids in prompts for token in ids])
        self.offsets = torch.tensor(np.cumsum([0, *map(len, prompts)]), dtype=torch.int64, device=device)
        # One place more: there idle threads write.
        words = shape.cache_words(len(prompts) + 1, runner.shared_capacity)
        self.shared = torch.zeros(words, dtype=torch.int32, device=device)
        places = runner.blocks * shape.stories
        self.own = torch.zeros(shape.cache_words(places, runner.capacity), dtype=torch.int32, device=device)
        self.logits = torch.zeros(places * shape.vocab, device=device)
        self._read(len(prompts))
        steps = _STEPS_WITH_STOP if runner.request.stop else _STEPS
        self.job = self._pass(prompt_of, limit=runner.limit, reading=False, steps=steps)

    def _read(self, prompts: int) -> None:
        """Keys and values of all prompts but for their last tokens."""
        reading = self._pass(list(range(prompts)), limit=1, reading=True, steps=_STEPS)
        while (reading.launch() != _LENGTH).any():
            pass

    def _pass(self, prompt_of: list[int], *, limit: int, reading: bool, steps: int) -> _Pass:
        runner, count = self.runner, len(prompt_of)
        draw, model = runner.request.draw, runner.model
        of, status, lengths = self._ints(prompt_of), self._ints([0] * count), self._ints([0] * count)
        tokens = torch.zeros(count, limit, dtype=torch.int32, device=runner.device)
        following, broken = self._ints([0]), self._ints([0])
        idle = np.zeros(runner.blocks * runner.shape.stories, dtype=SLOT)
        idle["story"] = -1
        slots = torch.from_numpy(idle.view(np.int32).copy()).to(runner.device)
        # What keeps every token is not asked for.
        top_k = draw.top_k if draw.top_k is not None and draw.top_k < runner.shape.vocab else 0
        fields: dict[str, Any] = {
            "prompts": self.prompts,
            "offsets": self.offsets,
            "prompt_of": of,
            "tokens": tokens,
            "lengths": lengths,
            "status": status,
            "next": following,
            "broken": broken,
            "slots": slots,
            "own": self.own,
            "shared": self.shared,
            "logits": self.logits,
            "temperature": draw.temperature,
            "top_p": draw.top_p if draw.top_p is not None and draw.top_p < 1 else 0.0,
            "seed": runner.request.seed & 0xFFFFFFFFFFFFFFFF,
            "first": self.first,
            "top_k": top_k,
            "count": count,
            "limit": limit,
            "end": -1 if model.eos_id is None else model.eos_id,
            "capacity": runner.capacity,
            "shared_capacity": runner.shared_capacity,
            "lanes": runner.lanes,
            "reading": int(reading),
            "steps": steps,
        }
        job = structure(JOB, fields, runner.device)
        return _Pass(runner, job, status, lengths, tokens, broken, [of, following, slots])

    def _ints(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=self.runner.device)

    def stories(self, stops: Stops) -> Iterator[Story]:
        """The stories of the window, each as soon as all before it have ended."""
        done: dict[int, Story] = {}
        due = 0
        ended = np.zeros(self.count, dtype=bool)
        while due < self.count:
            status = self.job.launch()
            # With stop strings the running ones are looked at, too.
            here = np.flatnonzero(~ended & (status >= (_RUNNING if stops else _RUNNING + 1)))
            at = torch.from_numpy(here).to(self.runner.device)
            lengths, tokens = self.job.lengths[at].tolist(), self.job.tokens[at].cpu().numpy()
            stopped: list[int] = []
            for place, story in enumerate(here.tolist()):
                new = tokens[place, : lengths[place]].tolist()
                found = self._look(story, int(status[story]), new, stops)
                if found is not None:
                    ended[story] = True
                    done[story] = found
                    if status[story] == _RUNNING:
                        stopped.append(story)
            if stopped:
                self.job.status[torch.tensor(stopped, device=self.runner.device)] = _STOPPED
                # Whoever gets the stories may change the stream that the next launch goes to.
                self.job.status[:1].cpu()
            while due in done:
                yield done.pop(due)
                due += 1

    def _look(self, story: int, status: int, new: list[int], stops: Stops) -> Story | None:
        """The story where it ended, by itself or at a stop string."""
        request, model = self.runner.request, self.runner.model
        index = self.first + story
        prompt = index // request.each
        ids = request.encoded[prompt]
        row = Row(index, request.texts[prompt], len(ids), [*ids, *new])
        found = stops.find(index, row, prompt)
        if found is not None:
            row.tokens = row.tokens[: len(ids) + found.tokens]
            return finish(model, row, "stop", found.cut)
        return None if status == _RUNNING else finish(model, row, _REASONS[status], None)
