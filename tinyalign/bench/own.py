"""Ourselves: the CPU backend with the model as it is, and with the same weights as floats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tinyalign.bench.peers import Output, Peer, Run, Setting
from tinyalign.engine import sample
from tinyalign.models import StoryModel, dequantize
from tinyalign.ternary import ternary_layers


def _missing(model: StoryModel) -> str | None:
    from tinyalign.engine.cpu.serving import refusal

    reason = refusal(model)
    return None if reason is None else f"the model {reason}"


def _not_ternary(model: StoryModel) -> str | None:
    return _missing(model) if ternary_layers(model.network) else "the model has no ternary layers"


def _run(model: StoryModel, setting: Setting, stories: int, backend: str) -> Run:
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
        )
        for story in drawn:
            output.tokens[story.index, : len(story.tokens)] = story.tokens

    return run


@contextmanager
def _cpu(setting: Setting, stories: int) -> Iterator[Run]:
    yield _run(setting.model, setting, stories, "cpu")


@contextmanager
def _floats(setting: Setting, stories: int) -> Iterator[Run]:
    yield _run(dequantize(setting.model), setting, stories, "cpu")


@contextmanager
def _torch(setting: Setting, stories: int) -> Iterator[Run]:
    yield _run(setting.model, setting, stories, "torch")


PEERS = (
    Peer("tinyalign", "tinyalign, cpu", (32, 256), _cpu, _missing, threads=True),
    Peer("tinyalign-floats", "tinyalign, cpu, as floats", (256,), _floats, _not_ternary, threads=True),
    Peer("tinyalign-torch", "tinyalign, torch", (64, 256), _torch, lambda _: None),
)
