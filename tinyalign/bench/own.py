"""Ourselves: every backend, also with an int8 cache and with ternary weights as floats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from tinyalign.bench.failures import FAILURES, first_line
from tinyalign.bench.peers import Output, Peer, Run, Setting
from tinyalign.engine import sample
from tinyalign.engine.sampling import Cache
from tinyalign.models import StoryModel, dequantize
from tinyalign.ternary import ternary_layers

_CPU = (32, 64, 256, 1024)
_ANY = (64, 256, 1024, 4096)
_CUDA = (256, 1024, 4096, 16384)
# An int8 cache moves choices by less than this many nats; by .44 at most on a random ternary model.
_CACHE = 1.0


def ids_only(model: StoryModel) -> StoryModel:
    """The model without its tokenizer: stories are token ids, as those of the peers are."""
    return replace(model, tokenizer=None)


def _refusal(backend: str, cache: Cache = "float32") -> Callable[[StoryModel], str | None]:
    """Why a backend cannot sample a model here, found out by sampling one token."""

    def missing(model: StoryModel) -> str | None:
        try:
            for _ in sample(ids_only(model), [[0, 1]], max_new_tokens=1, backend=backend, cache=cache):
                pass
        except FAILURES as error:
            return first_line(error)
        return None

    return missing


def _not_ternary(model: StoryModel) -> str | None:
    return _refusal("cpu")(model) if ternary_layers(model.network) else "the model has no ternary layers"


@contextmanager
def _prepared(
    setting: Setting, stories: int, *, backend: str, cache: Cache = "float32", floats: bool = False
) -> Iterator[Run]:
    model = ids_only(dequantize(setting.model) if floats else setting.model)

    def run(output: Output) -> None:
        drawn = sample(
            model,
            [setting.ids],
            n=stories,
            max_new_tokens=setting.tokens,
            temperature=0.0,
            batch_size=stories,
            backend=backend,
            threads=setting.threads,
            cache=cache,
        )
        output.give([story.tokens for story in drawn])

    yield run


PEERS = (
    Peer(
        "tinyalign",
        "tinyalign, cpu",
        _CPU,
        partial(_prepared, backend="cpu"),
        _refusal("cpu"),
        threads=True,
        own=True,
    ),
    Peer(
        "tinyalign-int8-cache",
        "tinyalign, cpu, int8 cache",
        _CPU,
        partial(_prepared, backend="cpu", cache="int8"),
        _refusal("cpu", "int8"),
        threads=True,
        near=_CACHE,
        own=True,
    ),
    Peer(
        "tinyalign-floats",
        "tinyalign, cpu, as floats",
        _CPU,
        partial(_prepared, backend="cpu", floats=True),
        _not_ternary,
        threads=True,
        function=dequantize,
        own=True,
    ),
    Peer(
        "tinyalign-torch",
        "tinyalign, torch",
        _ANY,
        partial(_prepared, backend="torch"),
        _refusal("torch"),
        threads=True,
        devices=("cpu", "cuda"),
        own=True,
    ),
    Peer(
        "tinyalign-static",
        "tinyalign, static caches",
        _ANY,
        partial(_prepared, backend="static"),
        _refusal("static"),
        threads=True,
        devices=("cpu", "cuda"),
        own=True,
    ),
    Peer(
        "tinyalign-cuda",
        "tinyalign, cuda",
        _CUDA,
        partial(_prepared, backend="cuda"),
        _refusal("cuda"),
        devices=("cuda",),
        own=True,
    ),
    Peer(
        "tinyalign-cuda-int8-cache",
        "tinyalign, cuda, int8 cache",
        _CUDA,
        partial(_prepared, backend="cuda", cache="int8"),
        _refusal("cuda", "int8"),
        devices=("cuda",),
        near=_CACHE,
        own=True,
    ),
)
