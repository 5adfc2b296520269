"""Texts and continuations as token ids, ready to be scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from tinyalign.common.arguments import check_characters, whole
from tinyalign.common.errors import InputError
from tinyalign.models import StoryModel

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


def encode_all(model: LanguageModel, texts: Iterable[str]) -> dict[str, Ids]:
    """Token ids of every text, each encoded once; a `StoryModel`'s tokenizer takes them all in one call."""
    different = list(dict.fromkeys(texts))
    for text in different:
        check_characters(text)
    if isinstance(model, StoryModel) and model.tokenizer is not None and different:
        ids = model.tokenizer(different)["input_ids"]
        return {text: tuple(own) for text, own in zip(different, ids, strict=True)}
    return {text: tuple(model.encode(text)) for text in different}


def encode_texts(model: LanguageModel, texts: Sequence[str | Sequence[int]]) -> list[Ids]:
    """Token ids of every text; those given as ids are checked.

    Raises `InputError` for a text of fewer than two tokens or longer than the context, or an unknown id, and
    for one text in place of a list.
    """
    if isinstance(texts, str):
        raise InputError(f"The texts are the string {texts[:40]!r}: give a list of texts.")
    ids_of = encode_all(model, [text for text in texts if isinstance(text, str)])
    found = [
        ids_of[text] if isinstance(text, str) else tuple(whole("A token id", token) for token in text)
        for text in texts
    ]
    for text, ids in zip(texts, found, strict=True):
        if len(ids) < 2:
            raise InputError(f"The text {text!r} has {len(ids)} tokens: scoring needs at least two.")
        _check_length(model, str(text), ids)
        if not isinstance(text, str):
            _check_ids(model, ids)
    return found


def _check_ids(model: LanguageModel, ids: Ids) -> None:
    head: Any = model.network.get_submodule("lm_head")
    size = int(head.out_features)
    if not all(0 <= token < size for token in ids):
        raise InputError(f"A token id is unknown to {model.name}: expected 0 to {size - 1}.")


@dataclass(frozen=True)
class Encoded:
    """A prompt's tokens up to where its alternatives are scored from, and the alternatives' after that."""

    prefix: Ids
    tails: tuple[Ids, ...]
    merged: bool


def encode_alternatives(
    model: LanguageModel, prompts: Sequence[str], continuations: Sequence[Sequence[str]]
) -> list[Encoded]:
    """Every prompt with its alternatives, encoded as whole texts and cut where all of them still agree.

    Raises `InputError` for an empty prompt or continuation, lists of unequal length, or a text longer than
    the context.
    """
    if isinstance(prompts, str) or isinstance(continuations, str):
        raise InputError("Prompts and continuations are lists: give a list of each.")
    if len(prompts) != len(continuations):
        raise InputError(f"There are {len(prompts)} prompts but {len(continuations)} lists of continuations.")
    pairs = list(zip(prompts, continuations, strict=True))
    for prompt, alternatives in pairs:
        _check_strings(prompt, alternatives)
    wholes = (prompt + alternative for prompt, alternatives in pairs for alternative in alternatives)
    ids_of = encode_all(model, [*prompts, *wholes])
    return [_cut(model, prompt, alternatives, ids_of) for prompt, alternatives in pairs]


def _check_strings(prompt: str, alternatives: Sequence[str]) -> None:
    if not prompt:
        raise InputError("The prompt is empty: give at least one word to continue.")
    if isinstance(alternatives, str) or not alternatives:
        raise InputError(
            f"Continuations must be a list of strings, but prompt {prompt!r} has {alternatives!r}."
        )
    if not all(alternatives):
        raise InputError(f"A continuation of the prompt {prompt!r} is empty: give at least a character.")


def _cut(model: LanguageModel, prompt: str, alternatives: Sequence[str], ids_of: dict[str, Ids]) -> Encoded:
    alone = ids_of[prompt]
    full = [ids_of[prompt + alternative] for alternative in alternatives]
    for alternative, ids in zip(alternatives, full, strict=True):
        _check_length(model, prompt + alternative, ids)
    start = min(_common_prefix(alone, ids) for ids in full)
    if start == 0 or any(len(ids) <= start for ids in full):
        raise InputError(
            f"The tokenizer of {model.name} leaves no token of the prompt {prompt!r} as it was when "
            f"{list(alternatives)!r} follow: give a longer prompt or other continuations."
        )
    return Encoded(alone[:start], tuple(ids[start:] for ids in full), start < len(alone))


def _common_prefix(first: Ids, second: Ids) -> int:
    for length, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return length
    return min(len(first), len(second))


def _check_length(model: LanguageModel, text: str, ids: Ids) -> None:
    # The last token is only predicted, so the model reads one fewer.
    if len(ids) - 1 > model.context:
        raise InputError(
            f"The text {text[:40]!r}... has {len(ids)} tokens, but {model.name} reads at most "
            f"{model.context}: shorten it."
        )
