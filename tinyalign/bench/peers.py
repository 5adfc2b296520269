"""Who takes part in the decoding benchmark: ourselves, and peers that are never dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyalign.common.errors import unknown_name
from tinyalign.models import StoryModel


@dataclass(frozen=True)
class Setting:
    """What all do: continue `prompt` (its token ids `ids`) greedily by `tokens` new tokens, on `threads`."""

    model: StoryModel
    prompt: str
    ids: tuple[int, ...]
    tokens: int
    threads: int = 1


@dataclass
class Output:
    """Where a contestant puts what it made: new tokens [stories, tokens], or the texts of whole stories.

    Before every run it is filled with what no contestant makes, so that one that does nothing is seen.
    """

    tokens: np.ndarray
    texts: list[str] | None = None

    def spoil(self) -> None:
        """Fill with token -1, or no texts."""
        self.tokens.fill(-1)
        if self.texts is not None:
            self.texts = []


Run = Callable[[Output], None]
# Prepares a run of so many stories side by side; a context, so that files and handles are given back.
Prepare = Callable[[Setting, int], AbstractContextManager[Run]]


@dataclass(frozen=True)
class Peer:
    """A contestant.

    Attributes:
        key: what `--peers` calls it; `name` stands in tables.
        batches: how many stories side by side to try; the fastest is the one that counts.
        prepare: sets it up for a setting and a batch.
        missing: why it cannot take part with a model here, or None.
        as_text: it gives texts, not tokens.
        threads: it can use more than one thread.
    """

    key: str
    name: str
    batches: tuple[int, ...]
    prepare: Prepare
    missing: Callable[[StoryModel], str | None]
    as_text: bool = False
    threads: bool = False

    def output(self, stories: int, tokens: int) -> Output:
        """An empty output of the kind that this peer fills."""
        return Output(np.full((stories, tokens), -1, dtype=np.int64), [] if self.as_text else None)


def all_peers() -> dict[str, Peer]:
    """Every contestant by its key, ourselves first."""
    from tinyalign.bench import llama2c, llamacpp, own, torch_peers

    found: Iterator[Peer] = (
        peer for module in (own, torch_peers, llama2c, llamacpp) for peer in module.PEERS
    )
    return {peer.key: peer for peer in found}


def chosen_peers(names: list[str]) -> list[Peer]:
    """The peers of these keys (`all` for every one), ourselves and Hugging Face always among them.

    Raises `UnknownNameError` for a key that no peer has.
    """
    known = all_peers()
    for name in names:
        if name != "all" and name not in known:
            raise unknown_name("peer", name, [*known, "all"])
    always = ("tinyalign", "hf-generate")
    return [peer for key, peer in known.items() if "all" in names or key in names or key in always]


def repeated(setting: Setting, stories: int) -> Any:
    """The prompt's ids as a torch tensor [stories, pos]."""
    import torch

    return torch.tensor([setting.ids] * stories)
