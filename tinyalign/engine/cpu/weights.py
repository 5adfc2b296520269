"""A Llama model's weights inside the C++ decoder, and the reasons for which a model is not served."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn
from transformers import LlamaForCausalLM
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.cpu import native
from tinyalign.engine.rotary import network_tables
from tinyalign.models import StoryModel
from tinyalign.ternary import TernaryLinear

# Rotary embeddings whose angles are a function of the position alone.
_ROTARY = ("default", "linear", "llama3")
_ATTENTION_PARTS = native.PARTS[:4]
_EXPECTED = {
    "": modeling_llama.LlamaModel,
    "layers": nn.ModuleList,
    "norm": modeling_llama.LlamaRMSNorm,
    "rotary_emb": modeling_llama.LlamaRotaryEmbedding,
    "embed_tokens": nn.Embedding,
}
_EXPECTED_IN_LAYER = {
    "": modeling_llama.LlamaDecoderLayer,
    "self_attn": modeling_llama.LlamaAttention,
    "mlp": modeling_llama.LlamaMLP,
    "mlp.act_fn": SiLUActivation,
    "input_layernorm": modeling_llama.LlamaRMSNorm,
    "post_attention_layernorm": modeling_llama.LlamaRMSNorm,
}


def refusal(model: StoryModel) -> str | None:
    """Why the CPU backend doesn't serve `model`, in a few words that follow "the model"; None if it does.

    Anything that could make the network compute something else than a plain Llama is refused: other
    classes, biases, dtypes, devices, hooks.
    """
    network: Any = model.network
    if type(network) is not LlamaForCausalLM:
        return f"is a {type(network).__name__}, not a LlamaForCausalLM"
    if model.device.type != "cpu":
        return f"is on {model.device}, not on the CPU"
    config = network.config
    if config.hidden_act not in ("silu", "swish"):
        return f"has the activation {config.hidden_act!r}, not 'silu'"
    if network.model.rotary_emb.rope_type not in _ROTARY:
        return f"has rotary embeddings of type {network.model.rotary_emb.rope_type!r}"
    if model.config.d_head % 2:
        return f"has heads of {model.config.d_head} numbers, an odd count"
    for name, parameter in network.named_parameters():
        if parameter.dtype != torch.float32:
            return f"has {parameter.dtype} weights in {name}, not torch.float32"
        if name.endswith(".bias"):
            return f"has a bias, {name}"
    for name, module in network.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return f"has a hook on {name or 'the network'}"
    return _other_class(network) or _other_size(model)


def _other_size(model: StoryModel) -> str | None:
    """The first matrix that isn't as large as the configuration says."""
    network: Any = model.network
    c = model.config
    q, kv = c.n_heads * c.d_head, c.n_kv_heads * c.d_head
    sizes = [(q, c.d_model), (kv, c.d_model), (kv, c.d_model), (c.d_model, q)]
    sizes += [(c.d_mlp, c.d_model), (c.d_mlp, c.d_model), (c.d_model, c.d_mlp)]
    wanted = [
        (_part(layer, part), size)
        for layer in network.model.layers
        for part, size in zip(native.PARTS, sizes, strict=True)
    ]
    wanted += [
        (network.lm_head, (c.d_vocab, c.d_model)),
        (network.model.embed_tokens, (c.d_vocab, c.d_model)),
    ]
    for module, size in wanted:
        found = module.shape if isinstance(module, TernaryLinear) else tuple(module.weight.shape)
        if found != size:
            return (
                f"has a matrix of {found[0]} x {found[1]} where its configuration says {size[0]} x {size[1]}"
            )
    return None


def _other_class(network: Any) -> str | None:
    """The first module that isn't exactly of the class Llama has there."""
    base = network.model
    expected = [(base.get_submodule(name), kind, name) for name, kind in _EXPECTED.items()]
    for number, layer in enumerate(base.layers):
        where = f"layers.{number}"
        expected += [
            (layer.get_submodule(name), kind, f"{where}.{name}") for name, kind in _EXPECTED_IN_LAYER.items()
        ]
        expected += [(_part(layer, part), None, f"{where}.{part}") for part in native.PARTS]
    expected.append((network.lm_head, None, "lm_head"))
    for module, kind, name in expected:
        if type(module) not in ((nn.Linear, TernaryLinear) if kind is None else (kind,)):
            return f"has a {type(module).__name__} at {name or 'model'}"
        if isinstance(module, TernaryLinear) and module._leaf is not None:
            return f"has a float leaf under way at {name}"
    return None


