"""Prompts as token ids, cut where the decision is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyalign.common.errors import InputError
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.definition import LogitPair
from tinyalign.stories.grammar import ContrastPrompt

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Word:
    """One word of a pair: its tokens, and the tail whose positions predict them, one after the other."""

    tail: int
    tokens: Ids


@dataclass(frozen=True)
class Decision:
    """One prompt on one side, encoded.

    `prefix` is what the prompt says before its last token. Each of `tails` begins with that last token (the
    *decision token*, at which the first token of every word is predicted) and goes on with a word's tokens
    but the last, so that log p(word) is a sum over one tail's positions. `satisfying` of the `words` come
    first and speak for the property. Two sides of a prompt end alike, so their tails are equal, whatever the
    lengths of their prefixes: activations at tails can be exchanged between them.
    """

    prefix: Ids
    tails: tuple[Ids, ...]
    words: tuple[Word, ...]
    satisfying: int

    def __post_init__(self) -> None:
        if not self.prefix or not self.tails or not all(self.tails):
            raise InputError("A decision needs at least one token before the last one of its prompt.")
        if not 0 < self.satisfying < len(self.words):
            raise InputError("A decision needs words for the property and words against it.")


def encode_decision(
    model: StoryModel, text: str, prefix: str, words: Sequence[str], satisfying: int
) -> Decision:
    """`text` and its continuations `prefix + word`, of which the first `satisfying` speak for the property.

    Prompt and word are encoded as one text. Where that moves the prompt's last token boundary, the decision
    is cut at the last boundary that all words share, so that every word's tail holds the same rest of the
    prompt. Raises `InputError` for a text longer than the context, or one of which no token is left.
    """
    alone = tuple(model.encode(text))
    whole = [tuple(model.encode(text + prefix + word)) for word in words]
    start = min(_shared(alone, ids) for ids in whole)
    if start < 2 or any(len(ids) <= start for ids in whole):
        raise InputError(
            f"The tokenizer of {model.name} leaves too little of the prompt {text!r} as it was before "
            f"{list(words)!r}: give a longer prompt or other words."
        )
    if max(map(len, whole)) - 1 > model.context:
        raise InputError(
            f"The prompt {text[:40]!r}... is longer than the {model.context} tokens {model.name} reads."
        )
    inputs = [ids[start - 1 : -1] for ids in whole]
    # Longest first: an input that begins another one is read off there.
    tails: list[Ids] = []
    for ids in sorted(set(inputs), key=lambda ids: (-len(ids), ids)):
        if not any(known[: len(ids)] == ids for known in tails):
            tails.append(ids)
    return Decision(
        prefix=alone[: start - 1],
        tails=tuple(tails),
        words=tuple(
            Word(next(t for t, known in enumerate(tails) if known[: len(ids)] == ids), all_ids[start:])
            for ids, all_ids in zip(inputs, whole, strict=True)
        ),
        satisfying=satisfying,
    )


def encode_side(
    model: StoryModel, pair: LogitPair, prompts: Sequence[ContrastPrompt], side: str
) -> tuple[Decision, ...]:
    """The decisions of all prompts on `side`: clean, corrupted, role_swap_clean, role_swap_corrupted,
    neutral."""
    return tuple(
        encode_decision(
            model,
            prompt.texts()[side],
            prompt.continuation_prefix,
            pair.words(prompt.slots),
            len(pair.satisfying),
        )
        for prompt in prompts
    )


def check_aligned(first: Sequence[Decision], second: Sequence[Decision], prefixes: bool) -> None:
    """Raise `InputError` unless decisions match: the same tails, and prefixes of equal length if asked."""
    if len(first) != len(second):
        raise InputError(f"There are {len(first)} prompts on one side and {len(second)} on the other.")
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        if one.tails != other.tails or one.words != other.words:
            raise InputError(f"Prompt {index} does not end with the same tokens on both sides.")
        if prefixes and len(one.prefix) != len(other.prefix):
            raise InputError(
                f"Prompt {index} has {len(one.prefix)} tokens on one side and {len(other.prefix)} on the "
                "other: only prompts of equal length can be exchanged position by position."
            )


def _shared(first: Ids, second: Ids) -> int:
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count
