"""Which models the C++ decoder serves, where their parts are, and why it refuses others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import GPTNeoForCausalLM, LlamaForCausalLM
from transformers.activations import NewGELUActivation, SiLUActivation
from transformers.models.gpt_neo import modeling_gpt_neo
from transformers.models.llama import modeling_llama

from tinyalign.common.errors import InputError
from tinyalign.models import StoryModel
from tinyalign.ternary import TernaryLinear

# Rotary embeddings whose angles are a function of the position alone.
_ROTARY = ("default", "linear", "llama3")


@dataclass(frozen=True)
class Family:
    """Where a network class keeps its parts, by their paths, and the exact classes expected there.

    `linears` are the paths inside a block in the order of `native.PARTS`, None for one that isn't there.
    """

    network: type[nn.Module]
    base: str
    blocks: str
    embedding: str
    norm: str
    block_norms: tuple[str, str]
    linears: tuple[str | None, ...]
    classes: dict[str, type[nn.Module]]
    block_classes: dict[str, type[nn.Module]]

    def base_of(self, network: nn.Module) -> Any:
        """The network without its unembedding."""
        return network.get_submodule(self.base)

    def blocks_of(self, network: nn.Module) -> list[Any]:
        """The transformer blocks, in order."""
        blocks: Any = self.base_of(network).get_submodule(self.blocks)
        return list(blocks)

    def linears_of(self, network: nn.Module) -> Iterator[tuple[int, int, str, Any]]:
        """(layer, place among `native.PARTS`, path, module) of every matrix inside the blocks."""
        for layer, block in enumerate(self.blocks_of(network)):
            for place, path in enumerate(self.linears):
                if path is not None:
                    yield layer, place, f"{self.blocks}.{layer}.{path}", block.get_submodule(path)


LLAMA = Family(
    network=LlamaForCausalLM,
    base="model",
    blocks="layers",
    embedding="embed_tokens",
    norm="norm",
    block_norms=("input_layernorm", "post_attention_layernorm"),
    linears=(
        *(f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "o_proj")),
        *(f"mlp.{part}" for part in ("gate_proj", "up_proj", "down_proj")),
    ),
    classes={
        "": modeling_llama.LlamaModel,
        "layers": nn.ModuleList,
        "norm": modeling_llama.LlamaRMSNorm,
        "rotary_emb": modeling_llama.LlamaRotaryEmbedding,
        "embed_tokens": nn.Embedding,
    },
    block_classes={
        "": modeling_llama.LlamaDecoderLayer,
        "self_attn": modeling_llama.LlamaAttention,
        "mlp": modeling_llama.LlamaMLP,
        "mlp.act_fn": SiLUActivation,
        "input_layernorm": modeling_llama.LlamaRMSNorm,
        "post_attention_layernorm": modeling_llama.LlamaRMSNorm,
    },
)
GPT_NEO = Family(
    network=GPTNeoForCausalLM,
    base="transformer",
    blocks="h",
    embedding="wte",
    norm="ln_f",
    block_norms=("ln_1", "ln_2"),
    linears=(
        *(f"attn.attention.{part}" for part in ("q_proj", "k_proj", "v_proj", "out_proj")),
        None,
        "mlp.c_fc",
        "mlp.c_proj",
    ),
    classes={
        "": modeling_gpt_neo.GPTNeoModel,
        "h": nn.ModuleList,
        "ln_f": nn.LayerNorm,
        "wte": nn.Embedding,
        "wpe": nn.Embedding,
    },
    block_classes={
        "": modeling_gpt_neo.GPTNeoBlock,
        "attn": modeling_gpt_neo.GPTNeoAttention,
        "attn.attention": modeling_gpt_neo.GPTNeoSelfAttention,
        "mlp": modeling_gpt_neo.GPTNeoMLP,
        "mlp.act": NewGELUActivation,
        "ln_1": nn.LayerNorm,
        "ln_2": nn.LayerNorm,
    },
)


def family_of(model: StoryModel) -> Family | None:
    """The family whose exact network class the model has."""
    return next((family for family in (LLAMA, GPT_NEO) if type(model.network) is family.network), None)


def refusal(model: StoryModel, device_type: str | None = "cpu") -> str | None:
    """Why a fused decoder doesn't serve `model`, in a few words that follow "the model"; None if it does.

    An altered network is refused, and other dtypes and devices (None takes any device).
    """
    reason = alteration(model)
    if reason is not None:
        return reason
    if device_type is not None and model.device.type != device_type:
        return f"is on {model.device}, not on {'the CPU' if device_type == 'cpu' else device_type}"
    for name, parameter in model.network.named_parameters():
        if parameter.dtype != torch.float32:
            return f"has {parameter.dtype} weights in {name}, not torch.float32"
    return None


def alteration(model: StoryModel) -> str | None:
    """What could make the network compute something else than a plain Llama or GPT-Neo; None if nothing.

    Other classes, sizes and norms than its configuration says, other masks, hooks, dropout at work.
    """
    network: Any = model.network
    family = family_of(model)
    if family is None:
        return f"is a {type(network).__name__}, not a LlamaForCausalLM or GPTNeoForCausalLM"
    if network.training:
        return "is in training mode, where dropout may be at work"
    for name, module in network.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return f"has a hook on {name or 'the network'}"
        if "forward" in vars(module):
            return f"has another forward method on {name or 'the network'}"
    return (
        _other_class(network, family)
        or _other_size(model, family)
        or _other_norm(network, family)
        or (_other_llama(model) if family is LLAMA else _other_neo(model))
    )


def check_served(model: StoryModel) -> None:
    """Raises `InputError`, saying why, for a model that the CPU backend doesn't serve."""
    reason = refusal(model)
    if reason is not None:
        raise InputError(f"The CPU backend cannot run {model.name}, which {reason}: use backend='torch'.")


