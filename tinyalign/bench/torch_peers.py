"""Peers on PyTorch: Hugging Face and TransformerLens generate, and a plain decoder with a static cache."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from tinyalign.bench.peers import Output, Peer, Run, Setting, repeated
from tinyalign.bench.static_llama import How, StaticLlama
from tinyalign.models import StoryModel

# 8-bit weights and activations, or 8 bits of mantissa, move choices by less than this many nats.
_QUANTISED = 1.0


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
        output.give(new[:, ids.shape[1] :].cpu().numpy())

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
        output.give(new[:, ids.shape[1] :].cpu().numpy())

    yield run


@contextmanager
def _static(setting: Setting, stories: int, *, how: How) -> Iterator[Run]:
    yield _decoding(StaticLlama(setting.model, stories, _length(setting), how=how), setting)


@contextmanager
def _bfloat16(setting: Setting, stories: int, *, how: How) -> Iterator[Run]:
    network = _converted(setting.model, torch.bfloat16)
    yield _decoding(
        StaticLlama(setting.model, stories, _length(setting), how=how, network=network, dtype=torch.bfloat16),
        setting,
    )


@contextmanager
def _dynamic_int8(setting: Setting, stories: int) -> Iterator[Run]:
    with warnings.catch_warnings():
        # Quantisation in torch itself is announced to move to another package.
        warnings.simplefilter("ignore")
        network = torch.ao.quantization.quantize_dynamic(
            copy.deepcopy(setting.model.network), {torch.nn.Linear}, dtype=torch.qint8
        )
    yield _decoding(
        StaticLlama(setting.model, stories, _length(setting), how="eager", network=network), setting
    )


def _converted(model: StoryModel, dtype: torch.dtype) -> Any:
    network: Any = copy.deepcopy(model.network)
    return network.to(dtype)


def _length(setting: Setting) -> int:
    return len(setting.ids) + setting.tokens


def _decoding(decoder: StaticLlama, setting: Setting) -> Run:
    def run(output: Output) -> None:
        output.give(decoder.greedy(setting.ids, setting.tokens).numpy())

    return run


def _not_llama(model: StoryModel) -> str | None:
    served = model.config.architecture == "LlamaForCausalLM"
    return None if served else f"it decodes Llama models, not {model.config.architecture}"


def _not_float_llama(model: StoryModel) -> str | None:
    return _not_llama(model) or (None if model.bits >= 16 else "it is for float weights")


_BOTH = ("cpu", "cuda")
_WIDE = (64, 256, 1024, 2048, 8192, 32768)

PEERS = (
    Peer("hf-generate", "Hugging Face generate", _WIDE, _hugging_face, _nothing, threads=True, devices=_BOTH),
    Peer(
        "bridge-generate",
        "TransformerBridge.generate",
        (64, 128, 256, 512, 1024, 2048),
        _bridge,
        _nothing,
        threads=True,
        devices=_BOTH,
    ),
    Peer(
        "torch-eager",
        "torch eager, static cache",
        _WIDE,
        partial(_static, how="eager"),
        _not_llama,
        threads=True,
        devices=_BOTH,
    ),
    Peer(
        "torch-compile",
        "torch compiled, static cache",
        (256, 1024, 2048),
        partial(_static, how="compiled"),
        _not_llama,
        compiles=True,
        threads=True,
        devices=_BOTH,
    ),
    Peer(
        "torch-int8",
        "torch dynamic int8, static cache",
        _WIDE,
        _dynamic_int8,
        _not_float_llama,
        threads=True,
        near=_QUANTISED,
        integers=True,
    ),
    Peer(
        "torch-graph",
        "torch, CUDA graph, static cache",
        _WIDE,
        partial(_static, how="graph"),
        _not_llama,
        devices=("cuda",),
    ),
    Peer(
        "torch-graph-bf16",
        "torch bfloat16, CUDA graph, static cache",
        _WIDE,
        partial(_bfloat16, how="graph"),
        _not_float_llama,
        devices=("cuda",),
        near=_QUANTISED,
    ),
)
