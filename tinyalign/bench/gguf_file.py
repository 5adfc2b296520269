"""A Llama model as a GGUF file, in floats or quantised, for llama.cpp as a peer; needs the package `gguf`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tinyalign.models import StoryModel

# How the blocks' matrices are stored: 32-bit floats, 8-bit blocks of 32, or ternary blocks of 256.
Stored = Literal["F32", "Q8_0", "TQ2_0"]

_BLOCK = {"F32": 1, "Q8_0": 32, "TQ2_0": 256}
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


def unsuited(model: StoryModel, stored: Stored) -> str | None:
    """Why a model cannot be compared in this form, or None."""
    if model.config.architecture != "LlamaForCausalLM":
        return f"it decodes Llama models, not {model.config.architecture}"
    if (model.bits < 16) != (stored == "TQ2_0"):
        return f"{stored} holds {'ternary' if stored == 'TQ2_0' else 'float'} weights"
    if model.bits == 1:
        return "TQ2_0 holds ternary weights"
    rows = {model.config.d_model, model.config.d_mlp, model.config.n_heads * model.config.d_head}
    if stored == "TQ2_0" and any(row % _BLOCK[stored] for row in rows):
        sizes = ", ".join(str(row) for row in sorted(rows))
        return f"TQ2_0 holds rows of a multiple of 256 weights, and here they have {sizes}"
    if stored == "Q8_0" and model.config.d_model % _BLOCK[stored]:
        return f"Q8_0 holds rows of a multiple of 32 weights, and here they have {model.config.d_model}"
    return None


def remark(model: StoryModel, stored: Stored) -> str | None:
    """Which matrices are not stored in this form, and why; None where all are."""
    if stored == "TQ2_0":
        return "embedding and unembedding are F16"
    if stored == "Q8_0" and model.config.d_mlp % _BLOCK[stored]:
        return f"the down projections are F16: their rows of {model.config.d_mlp} are no multiple of 32"
    return None


def write_gguf(model: StoryModel, file: Path, stored: Stored = "F32") -> None:
    """Write a Llama model that suits the form, without a tokenizer: llama.cpp is given token ids.

    As in llama.cpp's own converter, rows that a type's blocks do not divide stay F16, and here embedding
    and unembedding of a ternary file too.
    """
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

    def add(name: str, weight: np.ndarray, kind: str) -> None:
        if weight.ndim == 1 or kind == "F32":
            writer.add_tensor(name, weight)
        elif kind == "F16" or weight.shape[1] % _BLOCK[kind]:
            writer.add_tensor(name, weight.astype(np.float16))
        else:
            quantized = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(weight, quantized), raw_dtype=quantized)

    outside = "F16" if stored == "TQ2_0" else stored
    add("token_embd.weight", _floats(network.model.embed_tokens), outside)
    add("output_norm.weight", _floats(network.model.norm), outside)
    add("output.weight", _floats(network.lm_head), outside)
    for number, layer in enumerate(network.model.layers):
        for name, part in _PARTS.items():
            weight = _floats(layer.get_submodule(part))
            if name in ("attn_q", "attn_k"):
                weight = _to_pairs(weight, c.n_heads if name == "attn_q" else c.n_kv_heads)
            add(f"blk.{number}.{name}.weight", weight, stored)
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
