"""Scoring text under a model: log-probabilities of tokens and of whole continuations, in nats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tinyalign.common.arguments import whole
from tinyalign.common.errors import InputError
from tinyalign.engine.backend import served_on_cpu
from tinyalign.engine.encoding import (
    Ids,
    LanguageModel,
    encode_alternatives,
    encode_texts,
)

__all__ = [
    "ContinuationScores",
    "LanguageModel",
    "TextScores",
    "score_continuations",
    "score_texts",
]


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
    backend: str = "auto",
    threads: int = 1,
) -> ContinuationScores:
    """Log-probability (nats) of each continuation string right after its prompt.

    `continuations[i]` are the alternatives of `prompts[i]`, as written there: a new word begins with its
    space (" sad"). Prompt and continuation are encoded as one text, so no tokenizer's dummy-prefix space gets
    between them; where that moves the last token boundary of the prompt, see `ContinuationScores.merged`.

    `backend` is "cpu", the C++ decoder on `threads` threads (what any of the texts share is read once, and
    a text's numbers are the same bits whatever stands beside it), "torch" (`batch_size` prompts at a time,
    each read once; batches change the result by rounding alone, 1e-5), or "auto": the first where it serves
    the model, otherwise the second, with a warning that says why if a `StoryModel` is on the CPU. The two
    agree within 1e-4 on float models; on a ternary one an activation on the edge between two int8 codes may
    fall to either side, so compare two models on one backend.

    Raises `InputError` for an empty prompt or continuation, lists of unequal length, a text longer than
    the context, or a backend asked for by name that cannot run here; `CheckpointError` when the model's
    logits are not finite.
    """
    _check_counts(batch_size, threads)
    encoded = encode_alternatives(model, prompts, continuations)
    # What to score, by what stands before it: prompts that come twice are read once.
    tails: dict[Ids, set[Ids]] = {}
    for prompt in encoded:
        tails.setdefault(prompt.prefix, set()).update(prompt.tails)
    served = served_on_cpu(model, backend, "Scoring")
    if served is not None:
        from tinyalign.engine.cpu.score import score_tails as score_on_cpu

        found = score_on_cpu(served, tails, threads)
    else:
        from tinyalign.engine.score_torch import score_tails

        found = score_tails(model, tails, batch_size)
    return ContinuationScores(
        log_probs=tuple(tuple(found[p.prefix, tail] for tail in p.tails) for p in encoded),
        token_counts=tuple(tuple(map(len, p.tails)) for p in encoded),
        merged=tuple(p.merged for p in encoded),
    )


def score_texts(
    model: LanguageModel,
    texts: Sequence[str | Sequence[int]],
    *,
    batch_size: int = 16,
    backend: str = "auto",
    threads: int = 1,
) -> TextScores:
    """Log-probability (nats) of every token of each text (or its token ids) but the first, given all before.

    Where the model has BOS it is that first token, so every token of the text itself is scored. `backend`
    and `threads` are those of `score_continuations`.
    Raises `InputError` for a text of fewer than two tokens or longer than the context, an unknown token, or
    a backend asked for by name that cannot run here; `CheckpointError` when the model's logits are not
    finite.
    """
    _check_counts(batch_size, threads)
    tokens = tuple(encode_texts(model, texts))
    sequences = set(tokens)
    served = served_on_cpu(model, backend, "Scoring")
    if served is not None:
        from tinyalign.engine.cpu.score import score_sequences as score_on_cpu

        found = score_on_cpu(served, sequences, threads)
    else:
        from tinyalign.engine.score_torch import score_sequences

        found = score_sequences(model, sequences, batch_size)
    return TextScores(tokens=tokens, log_probs=tuple(tuple(found[ids]) for ids in tokens))


def _check_counts(batch_size: int, threads: int) -> None:
    if whole("batch_size", batch_size) < 1 or whole("threads", threads) < 1:
        raise InputError(f"batch_size {batch_size}, threads {threads}: both must be at least 1.")
