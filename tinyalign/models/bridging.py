"""TransformerBridge with every hook causally live, for float, ternary and 1-bit weights.

TransformerLens 4.3 runs GPT-Neo's attention inside Hugging Face's module, so that edits at `hook_pattern`
change nothing; and its per-head paths (`hook_result`, `hook_q_input`) multiply with float weights, which
leaves out the int8 quantisation of activations that a ternary layer does. The two attention components
below repair both. They are handed to each bridge as it is built; nothing global in TransformerLens changes.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components import (
    BlockBridge,
    PositionEmbeddingsAttentionBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.sources import build_bridge_from_module

from tinyalign.common.errors import CheckpointError
from tinyalign.models.hooks import is_dead
from tinyalign.ternary import TernaryLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class TernaryAwareAttention(PositionEmbeddingsAttentionBridge):
    """Attention whose per-head paths quantise activations just as a `TernaryLinear` does.

    For float layers it is TransformerLens's own component, unchanged.
    """

    def _compute_per_head_result(
        self, z_4d: Float[torch.Tensor, "batch pos head d_head"], n_heads: int, d_head: int
    ) -> Float[torch.Tensor, "batch pos d_model"]:
        layer = self.o.original_component
        if isinstance(layer, TernaryLinear):
            # One scale a token over all heads together, as in the layer itself.
            z = layer.effective_input(rearrange(z_4d, "batch pos head d_head -> batch pos (head d_head)"))
            z_4d = rearrange(z, "batch pos (head d_head) -> batch pos head d_head", head=n_heads)
        return super()._compute_per_head_result(z_4d, n_heads, d_head)

    def _project_per_head_qkv(
        self,
        linear_bridge: GeneralizedComponent,
        input_4d: Float[torch.Tensor, "batch pos head d_model"],
        n_heads: int,
        d_head: int,
    ) -> Float[torch.Tensor, "batch pos head d_head"]:
        layer = linear_bridge.original_component
        if isinstance(layer, TernaryLinear):
            # Each head reads its own copy of the residual stream, so each copy has its own scale.
            input_4d = layer.effective_input(input_4d)
        return super()._project_per_head_qkv(linear_bridge, input_4d, n_heads, d_head)


class BitNetAttention(TernaryAwareAttention):
    """BitNet's attention: an RMS norm stands between the heads and the output projection."""

    def _pre_output_projection(
        self, attn_output: Float[torch.Tensor, "batch pos d_model"]
    ) -> Float[torch.Tensor, "batch pos d_model"]:
        norm = getattr(self.original_component, "attn_sub_norm", None)
        return attn_output if norm is None else norm(attn_output)


class NeoAttention(TernaryAwareAttention):
    """GPT-Neo's attention, step by step: unscaled scores, causal or sliding-window mask, no rotary."""

    rope_optional = True

    def set_original_component(self, component: Any) -> None:
        # Without a layer index TransformerLens skips the key/value cache, and cached generation ignores
        # the prompt; without a scaling it divides by sqrt(d_head), which GPT-Neo does not.
        component.layer_idx = component.layer_id
        component.scaling = 1.0
        super().set_original_component(component)

    def _apply_reconstruct_attention_mask(
        self,
        attn_scores: Float[torch.Tensor, "batch head q_pos k_pos"],
        attention_mask: torch.Tensor | None,
        seq_len: int,
        q_seq_len: int | None = None,
    ) -> Float[torch.Tensor, "batch head q_pos k_pos"]:
        queries = seq_len if q_seq_len is None else q_seq_len
        neo: Any = self.original_component
        # [1, 1, n_ctx, n_ctx]: the module's own table, in which a local layer's window is cut out.
        visible = neo.bias[:, :, seq_len - queries : seq_len, :seq_len]
        lowest = torch.finfo(attn_scores.dtype).min
        scores = attn_scores.masked_fill(~visible, lowest)
        return super()._apply_reconstruct_attention_mask(scores, attention_mask, seq_len, q_seq_len)


_ATTENTION = {
    "GPTNeoForCausalLM": NeoAttention,
    "LlamaForCausalLM": TernaryAwareAttention,
    "BitNetForCausalLM": BitNetAttention,
}


def build_bridge(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None, *, name: str
) -> TransformerBridge:
    """A `TransformerBridge` around `network` with all hooks live; `network` is rewritten in place.

    Raises `CheckpointError` for an architecture without a live attention component.
    """
    architecture = type(network).__name__
    if architecture not in _ATTENTION:
        raise CheckpointError(f"No live hooks for {architecture}: expected one of {', '.join(_ATTENTION)}.")

    def live_attention(adapter: Any) -> None:
        blocks: BlockBridge = adapter.component_mapping["blocks"]
        old = blocks.submodules["attn"]
        blocks.submodules["attn"] = _ATTENTION[architecture](
            name=old.name, config=adapter.cfg, submodules=dict(old.submodules)
        )
        if architecture == "GPTNeoForCausalLM":
            # Hugging Face's own layer norm: one that differs in the last bit flips int8 activations.
            for norm in (
                blocks.submodules["ln1"],
                blocks.submodules["ln2"],
                adapter.component_mapping["ln_final"],
            ):
                norm.use_native_layernorm_autograd = True
            adapter.cfg.use_attn_scale = False
            adapter.cfg.attn_scale = 1.0
            adapter.cfg.attn_types = list(network.config.attention_layers)
            adapter.cfg.use_local_attn = "local" in network.config.attention_layers
            adapter.cfg.window_size = network.config.window_size

    bridge = build_bridge_from_module(
        network,
        architecture,
        hf_config=network.config,
        tokenizer=None if tokenizer is None else _as_given(tokenizer, name),
        model_name=name,
        post_adapter_hook=live_attention,
    )
    if tokenizer is not None:
        # One convention everywhere: prompts begin as the model's own tokenizer begins them.
        bridge.cfg.default_prepend_bos = bool(bridge.cfg.tokenizer_prepends_bos)
    if architecture != "GPTNeoForCausalLM":
        bridge.hook_aliases = {k: v for k, v in bridge.hook_aliases.items() if k != "hook_pos_embed"}
    for hook in [name for name in bridge._hook_registry if is_dead(name, architecture)]:
        # TransformerLens declares these and never acts on them here: adding to one must fail, not do nothing.
        del bridge._hook_registry[hook]
    bridge.eval()
    return bridge


def _as_given(tokenizer: PreTrainedTokenizerFast, name: str) -> PreTrainedTokenizerFast:
    """A copy that TransformerLens takes as it is.

    It would otherwise look the tokenizer up again on the hub to have it prepend BOS, which fails without
    a network and, where it succeeds, makes prompts begin otherwise than in training.
    """
    given = copy.deepcopy(tokenizer)
    given.init_kwargs |= {"name_or_path": name, "add_bos_token": True}
    return given
