"""Scoring text under a model: the reference in plain PyTorch, for any Hugging Face causal language model."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import nn

from tinyalign.common.errors import CheckpointError, InputError

# log_softmax is done in float64 over at most this many logits at once (64 MiB).
_LOGITS_AT_ONCE = 1 << 23


@runtime_checkable
class LanguageModel(Protocol):
    """What scoring needs of a model; `tinyalign.models.StoryModel` has it."""

    @property
    def network(self) -> nn.Module:
        """Causal LM in eval mode: `network(input_ids).logits` is [batch pos d_vocab]."""
        ...

    @property
    def name(self) -> str:
        """A short name for messages."""
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
    batch_size: int = 64,
) -> ContinuationScores:
    """Log-probability (nats) of each continuation string right after its prompt.

    `continuations[i]` are the alternatives of `prompts[i]`, as written there: a new word begins with its
    space (" sad"). Prompt and continuation are encoded as one text, so no tokenizer's dummy-prefix space gets
    between them; where that moves the last token boundary of the prompt, see `ContinuationScores.merged`. The
    result doesn't depend on `batch_size` beyond rounding (1e-5): padding is on the right, where a causal
    model cannot see it.

    Raises `InputError` for an empty prompt or continuation, lists of unequal length, or a text longer than
    the context; `CheckpointError` when the model's logits are not finite.
    """
    _check_batch_size(batch_size)
    if len(prompts) != len(continuations):
        raise InputError(f"There are {len(prompts)} prompts but {len(continuations)} lists of continuations.")
    starts: list[int] = []
    merged: list[bool] = []
    texts: list[list[tuple[int, ...]]] = []
    for prompt, alternatives in zip(prompts, continuations, strict=True):
        ids, start, was_merged = _encode_alternatives(model, prompt, alternatives)
        texts.append(ids)
        starts.append(start)
        merged.append(was_merged)

    wanted: dict[tuple[int, ...], int] = {}
    for ids, start in zip(texts, starts, strict=True):
        for full in ids:
            wanted[full] = min(start, wanted.get(full, start))
    found = _score_sequences(model, wanted, batch_size)
    return ContinuationScores(
        log_probs=tuple(
            tuple(sum(found[full][start - wanted[full] :]) for full in ids)
            for ids, start in zip(texts, starts, strict=True)
        ),
        token_counts=tuple(
            tuple(len(full) - start for full in ids) for ids, start in zip(texts, starts, strict=True)
        ),
        merged=tuple(merged),
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
    found = _score_sequences(model, dict.fromkeys(tokens, 1), batch_size)
    return TextScores(tokens=tuple(tokens), log_probs=tuple(tuple(found[ids]) for ids in tokens))


def _encode_alternatives(
    model: LanguageModel, prompt: str, alternatives: Sequence[str]
) -> tuple[list[tuple[int, ...]], int, bool]:
    """(ids of prompt + each alternative, the position all are scored from, whether a merge moved it)."""
    if not prompt:
        raise InputError("The prompt is empty: give at least one word to continue.")
    if isinstance(alternatives, str) or not alternatives:
        raise InputError(
            f"Continuations must be a list of strings, but prompt {prompt!r} has {alternatives!r}."
        )
    alone = tuple(model.encode(prompt))
    ids: list[tuple[int, ...]] = []
    start = len(alone)
    for alternative in alternatives:
        if not alternative:
            raise InputError(
                f"A continuation of the prompt {prompt!r} is empty: give at least one character."
            )
        full = tuple(model.encode(prompt + alternative))
        _check_length(model, prompt + alternative, full)
        ids.append(full)
        start = min(start, _common_prefix(alone, full))
    if start == 0 or any(len(full) <= start for full in ids):
        raise InputError(
            f"The tokenizer of {model.name} leaves no token of the prompt {prompt!r} as it was when "
            f"{list(alternatives)!r} follow: give a longer prompt or other continuations."
        )
    return ids, start, start < len(alone)


def _common_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    for length, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return length
    return min(len(first), len(second))


def _score_sequences(
    model: LanguageModel, wanted: dict[tuple[int, ...], int], batch_size: int
) -> dict[tuple[int, ...], list[float]]:
    """For each sequence and start s: log p of its tokens s, s+1, ..., each given all before it."""
    # Alternatives that differ in their last token only share one forward pass, and an input that is the
    # beginning of another is read off that one's earlier positions.
    inputs = sorted({full[:-1] for full in wanted})
    host: dict[tuple[int, ...], tuple[int, ...]] = {}
    for index in range(len(inputs) - 1, -1, -1):
        following = inputs[index + 1] if index + 1 < len(inputs) else ()
        nested = following[: len(inputs[index])] == inputs[index]
        host[inputs[index]] = host[following] if nested else inputs[index]
    users: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for full in wanted:
        users.setdefault(host[full[:-1]], []).append(full)

    order = sorted(users, key=lambda ids: (-len(ids), ids))
    found: dict[tuple[int, ...], list[float]] = {}
    for begin in range(0, len(order), batch_size):
        chunk = order[begin : begin + batch_size]
        asked = [(row, full) for row, ids in enumerate(chunk) for full in users[ids]]
        rows = [row for row, full in asked for _ in range(wanted[full], len(full))]
        positions = [at - 1 for _, full in asked for at in range(wanted[full], len(full))]
        targets = [full[at] for _, full in asked for at in range(wanted[full], len(full))]
        scores = iter(_forward(model, chunk, rows, positions, targets).tolist())
        for _, full in asked:
            found[full] = [next(scores) for _ in range(wanted[full], len(full))]
    return found


@torch.no_grad()
def _forward(
    model: LanguageModel,
    chunk: list[tuple[int, ...]],
    rows: list[int],
    positions: list[int],
    targets: list[int],
) -> Float[torch.Tensor, " asked"]:
    """log p(targets[i] | chunk[rows[i]][: positions[i] + 1]) in nats, float64."""
    width = max(len(ids) for ids in chunk)
    padded = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in chunk], device=model.device)
    kept = sorted(set(positions))
    logits = _logits_at(model.network, padded, torch.tensor(kept, device=model.device))
    column = {position: index for index, position in enumerate(kept)}
    at_rows = torch.tensor(rows, device=model.device)
    at_columns = torch.tensor([column[position] for position in positions], device=model.device)
    at_targets = torch.tensor(targets, device=model.device)
    step = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    pieces: list[torch.Tensor] = []
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        chosen = logits[at_rows[part], at_columns[part]].double()
        # +inf or NaN anywhere spoils the sum; -inf is a token that the model masks on purpose.
        log_probs = chosen.log_softmax(dim=-1).gather(-1, at_targets[part, None])[:, 0]
        if torch.isnan(log_probs).any():
            raise CheckpointError(
                f"{model.name} gives logits that are not numbers: its weights are damaged or overflow; load "
                "another copy."
            )
        pieces.append(log_probs)
    return torch.cat(pieces)


def _logits_at(
    network: nn.Module, ids: Int[torch.Tensor, "batch pos"], kept: Int[torch.Tensor, " kept"]
) -> Float[torch.Tensor, "batch kept d_vocab"]:
    """Logits at the positions `kept` only: with a large vocabulary the unembedding is most of the work."""
    accepted = inspect.signature(network.forward).parameters
    options = {"use_cache": False} if "use_cache" in accepted else {}
    if "logits_to_keep" in accepted:
        return network(ids, logits_to_keep=kept, **options).logits
    return network(ids, **options).logits[:, kept]


def _check_length(model: LanguageModel, text: str, ids: tuple[int, ...]) -> None:
    # The last token is only predicted, so the model reads one fewer.
    if len(ids) - 1 > model.context:
        raise InputError(
            f"The text {text[:40]!r}... has {len(ids)} tokens, but {model.name} reads at most "
            f"{model.context}: shorten it."
        )


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, but is {batch_size}.")
