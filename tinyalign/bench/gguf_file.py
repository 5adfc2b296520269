"""A Llama model as a GGUF file of float32 weights, for llama.cpp as a peer; needs the package `gguf`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from tinyalign.models import StoryModel

_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def write_gguf(model: StoryModel, file: Path) -> None:
    """Write `model` (float Llama) without a tokenizer: llama.cpp is given token ids."""
    gguf: Any = importlib.import_module("gguf")
    network: Any = model.network
    c = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(c.n_ctx)
    writer.add_embedding_length(c.d_model)
    writer.add_block_count(c.n_layers)
    writer.add_feed_forward_length(c.d_mlp)
    writer.add_head_count(c.n_heads)
    writer.add_head_count_kv(c.n_kv_heads)
    writer.add_layer_norm_rms_eps(float(network.model.norm.variance_epsilon))
    writer.add_rope_dimension_count(c.d_head)
    writer.add_rope_freq_base(float(network.config.rope_parameters["rope_theta"]))
    writer.add_vocab_size(c.d_vocab)
    writer.add_tokenizer_model("none")
    writer.add_tensor("token_embd.weight", _floats(network.model.embed_tokens))
    writer.add_tensor("output_norm.weight", _floats(network.model.norm))
    writer.add_tensor("output.weight", _floats(network.lm_head))
    for number, layer in enumerate(network.model.layers):
        for name, part in _PARTS.items():
            weight = _floats(layer.get_submodule(part))
            if name in ("attn_q", "attn_k"):
                weight = _to_pairs(weight, c.n_heads if name == "attn_q" else c.n_kv_heads)
            writer.add_tensor(f"blk.{number}.{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _floats(module: Any) -> np.ndarray:
    return module.weight.detach().float().numpy()


def _to_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of rotary halves, as Hugging Face has them, to neighbouring pairs, as llama.cpp turns them."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))
