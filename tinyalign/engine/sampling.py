"""Sampling stories in batches: story i is the same whatever the batch size, the order or the backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.backend import served_on_cpu
from tinyalign.engine.philox import uniforms
from tinyalign.models import StoryModel

StopReason = Literal["end", "stop", "length", "context"]


@dataclass(frozen=True)
class Sampling:
    """How to draw a token.

    `temperature` 0 is greedy; `top_k` keeps the k likeliest tokens, `top_p` the fewest whose probability
    reaches p (ties by token id). Raises `InputError` on values out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and np.isfinite(self.temperature)):
            raise InputError(f"Temperature {self.temperature} cannot be used: expected 0 (greedy) or more.")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k {self.top_k} cannot be used: expected 1 or more.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p {self.top_p} cannot be used: expected a number above 0 and up to 1.")


@dataclass(frozen=True)
class Story:
    """One sampled continuation.

    `index` is its number in the run, `text` what follows `prompt`, `tokens` the new tokens (without the
    end-of-story token), `stopped` why it ended: the end-of-story token, a stop string (left out of
    `text`), `max_new_tokens`, or the model's context.
    """

    index: int
    prompt: str
    text: str
    tokens: tuple[int, ...]
    stopped: StopReason

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


@dataclass
class Row:
    """A story under way: the first `start` of its tokens are the prompt's."""

    index: int
    prompt: str
    start: int
    tokens: list[int]


def sample(
    model: StoryModel,
    prompts: str | Sequence[str],
    *,
    n: int = 1,
    max_new_tokens: int = 200,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    seed: int = 0,
    batch_size: int = 64,
    backend: str = "auto",
    threads: int = 1,
    stories: range | None = None,
) -> Iterator[Story]:
    """Yield `n` continuations of each prompt, in the order of their index (prompt by prompt).

    `stories` asks for consecutive ones only, by index in the whole run: what a shard of it samples.

    Story i draws its token at position p with the Philox number of (seed, i, p), so it does not depend on
    batch size, order, backend or threads, up to floating-point ties between tokens.
    Between backends a ternary model's story parts more often: rounding activations to int8 turns a last bit
    into a whole code.

    `backend` is "cpu", the fused C++ decoder of `tinyalign.engine.cpu` (float32 Llama and GPT-Neo models
    on the CPU, `threads` blocks of at most 32 stories), "torch", or "auto": the first where it serves the
    model, otherwise the second, with a warning that says why if the model is on the CPU.

    Raises `InputError`, before anything is sampled, for an empty prompt of a model without a
    beginning-of-story token, a prompt that leaves no room in the context, parameters out of range, or a
    backend asked for by name that cannot run here; `CheckpointError` when the model gives logits that are
    not finite.
    """
    draw = Sampling(temperature, top_k, top_p)
    if n < 1 or max_new_tokens < 1 or batch_size < 1 or threads < 1:
        raise InputError(
            f"n {n}, max_new_tokens {max_new_tokens}, batch_size {batch_size}, threads {threads}: "
            "expected 1 or more."
        )
    if any(not text for text in stop):
        raise InputError("An empty stop string would end every story at once: leave it out.")
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    encoded = [_encode(model, text) for text in texts]
    chosen = range(len(texts) * n) if stories is None else stories
    if chosen.step != 1 or not 0 <= chosen.start <= chosen.stop <= len(texts) * n:
        raise InputError(f"Stories {chosen} were asked for of {len(texts) * n}: expected consecutive ones.")
    if served_on_cpu(model, backend, "Sampling") is None:
        return _run(model, texts, encoded, n, max_new_tokens, draw, tuple(stop), seed, batch_size, chosen)
    from tinyalign.engine.cpu.sampling import Request, run

    request = Request(texts, encoded, n, max_new_tokens, draw, tuple(stop), seed, chosen)
    return run(model, request, batch_size=batch_size, threads=threads)


