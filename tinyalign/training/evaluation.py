"""How good a model is on a text, and what its own stories are like: the figures of `tinyalign eval`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import t

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.statistics.interval import Interval
from tinyalign.training.sampled import SampleQuality, sample_quality
from tinyalign.training.sources import fold_newlines

if TYPE_CHECKING:
    from tinyalign.models.story_model import StoryModel

NORMALISATION = "runs of newlines and the blanks around them folded to one newline, ends stripped"
_BATCH = 16


@dataclass(frozen=True)
class StoryLosses:
    """Per story: summed loss in nats, tokens predicted, characters (after folding)."""

    nats: Float[np.ndarray, " stories"]
    tokens: Float[np.ndarray, " stories"]
    characters: Float[np.ndarray, " stories"]


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model on one text; intervals treat stories as the independent units.

    `bits_per_character` and `nats_per_token` are ratios of sums over all stories with cluster-robust t
    intervals. `quality` (of sampled stories) and `admission` (property table) are None where not asked for.
    """

    model: str
    sha256: str
    bits: float
    stories: int
    characters: int
    tokens: int
    bits_per_character: Interval
    nats_per_token: Interval
    quality: SampleQuality | None
    admission: tuple[dict[str, object], ...] | None

    def to_json(self) -> dict[str, Any]:
        """All figures; intervals as low, estimate, high, with the normalisation of the text."""
        return {
            "model": self.model,
            "sha256": self.sha256,
            "bits": self.bits,
            "text": {
                "stories": self.stories,
                "characters": self.characters,
                "tokens": self.tokens,
                "normalisation": NORMALISATION,
            },
            "bits_per_character": self.bits_per_character.estimate,
            "bits_per_character_interval": self.bits_per_character.to_json(),
            "nats_per_token": self.nats_per_token.estimate,
            "nats_per_token_interval": self.nats_per_token.to_json(),
            "samples": None if self.quality is None else self.quality.to_json(),
            "admission": None if self.admission is None else list(self.admission),
        }


def evaluate(
    model: StoryModel,
    texts: Sequence[str] | None = None,
    *,
    samples: int = 200,
    admission_prompts: int = 200,
    seed: int = 0,
) -> Evaluation:
    """Measure `model` on `texts` (by default the held-out stories) and on `samples` stories of its own.

    Newlines are folded first, for every model alike. A story is scored token by token behind the model's
    beginning-of-story token; the end-of-story token is not counted, because not every model has one. A story
    longer than the context is read in windows that overlap by half, each token scored once.
    `samples` or `admission_prompts` 0 leaves that part out. Raises `InputError` when no story is left.
    """
    from tinyalign.training.sources import validation_stories

    folded = [text for text in map(fold_newlines, validation_stories() if texts is None else texts) if text]
    if len(folded) < 2:
        raise InputError(f"The text has {len(folded)} stories: intervals by story need at least two.")
    losses = story_losses(model, folded)
    return Evaluation(
        model=model.name,
        sha256=model.sha256,
        bits=model.bits,
        stories=len(folded),
        characters=int(losses.characters.sum()),
        tokens=int(losses.tokens.sum()),
        bits_per_character=ratio_interval(losses.nats / math.log(2), losses.characters),
        nats_per_token=ratio_interval(losses.nats, losses.tokens),
        quality=sample_quality(model, samples, seed) if samples else None,
        admission=admission_table(model, admission_prompts, seed) if admission_prompts else None,
    )


def ratio_interval(
    numerators: Float[np.ndarray, " stories"],
    denominators: Float[np.ndarray, " stories"],
    level: float = 0.95,
) -> Interval:
    """sum(numerators) / sum(denominators) with a t interval by story, in the units of the ratio.

    Source: Cochran (1977), Sampling Techniques, third edition, section 6.5 (linearised variance of a ratio).
    """
    n = len(numerators)
    ratio = float(numerators.sum() / denominators.sum())
    residuals = numerators - ratio * denominators
    error = math.sqrt(n / (n - 1) * float(residuals @ residuals)) / float(denominators.sum())
    half = float(t.isf((1 - level) / 2, n - 1)) * error
    return Interval(ratio, ratio - half, ratio + half, level, f"ratio of sums, t by story, {n} stories")


def story_losses(model: StoryModel, texts: Sequence[str]) -> StoryLosses:
    """The summed loss of every story, with its tokens and characters.

    Raises `InputError` for a story of fewer than two tokens, `CheckpointError` when logits are not finite.
    """
    encoded = [model.encode(text) for text in texts]
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) < 2:
            raise InputError(f"The story {text!r} has fewer than two tokens: nothing to predict.")
    windows = [
        (story, *window) for story, ids in enumerate(encoded) for window in _windows(len(ids), model.context)
    ]
    windows.sort(key=lambda window: window[2] - window[1])
    nats = np.zeros(len(texts))
    for begin in range(0, len(windows), _BATCH):
        chunk = windows[begin : begin + _BATCH]
        rows = [encoded[story][first:last] for story, first, last, _ in chunk]
        logs = _next_token_logs(model, rows)
        for (story, first, _, scored), values in zip(chunk, logs, strict=True):
            nats[story] -= float(values[scored - first - 1 :].sum())
    if not np.isfinite(nats).all():
        raise CheckpointError(f"{model.name} gives logits that are not finite: its weights are damaged.")
    return StoryLosses(
        nats=nats,
        tokens=np.array([len(ids) - 1 for ids in encoded], dtype=np.float64),
        characters=np.array([len(text) for text in texts], dtype=np.float64),
    )


def _windows(length: int, context: int) -> list[tuple[int, int, int]]:
    """(first, last, scored): tokens first..last-1 are read, those from `scored` on are scored."""
    found = [(0, min(length, context), 1)]
    while found[-1][1] < length:
        scored = found[-1][1]
        last = min(length, scored + context // 2)
        found.append((max(0, last - context), last, scored))
    return found


@torch.no_grad()
def _next_token_logs(model: StoryModel, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Log-probability (nats, float64) of each row's tokens but the first; padding is on the right."""
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    logits = model.network(ids[:, :-1].to(model.device)).logits.float()
    logs = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None].to(model.device))[..., 0]
    return [logs[row, : len(tokens) - 1].double().cpu().numpy() for row, tokens in enumerate(rows)]


def admission_table(model: StoryModel, n: int, seed: int) -> tuple[dict[str, object], ...]:
    """Each property's contrast on `n` prompts of the test split (fewer where its grammar has fewer)."""
    from tinyalign.properties import all_properties

    rows = []
    for prop in all_properties():
        measured = prop.contrast(model, n=n, seed=seed, split="test").to_json()
        rows.append(measured)
    return tuple(rows)
