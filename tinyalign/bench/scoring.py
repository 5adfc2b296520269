"""Scoring end to end: 64 prompts with 8 continuations each, ours against a plain forward pass."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from tinyalign.bench.timing import Clock, Timed, contest, synchronizer
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine import score_continuations
from tinyalign.models import StoryModel
from tinyalign.ternary import using_kernel

_WHO = ("Lily", "Tom", "Mia", "Sam", "Anna", "Ben", "Sue", "Max")
_WHAT = (
    "wanted to climb the old tree",
    "found a shiny red ball",
    "was hungry after a long walk",
    "did not want to go to bed",
    "saw a big cat in the garden",
    "asked mom for one more cookie",
    "went to the lake with dad",
    "broke the blue cup by accident",
)
_MIDDLE = "Mom came out of the house and said in a calm voice"
PROMPTS = tuple(
    f'One day, {who} {what}. {_MIDDLE}, "No, {who}." {who} felt' for who in _WHO for what in _WHAT
)
FEELINGS = (" sad", " happy", " angry", " very sad", " so happy", " tired", " a little cross", " proud")
BATCHES = (32, 64)
# On a ternary model an activation on the edge of two int8 codes may fall to either side: most scores agree
# to 1e-4, and the few others move by a few hundredths (`tests/engine/test_cpu_score.py`).
_FLOAT, _TERNARY, _TERNARY_MEDIAN = 1e-4, 0.5, 0.05

Scores = Float64[np.ndarray, "prompts continuations"]


@dataclass(frozen=True)
class ScoreResult:
    """Scoring of `prompts` of `PROMPTS` with `FEELINGS` after each; work is continuations.

    Ratios are of `baseline`, by `clock`. `off` holds each contestant's largest difference in nats from the
    reference (float64 where the model is float), `allowed` what it may be. `absent` as in `DecodeResult`.
    """

    model: str
    device: str
    prompts: int
    threads: int
    clock: Clock
    baseline: str
    timed: tuple[Timed, ...]
    off: dict[str, float]
    allowed: float
    absent: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict; `slower_than_ours` is time over the baseline's."""
        rows = [
            {
                **timed.to_json(),
                "off": self.off[timed.name],
                "slower_than_ours": {"cpu": timed.slower("cpu"), "wall": timed.slower("wall")},
            }
            for timed in self.timed
        ]
        return {
            "model": self.model,
            "device": self.device,
            "prompts": self.prompts,
            "continuations": len(FEELINGS),
            "threads": self.threads,
            "clock": self.clock,
            "baseline": self.baseline,
            "contestants": rows,
            "allowed_nats": self.allowed,
            "absent": self.absent,
        }


def bench_score(
    model: StoryModel, *, rounds: int = 5, threads: int = 1, quick: bool = False, least: float = 0.0
) -> ScoreResult:
    """Time ours on each backend that serves the model on its device, and Hugging Face's plain forward.

    `quick` takes four of the prompts; `least` as in `contest`. Scores are checked after every run.
    Raises `InputError` for a model without a tokenizer, `CheckpointError` when scores are wrong.
    """
    if model.tokenizer is None:
        raise InputError(f"{model.name} has no tokenizer, and text is scored: load it with one.")
    prompts = PROMPTS[:4] if quick else PROMPTS
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _contest(model, prompts, rounds, threads, least)
    finally:
        torch.set_num_threads(before)


