"""Scoring text under a model: the reference in plain PyTorch, for any Hugging Face causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import nn
from transformers import Cache

from tinyalign.common.errors import CheckpointError, InputError

# log_softmax is done in float64 over at most this many logits at once (64 MiB).
_LOGITS_AT_ONCE = 1 << 23

Ids = tuple[int, ...]


@runtime_checkable
class LanguageModel(Protocol):
    """What scoring needs of a model; `tinyalign.models.StoryModel` has it."""

    @property
    def network(self) -> nn.Module:
        """A Hugging Face causal LM in eval mode: `network(input_ids).logits` is [batch pos d_vocab]."""
        ...

    @property
    def name(self) -> str:
        """A short name for messages."""
        ...

    @property
    def sha256(self) -> str:
        """Identity of weights, configuration and tokenizer, for records of what was measured."""
        ...

    @property
    def context(self) -> int:
        """The greatest number of tokens it can read."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a whole text, with BOS where the model was trained with one."""
        ...


@dataclass(frozen=True)
class ContinuationScores:
    """Scores of each prompt's alternatives: the outer index is the prompt's, the inner the alternative's.

    `log_probs[i][j]`: full log-probability, in nats, of continuation j after prompt i (always <= 0).
    `token_counts[i][j]`: number of tokens summed over. `merged[i]`: the tokenizer merged the end of
    prompt i with the start of a continuation, so that all its alternatives were scored from the last token
    boundary they share: each log-probability then includes the same tail of the prompt's characters, and
    only differences between alternatives of one prompt mean something.
    """

    log_probs: tuple[tuple[float, ...], ...]
    token_counts: tuple[tuple[int, ...], ...]
    merged: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not len(self.log_probs) == len(self.token_counts) == len(self.merged):
            raise InputError("Scores, token counts and merge flags must be given for the same prompts.")

    def to_json(self) -> dict[str, object]:
        """The three fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TextScores:
    """`tokens[i]` are the ids of text i; `log_probs[i][t]` is log p(tokens[i][t+1] | those before), nats."""

    tokens: tuple[tuple[int, ...], ...]
    log_probs: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if any(len(t) != len(p) + 1 for t, p in zip(self.tokens, self.log_probs, strict=True)):
            raise InputError("A text of n tokens has n - 1 log-probabilities: the first token is given.")

    def to_json(self) -> dict[str, object]:
        """Both fields as JSON values."""
        return asdict(self)


def score_continuations(
    model: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    *,
    batch_size: int = 32,
) -> ContinuationScores:
    """Log-probability (nats) of each continuation string right after its prompt.

    `continuations[i]` are the alternatives of `prompts[i]`, as written there: a new word begins with its
    space (" sad"). Prompt and continuation are encoded as one text, so no tokenizer's dummy-prefix space gets
    between them; where that moves the last token boundary of the prompt, see `ContinuationScores.merged`. The
    result doesn't depend on `batch_size` beyond rounding (1e-5): padding is on the right, where a causal
    model cannot see it. Each prompt is read once, its alternatives go on from the cached keys and values.

    Raises `InputError` for an empty prompt or continuation, lists of unequal length, or a text longer than
    the context; `CheckpointError` when the model's logits are not finite.
    """
    _check_batch_size(batch_size)
    if len(prompts) != len(continuations):
        raise InputError(f"There are {len(prompts)} prompts but {len(continuations)} lists of continuations.")
    encoded = [
        _encode_alternatives(model, prompt, alternatives)
        for prompt, alternatives in zip(prompts, continuations, strict=True)
    ]
    # What to score, by what stands before it: prompts that come twice are read once.
    tails: dict[Ids, set[Ids]] = {}
    for prompt in encoded:
        tails.setdefault(prompt.prefix, set()).update(prompt.tails)
    found = _score_tails(model, tails, batch_size)
    return ContinuationScores(
        log_probs=tuple(tuple(found[p.prefix, tail] for tail in p.tails) for p in encoded),
        token_counts=tuple(tuple(map(len, p.tails)) for p in encoded),
        merged=tuple(p.merged for p in encoded),
    )


def score_texts(model: LanguageModel, texts: Sequence[str], *, batch_size: int = 16) -> TextScores:
    """Log-probability (nats) of every token of each text but the first, given all before it.

    Where the model has BOS it is that first token, so every token of the text itself is scored.
    Raises `InputError` for a text of fewer than two tokens or longer than the context; `CheckpointError`
    when the model's logits are not finite.
    """
    _check_batch_size(batch_size)
    tokens = [tuple(model.encode(text)) for text in texts]
    for text, ids in zip(texts, tokens, strict=True):
        if len(ids) < 2:
            raise InputError(f"The text {text!r} has {len(ids)} tokens: scoring needs at least two.")
        _check_length(model, text, ids)
    found: dict[Ids, list[float]] = {}
    order = sorted(set(tokens), key=lambda ids: (-len(ids), ids))
    for begin in range(0, len(order), batch_size):
        chunk = order[begin : begin + batch_size]
        logits = _forward(model, [ids[:-1] for ids in chunk]).logits
        rows, columns, targets = _aligned([(row, 0, ids[1:]) for row, ids in enumerate(chunk)])
        scores = iter(_pick(model, logits, rows, columns, targets))
        found.update({ids: [next(scores) for _ in ids[1:]] for ids in chunk})
    return TextScores(tokens=tuple(tokens), log_probs=tuple(tuple(found[ids]) for ids in tokens))


@dataclass(frozen=True)
class _Reading:
    """What the network gives for a batch: logits [batch pos d_vocab], and its cache where asked for."""

    logits: torch.Tensor
    cache: Cache | None


@dataclass(frozen=True)
class _Encoded:
    """A prompt's tokens up to where its alternatives are scored from, and the alternatives' after that."""

    prefix: Ids
    tails: tuple[Ids, ...]
    merged: bool


def _encode_alternatives(model: LanguageModel, prompt: str, alternatives: Sequence[str]) -> _Encoded:
    if not prompt:
        raise InputError("The prompt is empty: give at least one word to continue.")
    if isinstance(alternatives, str) or not alternatives:
        raise InputError(
            f"Continuations must be a list of strings, but prompt {prompt!r} has {alternatives!r}."
        )
    alone = tuple(model.encode(prompt))
    full: list[Ids] = []
    for alternative in alternatives:
        if not alternative:
            raise InputError(f"A continuation of the prompt {prompt!r} is empty: give at least a character.")
        full.append(tuple(model.encode(prompt + alternative)))
        _check_length(model, prompt + alternative, full[-1])
    start = min(_common_prefix(alone, ids) for ids in full)
    if start == 0 or any(len(ids) <= start for ids in full):
        raise InputError(
            f"The tokenizer of {model.name} leaves no token of the prompt {prompt!r} as it was when "
            f"{list(alternatives)!r} follow: give a longer prompt or other continuations."
        )
    return _Encoded(alone[:start], tuple(ids[start:] for ids in full), start < len(alone))


def _common_prefix(first: Ids, second: Ids) -> int:
    for length, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return length
    return min(len(first), len(second))


def _score_tails(
    model: LanguageModel, tails: dict[Ids, set[Ids]], batch_size: int
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
    options: dict[str, Any] = {"use_cache": use_cache or cache is not None}
    if cache is not None:
        options["past_key_values"] = cache
    if last_only:
        # With a large vocabulary the unembedding is most of the work, and one position is all that is read.
        options["logits_to_keep"] = 1
    output = model.network(padded, **options)
    return _Reading(output.logits, output.past_key_values if use_cache else None)


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


def _check_length(model: LanguageModel, text: str, ids: Ids) -> None:
    # The last token is only predicted, so the model reads one fewer.
    if len(ids) - 1 > model.context:
        raise InputError(
            f"The text {text[:40]!r}... has {len(ids)} tokens, but {model.name} reads at most "
            f"{model.context}: shorten it."
        )


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, but is {batch_size}.")