def _run(
    model: StoryModel,
    texts: list[str],
    encoded: list[list[int]],
    n: int,
    limit: int,
    draw: Sampling,
    stop: tuple[str, ...],
    seed: int,
    batch_size: int,
    chosen: range,
) -> Iterator[Story]:
    for first in range(chosen.start, chosen.stop, batch_size):
        done: dict[int, Story] = {}
        by_length: dict[int, list[Row]] = {}
        for index in range(first, min(first + batch_size, chosen.stop)):
            ids = encoded[index // n]
            row = Row(index, texts[index // n], len(ids), list(ids))
            by_length.setdefault(len(ids), []).append(row)
        # Rows of one prompt length need no padding, so no mask can go wrong.
        for rows in by_length.values():
            done |= {story.index: story for story in _batch(model, rows, limit, draw, stop, seed)}
        yield from (done[index] for index in sorted(done))


def _batch(
    model: StoryModel, rows: list[Row], limit: int, draw: Sampling, stop: tuple[str, ...], seed: int
) -> Iterator[Story]:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.network.config)
    ids = torch.tensor([row.tokens for row in rows], device=model.device)
    while rows:
        with torch.no_grad():
            logits = model.network(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1]
        drawn = choose(logits, draw, seed, [row.index for row in rows], len(rows[0].tokens))
        kept: list[int] = []
        for place, (row, token) in enumerate(zip(rows, drawn, strict=True)):
            story = _advance(model, row, int(token), limit, stop)
            if story is None:
                kept.append(place)
            else:
                yield story
        if kept and len(kept) < len(rows):
            cache.batch_select_indices(torch.tensor(kept, device=model.device))
        rows = [rows[place] for place in kept]
        ids = torch.tensor([[row.tokens[-1]] for row in rows], device=model.device)


def choose(
    logits: Float[torch.Tensor, "batch d_vocab"],
    draw: Sampling,
    seed: int,
    stories: Sequence[int],
    position: int,
) -> Int[np.ndarray, " batch"]:
    """The next token of each row, by inverse transform over token ids of the (filtered) distribution.

    Raises `CheckpointError` when a row holds NaN or +infinity, or no finite number at all.
    """
    scores = logits.detach().double().cpu().numpy()
    highest = scores.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise not_finite()
    if draw.temperature == 0:
        return scores.argmax(axis=1)
    weights = np.exp((scores - highest) / draw.temperature)
    if draw.top_k is not None or draw.top_p is not None:
        weights = _filtered(weights, draw)
    cumulative = weights.cumsum(axis=1)
    u = uniforms(seed, np.asarray(stories, dtype=np.int64), np.full(len(stories), position, dtype=np.int64))
    return (cumulative <= (u * cumulative[:, -1])[:, None]).sum(axis=1)


def not_finite() -> CheckpointError:
    """The sentence for a model whose logits cannot be sampled."""
    return CheckpointError(
        "The model gave logits that are not finite: its weights are damaged or its dtype overflows; "
        "check the checkpoint or use float32."
    )


def _filtered(
    weights: Float[np.ndarray, "batch d_vocab"], draw: Sampling
) -> Float[np.ndarray, "batch d_vocab"]:
    order = np.argsort(-weights, axis=1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=1)
    keep = np.ones_like(ranked, dtype=bool)
    if draw.top_k is not None:
        keep[:, draw.top_k :] = False
    if draw.top_p is not None:
        share = ranked.cumsum(axis=1) / ranked.sum(axis=1, keepdims=True)
        # A token stays while those before it have not reached p; the likeliest always does.
        keep &= (share - ranked / ranked.sum(axis=1, keepdims=True)) < draw.top_p
    kept = np.zeros_like(weights)
    np.put_along_axis(kept, order, np.where(keep, ranked, 0.0), axis=1)
    return kept


def _advance(model: StoryModel, row: Row, token: int, limit: int, stop: tuple[str, ...]) -> Story | None:
    """Add a token to a row; the finished story if that ended it."""
    if token == model.eos_id:
        return finish(model, row, "end", None)
    row.tokens.append(token)
    if stop:
        text = model.decode(row.tokens)[len(model.decode(row.tokens[: row.start])) :]
        cuts = [place for place in (text.find(s) for s in stop) if place >= 0]
        if cuts:
            return finish(model, row, "stop", min(cuts))
    if len(row.tokens) - row.start >= limit:
        return finish(model, row, "length", None)
    if len(row.tokens) >= model.context:
        return finish(model, row, "context", None)
    return None


def finish(model: StoryModel, row: Row, stopped: StopReason, cut: int | None) -> Story:
    """The story of an ended row; `cut` characters of its text stand before a stop string."""
    new = tuple(row.tokens[row.start :])
    text = ""
    if model.tokenizer is not None:
        # Decoded with its prompt and cut: many tokenizers drop the space before a first token.
        text = model.decode(row.tokens)[len(model.decode(row.tokens[: row.start])) :]
    return Story(row.index, row.prompt, text if cut is None else text[:cut], new, stopped)


def _encode(model: StoryModel, text: str) -> list[int]:
    ids = model.encode(text)
    if not ids:
        raise InputError(
            "The prompt is empty and this model has no token that begins a story: give at least one word."
        )
    if len(ids) >= model.context:
        raise InputError(
            f"The prompt has {len(ids)} tokens but the model reads {model.context} at most, the story "
            "included: shorten it."
        )
    return ids
