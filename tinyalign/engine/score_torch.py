"""Scoring in plain PyTorch, for any Hugging Face causal language model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from transformers import Cache

from tinyalign.common.errors import CheckpointError
from tinyalign.engine.encoding import Ids, LanguageModel
from tinyalign.models.caching import cache_of, kept_in

# log_softmax is done in float64 over at most this many logits at once (64 MiB).
_LOGITS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class _Reading:
    """What the network gives for a batch: logits [batch pos d_vocab], and its cache where asked for."""

    logits: torch.Tensor
    cache: Cache | None


def score_sequences(
    model: LanguageModel, sequences: Iterable[Ids], batch_size: int
) -> dict[Ids, list[float]]:
    """log p in nats of every token but the first of each sequence."""
    found: dict[Ids, list[float]] = {}
    order = sorted(set(sequences), key=lambda ids: (-len(ids), ids))
    for begin in range(0, len(order), batch_size):
        chunk = order[begin : begin + batch_size]
        logits = _forward(model, [ids[:-1] for ids in chunk]).logits
        rows, columns, targets = _aligned([(row, 0, ids[1:]) for row, ids in enumerate(chunk)])
        scores = iter(_pick(model, logits, rows, columns, targets))
        found.update({ids: [next(scores) for _ in ids[1:]] for ids in chunk})
    return found


def score_tails(
    model: LanguageModel, tails: Mapping[Ids, set[Ids]], batch_size: int
) -> dict[tuple[Ids, Ids], float]:
    """log p(tail | prefix) in nats for every tail of every prefix."""
    found: dict[tuple[Ids, Ids], float] = {}
    # Prefixes of one length share a batch: what follows starts at one position and needs no mask.
    order = sorted(tails, key=lambda ids: (-len(ids), ids))
    for _, same_length in groupby(order, key=len):
        for chunk in _chunks(list(same_length), batch_size):
            asked = [
                (row, prefix, tail) for row, prefix in enumerate(chunk) for tail in sorted(tails[prefix])
            ]
            several = any(len(tail) > 1 for _, _, tail in asked)
            reading = _forward(model, chunk, last_only=True, use_cache=several)
            first = _aligned([(row, 0, tail[:1]) for row, _, tail in asked])
            scores = _pick(model, reading.logits, *first)
            if reading.cache is not None:
                later = _score_later_tokens(model, reading.cache, asked, len(chunk))
                scores = [one + other for one, other in zip(scores, later, strict=True)]
            for (_, prefix, tail), score in zip(asked, scores, strict=True):
                found[prefix, tail] = score
    return found


def _score_later_tokens(
    model: LanguageModel, cache: Cache, asked: list[tuple[int, Ids, Ids]], batch: int
) -> list[float]:
    """log p of all tokens but the first of each asked tail, from its prefix's cache (0 for one token)."""
    inputs: list[list[Ids]] = [[] for _ in range(batch)]
    # Longest first, so that an input which begins another one is found in it.
    for row, _, tail in sorted(asked, key=lambda one: -len(one[2])):
        if len(tail) > 1 and not any(known[: len(tail) - 1] == tail[:-1] for known in inputs[row]):
            inputs[row].append(tail[:-1])
    each = max(map(len, inputs))
    # Every prefix gets equally many rows; the ones it doesn't need hold padding that nobody reads.
    padded: list[Ids] = [ids for own in inputs for ids in [*own, *[(0,)] * (each - len(own))]]
    cache.batch_repeat_interleave(each)
    logits = _forward(model, padded, cache=cache).logits
    wanted = []
    for row, _, tail in asked:
        at = next((k for k, known in enumerate(inputs[row]) if known[: len(tail) - 1] == tail[:-1]), 0)
        wanted.append((row * each + at, 0, tail[1:]))
    scores = iter(_pick(model, logits, *_aligned(wanted)))
    return [sum((next(scores) for _ in tail[1:]), 0.0) for _, _, tail in asked]


def _aligned(wanted: list[tuple[int, int, Ids]]) -> tuple[list[int], list[int], list[int]]:
    """(rows, columns, targets), flat, of (row, first column, targets in a row of columns)."""
    rows = [row for row, _, targets in wanted for _ in targets]
    columns = [first + offset for _, first, targets in wanted for offset in range(len(targets))]
    return rows, columns, [target for _, _, targets in wanted for target in targets]


@torch.no_grad()
def _forward(
    model: LanguageModel,
    chunk: Sequence[Ids],
    *,
    last_only: bool = False,
    use_cache: bool = False,
    cache: Cache | None = None,
) -> _Reading:
    """Run the network on token ids padded on the right with 0; logits are [batch pos d_vocab]."""
    width = max(map(len, chunk))
    padded = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in chunk], device=model.device)
    options: dict[str, Any] = {"use_cache": use_cache}
    if cache is not None:
        options = kept_in(model.network, cache)
    if last_only:
        # With a large vocabulary the unembedding is most of the work, and one position is all that is read.
        options["logits_to_keep"] = 1
    output = model.network(padded, **options)
    return _Reading(output.logits, cache_of(output) if use_cache else None)


@torch.no_grad()
def _pick(
    model: LanguageModel,
    logits: Float[torch.Tensor, "batch pos d_vocab"],
    rows: list[int],
    columns: list[int],
    targets: list[int],
) -> list[float]:
    """log softmax of `logits` at [rows[i], columns[i], targets[i]] in nats, computed in float64."""
    at = [torch.tensor(index, dtype=torch.long, device=logits.device) for index in (rows, columns, targets)]
    picked: list[float] = []
    step = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    for begin in range(0, len(rows), step):
        row, column, target = (index[begin : begin + step] for index in at)
        log_probs = logits[row, column].double().log_softmax(dim=-1).gather(-1, target[:, None])[:, 0]
        if torch.isnan(log_probs).any():
            raise CheckpointError(
                f"{model.name} gives logits that are not numbers: its weights are damaged or overflow; load "
                "another copy."
            )
        picked.extend(log_probs.tolist())
    return picked


def _chunks(items: list[Ids], size: int) -> list[list[Ids]]:
    return [items[begin : begin + size] for begin in range(0, len(items), size)]
