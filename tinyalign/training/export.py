"""From the training network to a `StoryModel` and back: one Llama, two layouts, the same logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tinyalign.common.errors import InputError, TokenizerError
from tinyalign.models.story_model import StoryModel, make_story_model
from tinyalign.ternary import replace_linears, ternary_layers
from tinyalign.training.network import LINEARS, NORM_EPS, ROPE_THETA, StoryNet
from tinyalign.training.recipe import Shape

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_IN_LLAMA = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
}


def llama_name(name: str) -> str:
    """A parameter's name in `LlamaForCausalLM`: "blocks.0.q" is "model.layers.0.self_attn.q_proj.weight"."""
    if name == "embed":
        return "model.embed_tokens.weight"
    if name == "norm":
        return "model.norm.weight"
    _, block, part = name.split(".")
    return f"model.layers.{block}.{_IN_LLAMA[part]}.weight"


def to_story_model(
    net: StoryNet, tokenizer: PreTrainedTokenizerFast, *, name: str, source: str
) -> StoryModel:
    """The network as a loaded model.

    A float network is rounded to float16 first, so that saving it as float16 keeps its identity; embedding
    and norms of a ternary or 1-bit one stay float32, which is what plain transformers needs beside trits.
    """
    state = {llama_name(key): value.detach().float().cpu() for key, value in net.named_parameters()}
    if net.bits == 16:
        state = {key: value.half().float() for key, value in state.items()}
    network = _empty_llama(net.shape, tokenizer)
    network.load_state_dict(state, strict=False)
    if net.bits != 16:
        replace_linears(network, net.bits)
    network.requires_grad_(False)
    return make_story_model(network, tokenizer, source=source, name=name)


def from_story_model(model: StoryModel, bits: float) -> StoryNet:
    """A trainable network with the weights of a loaded Llama, to fine-tune or to distil from.

    Trits come back as latent weights that quantise to the same trits and scale. Raises `InputError` for
    anything but a Llama with multi-head attention, tied embeddings and no biases.
    """
    config = model.network.config
    reason = why_not_trainable(model)
    if reason:
        raise InputError(f"Cannot train {model.name}: {reason}.")
    shape = Shape(
        d_model=config.hidden_size,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        d_mlp=config.intermediate_size,
        n_ctx=config.max_position_embeddings,
        d_vocab=config.vocab_size,
    )
    net = StoryNet(shape, bits)
    ternary = ternary_layers(model.network)
    stored = dict(model.network.named_parameters())
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            there = llama_name(name)
            module = there.removesuffix(".weight")
            if module in ternary and name.rpartition(".")[2] in LINEARS:
                layer = ternary[module]
                parameter.copy_(_latent(layer.trits, layer.scale, bits))
            else:
                parameter.copy_(stored[there])
    return net


def _latent(trits: Tensor, scale: Tensor, bits: float) -> Tensor:
    """A matrix whose absmean (or sign) quantisation is `trits * scale`; for 16 bits, that product itself."""
    levels = trits.float()
    if bits == 16:
        return levels * scale
    density = levels.abs().mean().clamp_min(1 / max(levels.numel(), 1))
    return levels * scale / density


def why_not_trainable(model: StoryModel) -> str:
    """Why `from_story_model` refuses a model, in words; empty where it does not."""
    config = model.network.config
    if type(model.network).__name__ != "LlamaForCausalLM":
        return f"it is a {type(model.network).__name__}, expected a Llama"
    if config.num_key_value_heads != config.num_attention_heads:
        return "its heads share keys and values (grouped queries), expected multi-head attention"
    if not config.tie_word_embeddings:
        return "its output matrix is not tied to the embedding"
    rope = getattr(config, "rope_parameters", None) or {}
    theta = rope.get("rope_theta", getattr(config, "rope_theta", ROPE_THETA))
    if theta != ROPE_THETA or rope.get("rope_type", "default") != "default":
        return f"its rotary embedding is not the plain one with base {ROPE_THETA:g}"
    if abs(config.rms_norm_eps - NORM_EPS) > 1e-12:
        return f"its norms use epsilon {config.rms_norm_eps:g}, expected {NORM_EPS:g}"
    if any(name.endswith(".bias") for name, _ in model.network.named_parameters()):
        return "it has biases"
    return ""


def _empty_llama(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    end = tokenizer.convert_tokens_to_ids(str(tokenizer.eos_token))
    if not isinstance(end, int):
        raise TokenizerError("The tokenizer has no end-of-text token, which a story model needs.")
    config = LlamaConfig(
        vocab_size=shape.d_vocab,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_heads,
        max_position_embeddings=shape.n_ctx,
        rms_norm_eps=NORM_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()
