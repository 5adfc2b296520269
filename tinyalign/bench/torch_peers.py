"""Peers on PyTorch: Hugging Face and TransformerLens generate, and a plain decoder with a static cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tinyalign.bench.peers import Output, Peer, Run, Setting, repeated
from tinyalign.bench.static_llama import StaticLlama
from tinyalign.models import StoryModel


def _nothing(_: StoryModel) -> str | None:
    return None


@contextmanager
def _hugging_face(setting: Setting, stories: int) -> Iterator[Run]:
    network: Any = setting.model.network
    ids = repeated(setting, stories)

    def run(output: Output) -> None:
        with torch.no_grad():
            # Stories may begin with the token that also pads, which generate would otherwise mask out.
            new = network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=setting.tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        output.tokens[:] = new[:, ids.shape[1] :].numpy()

    yield run


@contextmanager
def _bridge(setting: Setting, stories: int) -> Iterator[Run]:
    bridge: Any = setting.model.bridge
    ids = repeated(setting, stories)

    def run(output: Output) -> None:
        with torch.no_grad():
            new = bridge.generate(
                ids,
                max_new_tokens=setting.tokens,
                do_sample=False,
                stop_at_eos=False,
                use_past_kv_cache=True,
                return_type="tokens",
                verbose=False,
            )
        output.tokens[:] = new[:, ids.shape[1] :].numpy()

    yield run


@contextmanager
def _static(setting: Setting, stories: int, *, compiled: bool) -> Iterator[Run]:
    decoder = StaticLlama(setting.model, stories, len(setting.ids) + setting.tokens, compiled=compiled)

    def run(output: Output) -> None:
        output.tokens[:] = decoder.greedy(setting.ids, setting.tokens).numpy()

    yield run


def _eager(setting: Setting, stories: int) -> Any:
    return _static(setting, stories, compiled=False)


def _compiled(setting: Setting, stories: int) -> Any:
    return _static(setting, stories, compiled=True)


def _not_llama(model: StoryModel) -> str | None:
    served = model.config.architecture == "LlamaForCausalLM"
    return None if served else f"it decodes Llama models, not {model.config.architecture}"


PEERS = (
    Peer("hf-generate", "Hugging Face generate", (64, 512), _hugging_face, _nothing, threads=True),
    Peer("bridge-generate", "TransformerBridge.generate", (64, 256), _bridge, _nothing, threads=True),
    Peer("torch-eager", "torch eager, static cache", (64, 512, 2048), _eager, _not_llama, threads=True),
    Peer("torch-compile", "torch compiled, static cache", (64, 512), _compiled, _not_llama, threads=True),
)