def _contest(
    model: StoryModel, prompts: tuple[str, ...], rounds: int, threads: int, least: float
) -> ScoreResult:
    runs: dict[str, Callable[[], Scores]] = {}
    absent: dict[str, str] = {}
    for backend in ("cpu", "torch"):
        name = f"tinyalign, {backend}"
        if backend == "cpu" and model.device.type != "cpu":
            absent[name] = f"it runs on the CPU, and the model is on {model.device.type}"
            continue
        try:
            batch, fastest = _fastest(partial(_ours, model, prompts, backend, threads=threads))
        except InputError as error:
            absent[name] = str(error)
        else:
            runs[name if backend == "cpu" else f"{name}, batch {batch}"] = fastest
    batch, plain = _fastest(partial(_plain, model, model.network, prompts))
    runs[f"Hugging Face forward, batch {batch}"] = plain
    exact = _exact(model, prompts)
    found = {name: np.full(exact.shape, np.nan) for name in runs}
    off = dict.fromkeys(runs, 0.0)

    def run(name: str) -> None:
        found[name].fill(np.nan)
        found[name][:] = runs[name]()

    def check(name: str) -> None:
        differences = np.abs(found[name] - exact)
        if not _right(model, differences):
            raise CheckpointError(
                f"{name} scores {float(differences.max()):.2g} nats off the reference on {model.name}: one "
                "of them is wrong."
            )
        off[name] = max(off[name], float(differences.max()))

    baseline = next(iter(runs))
    timed = contest(
        {name: partial(run, name) for name in runs},
        baseline=baseline,
        rounds=rounds,
        work=dict.fromkeys(runs, float(exact.size)),
        check=check,
        warmed=True,
        wait=synchronizer(model.device),
        least=least,
    )
    clock: Clock = "cpu" if threads == 1 and model.device.type == "cpu" else "wall"
    allowed = _FLOAT if model.bits >= 16 else _TERNARY
    return ScoreResult(
        model.name,
        model.device.type,
        len(prompts),
        threads,
        clock,
        baseline,
        timed,
        off,
        allowed,
        absent,
    )


def _right(model: StoryModel, differences: Scores) -> bool:
    """A NaN is never right."""
    if model.bits >= 16:
        return bool(differences.max() <= _FLOAT)
    return bool(differences.max() <= _TERNARY and np.median(differences) <= _TERNARY_MEDIAN)


def _fastest(run: Callable[[int], Scores]) -> tuple[int, Callable[[], Scores]]:
    """(batch, run) of the fastest of `BATCHES`, each timed once after a run of the first."""
    run(BATCHES[0])
    seconds: dict[int, float] = {}
    for batch in BATCHES:
        started = time.perf_counter()
        run(batch)
        seconds[batch] = time.perf_counter() - started
    best = min(seconds, key=lambda batch: seconds[batch])
    return best, partial(run, best)


def _ours(model: StoryModel, prompts: tuple[str, ...], backend: str, batch: int, *, threads: int) -> Scores:
    scores = score_continuations(
        model,
        prompts,
        [FEELINGS] * len(prompts),
        backend=backend,
        batch_size=batch,
        threads=threads,
    )
    return np.array(scores.log_probs)


def _exact(model: StoryModel, prompts: tuple[str, ...]) -> Scores:
    with using_kernel("reference"):
        network = model.network if model.bits < 16 else copy.deepcopy(model.network).double()
        return _plain(model, network, prompts, BATCHES[0])


@torch.no_grad()
def _plain(model: StoryModel, network: Any, prompts: tuple[str, ...], batch: int) -> Scores:
    """Every prompt with every continuation as a text of its own, padded on the right: what users write."""
    starts = [len(model.encode(prompt)) for prompt in prompts for _ in FEELINGS]
    texts = [model.encode(prompt + feeling) for prompt in prompts for feeling in FEELINGS]
    scores = np.empty(len(texts))
    for first in range(0, len(texts), batch):
        chunk = texts[first : first + batch]
        width = max(map(len, chunk))
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in chunk], device=model.device)
        log_probs = network(ids).logits.log_softmax(dim=-1)
        each = log_probs[:, :-1].gather(-1, ids[:, 1:, None])[..., 0].cpu().numpy()
        for row, text in enumerate(chunk):
            scores[first + row] = each[row, starts[first + row] - 1 : len(text) - 1].sum()
    return scores.reshape(len(prompts), len(FEELINGS))
