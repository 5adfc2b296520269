"""Sampling in plain PyTorch, for any model and device: the reference of the other backends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from tinyalign.engine.philox import uniforms
from tinyalign.engine.sampling import Request, Row, Sampling, Story, finish, not_finite
from tinyalign.models import StoryModel
from tinyalign.models.caching import kept_in


def run(model: StoryModel, request: Request, *, batch_size: int) -> Iterator[Story]:
    """Yield the stories in order, `batch_size` at a time; raises `CheckpointError` on logits not finite."""
    chosen = request.chosen
    for first in range(chosen.start, chosen.stop, batch_size):
        done: dict[int, Story] = {}
        by_length: dict[int, list[Row]] = {}
        for index in range(first, min(first + batch_size, chosen.stop)):
            ids = request.encoded[index // request.each]
            row = Row(index, request.texts[index // request.each], len(ids), list(ids))
            by_length.setdefault(len(ids), []).append(row)
        # Rows of one prompt length need no padding, so no mask can go wrong.
        for rows in by_length.values():
            done |= {story.index: story for story in _batch(model, rows, request)}
        yield from (done[index] for index in sorted(done))


def _batch(model: StoryModel, rows: list[Row], request: Request) -> Iterator[Story]:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.network.config)
    options = kept_in(model.network, cache)
    ids = torch.tensor([row.tokens for row in rows], device=model.device)
    while rows:
        with torch.no_grad():
            logits = model.network(input_ids=ids, **options).logits[:, -1]
        drawn = choose(logits, request.draw, request.seed, [row.index for row in rows], len(rows[0].tokens))
        kept: list[int] = []
        for place, (row, token) in enumerate(zip(rows, drawn, strict=True)):
            story = _advance(model, row, int(token), request)
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


def _advance(model: StoryModel, row: Row, token: int, request: Request) -> Story | None:
    """Add a token to a row; the finished story if that ended it."""
    if token == model.eos_id:
        return finish(model, row, "end", None)
    row.tokens.append(token)
    if request.stop:
        text = model.decode(row.tokens)[len(model.decode(row.tokens[: row.start])) :]
        cuts = [place for place in (text.find(s) for s in request.stop) if place >= 0]
        if cuts:
            return finish(model, row, "stop", min(cuts))
    if len(row.tokens) - row.start >= request.limit:
        return finish(model, row, "length", None)
    if len(row.tokens) >= model.context:
        return finish(model, row, "context", None)
    return None