def check_served(model: StoryModel) -> None:
    """Raises `InputError`, saying why, for a model that the CPU backend doesn't serve."""
    reason = refusal(model)
    if reason is not None:
        raise InputError(f"The CPU backend cannot run {model.name}, which {reason}: use backend='torch'.")


class CpuModel:
    """The weights of `model`, copied now: later changes of the network are not seen.

    Raises `InputError` for a model that is not served (see `refusal`) or when the decoder cannot be
    built, `CheckpointError` when memory runs out.
    """

    def __init__(self, model: StoryModel) -> None:
        check_served(model)
        self.lib = native.bound()
        self.vocab, self.context = model.config.d_vocab, model.config.n_ctx
        network: Any = model.network
        shape = native.Shape(
            model.config.n_layers,
            model.config.d_model,
            model.config.n_heads,
            model.config.n_kv_heads,
            model.config.d_head,
            model.config.d_mlp,
            self.vocab,
            self.context,
            network.model.norm.variance_epsilon,
        )
        self.handle = self.lib.ta_model(ctypes.byref(shape))
        if not self.handle:
            raise memory_error()
        self._fill(network)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.lib.ta_model_free(self.handle)
            self.handle = None

    @property
    def instructions(self) -> str:
        """The instruction set that the decoder was compiled for."""
        return self.lib.ta_instructions().decode()

    def logits(self, tokens: list[int]) -> Float32[np.ndarray, "pos d_vocab"]:
        """Logits after every token of a text; raises `InputError` where it's empty, too long or unknown."""
        if not 0 < len(tokens) <= self.context or not all(0 <= t < self.vocab for t in tokens):
            raise InputError(
                f"{len(tokens)} token ids cannot be read: expected 1 to {self.context} ids below "
                f"{self.vocab}."
            )
        ids = np.array(tokens, dtype=np.int32)
        out = np.empty((len(tokens), self.vocab), dtype=np.float32)
        checked(self.lib.ta_logits(self.handle, native.address(ids), len(ids), native.address(out)))
        return out

    def _fill(self, network: Any) -> None:
        base = network.model
        self._vector(native.EMBEDDING, 0, base.embed_tokens.weight)
        self._vector(native.LAST_NORM, 0, base.norm.weight)
        theta = float(network.config.rope_parameters["rope_theta"])
        tables = network_tables(base.rotary_emb, theta, network.config.head_dim, self.context)
        self._vector(native.COSINES, 0, torch.from_numpy(tables[0]))
        self._vector(native.SINES, 0, torch.from_numpy(tables[1]))
        for number, layer in enumerate(base.layers):
            self._vector(native.ATTENTION_NORM, number, layer.input_layernorm.weight)
            self._vector(native.MLP_NORM, number, layer.post_attention_layernorm.weight)
            for place, part in enumerate(native.PARTS):
                self._matrix(number, place, _part(layer, part))
        self._matrix(0, native.UNEMBEDDING, network.lm_head)

    def _vector(self, name: int, layer: int, values: torch.Tensor) -> None:
        array = np.ascontiguousarray(values.detach().numpy(), dtype=np.float32)
        checked(self.lib.ta_set_vector(self.handle, name, layer, native.address(array), array.size))

    def _matrix(self, layer: int, part: int, linear: nn.Linear) -> None:
        rows, columns = linear.out_features, linear.in_features
        if isinstance(linear, TernaryLinear) and linear.activation_bits == 8:
            trits = np.ascontiguousarray(linear.trits.numpy())
            at = (native.address(trits), float(linear.scale), rows, columns)
            checked(self.lib.ta_set_ternary(self.handle, layer, part, *at))
            return
        weight = np.ascontiguousarray(linear.weight.detach().numpy(), dtype=np.float32)
        checked(self.lib.ta_set_float(self.handle, layer, part, native.address(weight), rows, columns))


def _part(layer: Any, part: str) -> Any:
    return getattr(layer.self_attn if part in _ATTENTION_PARTS else layer.mlp, part)


def memory_error() -> CheckpointError:
    """The sentence for a decoder that got no memory."""
    return CheckpointError(
        "The CPU backend got no memory: lower max_new_tokens or threads, or free some memory."
    )


def checked(code: int) -> int:
    """The code itself; raises `CheckpointError` where it says that memory ran out."""
    if code == -2:
        raise memory_error()
    return code
