"""Who takes part in the decoding benchmark: ourselves, and peers that are never dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyalign.common.errors import unknown_name
from tinyalign.models import StoryModel

_ALWAYS = (
    "tinyalign",
    "tinyalign-int8-cache",
    "tinyalign-static",
    "tinyalign-cuda",
    "tinyalign-cuda-int8-cache",
    "hf-generate",
)


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
    Rows that a contestant makes anew are handed over with `give`, and copied when the clock stands.
    """

    tokens: np.ndarray
    texts: list[str] | None = None
    _given: Sequence[Any] | np.ndarray | None = None

    def spoil(self) -> None:
        """Fill with token -1, or no texts."""
        self.tokens.fill(-1)
        self._given = None
        if self.texts is not None:
            self.texts = []

    def give(self, rows: Sequence[Any] | np.ndarray) -> None:
        """The new tokens of every story; what is missing of a row stays -1."""
        self._given = rows

    def collect(self) -> np.ndarray:
        """The tokens, with what was given copied in."""
        given = () if self._given is None else self._given
        for row, new in zip(self.tokens, given, strict=False):
            row[: len(new)] = new[: len(row)]
        self._given = None
        return self.tokens


Run = Callable[[Output], None]
# Prepares a run of so many stories side by side; a context, so that files and handles are given back.
Prepare = Callable[[Setting, int], AbstractContextManager[Run]]


@dataclass(frozen=True)
class Peer:
    """A contestant.

    Attributes:
        key: what `--peers` calls it; `name` stands in tables.
        batches: how many stories side by side to try, ascending; the fastest is the one that counts.
        prepare: sets it up for a setting and a batch.
        missing: why it cannot take part with a model here, or None.
        as_text: it gives texts, not tokens.
        threads: it can use more than one thread.
        devices: the types of device it runs on.
        near: None where it computes the same function as the reference; otherwise how many nats its
            choices may fall short of the likeliest token (see `tinyalign.bench.judging`).
        function: the model whose function it computes, where that is another one.
        integers: it multiplies 8-bit integers, whose peak is another than that of floats.
        compiles: its first run compiles.
        own: it is ours, so that a wrong output stops the benchmark.
        remark: what a reader must know about it with a model, or None.
    """

    key: str
    name: str
    batches: tuple[int, ...]
    prepare: Prepare
    missing: Callable[[StoryModel], str | None]
    as_text: bool = False
    threads: bool = False
    devices: tuple[str, ...] = ("cpu",)
    near: float | None = None
    function: Callable[[StoryModel], StoryModel] | None = None
    integers: bool = False
    compiles: bool = False
    own: bool = False
    remark: Callable[[StoryModel], str | None] = lambda _: None

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


def chosen_peers(names: list[str], device: str = "cpu") -> list[Peer]:
    """The peers of these keys (`all` for every one) that run on `device`; ourselves and Hugging Face always.

    Raises `UnknownNameError` for a key that no peer has.
    """
    known = all_peers()
    for name in names:
        if name != "all" and name not in known:
            raise unknown_name("peer", name, [*known, "all"])
    wanted = {*names, *_ALWAYS}
    return [
        peer for key, peer in known.items() if device in peer.devices and ("all" in wanted or key in wanted)
    ]


def repeated(setting: Setting, stories: int) -> Any:
    """The prompt's ids as a torch tensor [stories, pos] on the model's device."""
    import torch

    return torch.tensor([setting.ids] * stories, device=setting.model.device)