def epsilon_of(norm: Any) -> float:
    """The number that a norm adds to the variance."""
    return float(norm.eps if isinstance(norm, nn.LayerNorm) else norm.variance_epsilon)


def windows_of(model: StoryModel) -> list[int]:
    """Tokens that attention sees in each layer, the token itself included; 0 for all."""
    config: Any = model.network.config
    if family_of(model) is not GPT_NEO:
        return [0] * model.config.n_layers
    return [config.window_size if kind == "local" else 0 for kind in config.attention_layers]


def _other_class(network: Any, family: Family) -> str | None:
    """The first module that isn't exactly of the class the family has there."""
    base = family.base_of(network)
    expected = [(base.get_submodule(path), kind, path) for path, kind in family.classes.items()]
    for number, block in enumerate(family.blocks_of(network)):
        expected += [
            (block.get_submodule(path), kind, f"{family.blocks}.{number}.{path}")
            for path, kind in family.block_classes.items()
        ]
    expected += [(module, None, path) for _, _, path, module in family.linears_of(network)]
    expected.append((network.lm_head, None, "lm_head"))
    for module, kind, path in expected:
        if type(module) not in ((nn.Linear, TernaryLinear) if kind is None else (kind,)):
            return f"has a {type(module).__name__} at {path or family.base}"
        if isinstance(module, TernaryLinear) and module._leaf is not None:
            return f"has a float leaf under way at {path}"
    return None


def _other_size(model: StoryModel, family: Family) -> str | None:
    """The first matrix that isn't as large as the configuration says."""
    network: Any = model.network
    c = model.config
    q, kv = c.n_heads * c.d_head, c.n_kv_heads * c.d_head
    sizes = [(q, c.d_model), (kv, c.d_model), (kv, c.d_model), (c.d_model, q)]
    sizes += [(c.d_mlp, c.d_model), (c.d_mlp, c.d_model), (c.d_model, c.d_mlp)]
    wanted = [(module, sizes[place]) for _, place, _, module in family.linears_of(network)]
    base = family.base_of(network)
    wanted += [(network.lm_head, (c.d_vocab, c.d_model))]
    wanted += [(base.get_submodule(family.embedding), (c.d_vocab, c.d_model))]
    if family is GPT_NEO:
        wanted.append((base.wpe, (c.n_ctx, c.d_model)))
    if len(family.blocks_of(network)) != c.n_layers:
        return f"has {len(family.blocks_of(network))} layers where its configuration says {c.n_layers}"
    for module, size in wanted:
        found = module.shape if isinstance(module, TernaryLinear) else tuple(module.weight.shape)
        if found != size:
            return (
                f"has a matrix of {found[0]} x {found[1]} where its configuration says {size[0]} x {size[1]}"
            )
    return None


def _other_norm(network: Any, family: Family) -> str | None:
    last = family.base_of(network).get_submodule(family.norm)
    norms = [last, *(b.get_submodule(path) for b in family.blocks_of(network) for path in family.block_norms)]
    if len({epsilon_of(norm) for norm in norms}) > 1:
        return "has norms with different epsilons"
    if any(norm.weight is None or (family is GPT_NEO and norm.bias is None) for norm in norms):
        return "has a norm without gain or bias"
    return None


def _other_llama(model: StoryModel) -> str | None:
    network: Any = model.network
    if network.model.rotary_emb.rope_type not in _ROTARY:
        return f"has rotary embeddings of type {network.model.rotary_emb.rope_type!r}"
    if model.config.d_head % 2:
        return f"has heads of {model.config.d_head} numbers, an odd count"
    return None


def _other_neo(model: StoryModel) -> str | None:
    """A mask, checked on its last row, that isn't that of the configuration's window."""
    for layer, window in enumerate(windows_of(model)):
        block: Any = model.network.get_submodule(f"transformer.h.{layer}.attn.attention")
        row = block.bias[0, 0, -1]
        if int(row.sum()) != min(window or len(row), len(row)) or not bool(row[-1]):
            return f"has another attention mask in layer {layer} than its configuration says"
    return None
