"""Foreign checkpoints of Llama-like or GPT-like shape, brought in by a small YAML mapping.

The template with every field explained is `data/mappings/template.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from einops import rearrange

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.models.checkpoint import check_finite, load_into, read_tensors
from tinyalign.models.folder import empty_network
from tinyalign.ternary import Quantized, TernaryLinear, absmean, from_levels, sign

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_QUANTISERS: dict[str, Callable[[torch.Tensor], Quantized] | None] = {
    "none": None,
    "absmean": absmean,
    "sign": sign,
    "levels": from_levels,
}
_MATRICES = ("q", "k", "v", "o", "gate", "in", "out")
_LLAMA = {
    "embed": "model.embed_tokens.weight",
    "unembed": "lm_head.weight",
    "final_norm": "model.norm.weight",
    "norm1": "model.layers.{layer}.input_layernorm.weight",
    "norm2": "model.layers.{layer}.post_attention_layernorm.weight",
    "q": "model.layers.{layer}.self_attn.q_proj.weight",
    "k": "model.layers.{layer}.self_attn.k_proj.weight",
    "v": "model.layers.{layer}.self_attn.v_proj.weight",
    "o": "model.layers.{layer}.self_attn.o_proj.weight",
    "gate": "model.layers.{layer}.mlp.gate_proj.weight",
    "in": "model.layers.{layer}.mlp.up_proj.weight",
    "out": "model.layers.{layer}.mlp.down_proj.weight",
}
_NEO = {
    "embed": "transformer.wte.weight",
    "position": "transformer.wpe.weight",
    "unembed": "lm_head.weight",
    "final_norm": "transformer.ln_f.weight",
    "final_norm_bias": "transformer.ln_f.bias",
    "norm1": "transformer.h.{layer}.ln_1.weight",
    "norm1_bias": "transformer.h.{layer}.ln_1.bias",
    "norm2": "transformer.h.{layer}.ln_2.weight",
    "norm2_bias": "transformer.h.{layer}.ln_2.bias",
    "q": "transformer.h.{layer}.attn.attention.q_proj.weight",
    "k": "transformer.h.{layer}.attn.attention.k_proj.weight",
    "v": "transformer.h.{layer}.attn.attention.v_proj.weight",
    "o": "transformer.h.{layer}.attn.attention.out_proj.weight",
    "o_bias": "transformer.h.{layer}.attn.attention.out_proj.bias",
    "in": "transformer.h.{layer}.mlp.c_fc.weight",
    "in_bias": "transformer.h.{layer}.mlp.c_fc.bias",
    "out": "transformer.h.{layer}.mlp.c_proj.weight",
    "out_bias": "transformer.h.{layer}.mlp.c_proj.bias",
}


@dataclass(frozen=True)
class Mapping:
    """How a foreign checkpoint spells a Llama-like (`llama`) or GPT-like (`gpt`) model.

    Attributes:
        dimensions: n_layers, d_model, n_heads, d_mlp, d_vocab, n_ctx; optional n_kv_heads, d_head,
            norm_eps, rope_theta, act_fn, tied, window.
        keys: our name of a tensor to its key there; `{layer}` stands for the layer's number. `qkv` in place
            of q, k and v names one matrix with the three stacked.
        rotary: `halves` (Hugging Face) or `pairs` (llama2.c, Meta); llama only.
        quantiser: `none`, `absmean`, `sign` (applied to the stored latent weights), or `levels` (stored
            weights already have two or three levels).
        transposed: names of matrices stored as [in, out].
        attention_scale: gpt only: `none` (GPT-Neo) or `sqrt` (scores divided by sqrt(d_head)).
        tokenizer: a file beside the mapping, or None for token ids only.
    """

    architecture: str
    dimensions: dict[str, Any]
    keys: dict[str, str]
    rotary: str = "halves"
    quantiser: str = "none"
    transposed: tuple[str, ...] = ()
    attention_scale: str = "none"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        _one_of("architecture", self.architecture, ("llama", "gpt"))
        _one_of("rotary", self.rotary, ("halves", "pairs"))
        _one_of("quantiser", self.quantiser, tuple(_QUANTISERS))
        _one_of("attention_scale", self.attention_scale, ("none", "sqrt"))
        missing = {"n_layers", "d_model", "n_heads", "d_mlp", "d_vocab", "n_ctx"} - set(self.dimensions)
        if missing:
            raise InputError(f"The mapping's dimensions lack {', '.join(sorted(missing))}.")
        ours = set(self.names) | {"qkv"}
        unknown = sorted(set(self.keys) - ours)
        if unknown:
            raise InputError(
                f"The mapping's keys name {', '.join(unknown)}: expected {', '.join(sorted(ours))}."
            )
        optional = {"unembed"} if self.dimensions.get("tied", True) else set()
        optional |= {name for name in self.names if name.endswith("_bias")}
        given = set(self.keys) | ({"q", "k", "v"} if "qkv" in self.keys else set())
        lacking = sorted(set(self.names) - given - optional)
        if lacking:
            raise InputError(f"The mapping's keys lack {', '.join(lacking)}.")

    @property
    def names(self) -> dict[str, str]:
        """Our name of each tensor to Hugging Face's."""
        return _LLAMA if self.architecture == "llama" else _NEO


def read_mapping(path: str | Path) -> Mapping:
    """The mapping in a YAML file; raises `InputError` with what is wrong in it."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The mapping {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"The mapping {path.name} is not YAML: {str(error).splitlines()[0]}.") from error
    known = {field.name for field in fields(Mapping)}
    if not isinstance(content, dict) or not set(content) <= known:
        extra = sorted(set(content) - known) if isinstance(content, dict) else [type(content).__name__]
        raise InputError(
            f"The mapping {path.name} has {', '.join(map(str, extra))}: expected the fields "
            f"{', '.join(sorted(known))}."
        )
    for required in ("architecture", "dimensions", "keys"):
        if required not in content:
            raise InputError(f"The mapping {path.name} lacks {required}.")
    return Mapping(**{**content, "transposed": tuple(content.get("transposed") or ())})


def read_foreign(path: str | Path, mapping: Mapping) -> PreTrainedModel:
    """The network of a foreign checkpoint; its ternary layers quantised as the mapping says.

    Raises `CheckpointError` when a key is missing, a shape does not fit, or tensors are left over.
    """
    path = Path(path)
    tensors = read_tensors(path)
    check_finite(tensors, path.name)
    network = empty_network(_config(mapping))
    used: set[str] = set()
    state: dict[str, torch.Tensor] = {}
    for layer in range(int(mapping.dimensions["n_layers"])):
        state |= _collect(mapping, tensors, layer, used, path.name)
    state |= _collect(mapping, tensors, None, used, path.name)
    spare = sorted(set(tensors) - used)
    if spare:
        raise CheckpointError(
            f"{path.name} has {len(spare)} tensors that the mapping does not name ({', '.join(spare[:3])}): "
            "add them, or it is another architecture."
        )
    quantise = _QUANTISERS[mapping.quantiser]
    if quantise is not None:
        linears = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
        for name, linear in linears.items():
            if name == "lm_head":
                continue
            bias = state.pop(f"{name}.bias", None)
            weight = state.pop(f"{name}.weight")
            if weight.shape != linear.weight.shape:
                raise CheckpointError(
                    f"{path.name}: {name} has shape {tuple(weight.shape)} where the mapping's dimensions ask "
                    f"for {tuple(linear.weight.shape)}; is it stored transposed?"
                )
            network.set_submodule(name, TernaryLinear.from_quantized(quantise(weight), bias=bias))
    load_into(network, state, path.name)
    return network


def _collect(
    mapping: Mapping, tensors: dict[str, torch.Tensor], layer: int | None, used: set[str], where: str
) -> dict[str, torch.Tensor]:
    """Hugging Face names to tensors: of one layer, or (None) of what stands outside the layers."""
    state: dict[str, torch.Tensor] = {}
    for name, pattern in mapping.keys.items():
        if ("{layer}" in pattern) != (layer is not None):
            continue
        key = pattern if layer is None else pattern.replace("{layer}", str(layer))
        if key not in tensors:
            near = ", ".join(sorted(tensors)[:3])
            raise CheckpointError(f"{where} has no tensor {key!r} (the mapping's {name}); it has {near}, ...")
        used.add(key)
        value = tensors[key].float()
        if name in mapping.transposed:
            value = value.T.contiguous()
        parts = dict(zip("qkv", _split(mapping, value, key), strict=True)) if name == "qkv" else {name: value}
        for part, matrix in parts.items():
            target = mapping.names[part]
            state[target if layer is None else target.format(layer=layer)] = _convention(
                mapping, part, matrix
            )
    return state


def _convention(mapping: Mapping, name: str, value: torch.Tensor) -> torch.Tensor:
    heads = int(mapping.dimensions["n_heads"])
    if mapping.architecture == "llama" and mapping.rotary == "pairs" and name in ("q", "k"):
        count = heads if name == "q" else int(mapping.dimensions.get("n_kv_heads", heads))
        return rearrange(value, "(head pair two) d_in -> (head two pair) d_in", head=count, two=2)
    if mapping.architecture == "gpt" and mapping.attention_scale == "sqrt" and name == "q":
        # GPT-Neo does not scale its scores, so the factor goes into the query matrix.
        return value / (int(mapping.dimensions["d_model"]) / heads) ** 0.5
    return value


def _split(mapping: Mapping, qkv: torch.Tensor, key: str) -> list[torch.Tensor]:
    d, heads = mapping.dimensions, int(mapping.dimensions["n_heads"])
    d_head = int(d.get("d_head", int(d["d_model"]) // heads))
    kv = int(d.get("n_kv_heads", heads)) * d_head
    sizes = [heads * d_head, kv, kv]
    if qkv.shape[0] != sum(sizes):
        raise CheckpointError(
            f"{key} has {qkv.shape[0]} rows: expected {sum(sizes)} for q, k and v together."
        )
    return [part.contiguous() for part in qkv.split(sizes)]


def _config(mapping: Mapping) -> dict[str, Any]:
    d = mapping.dimensions
    heads = int(d["n_heads"])
    if mapping.architecture == "gpt":
        window = d.get("window")
        kinds = [["global"], d["n_layers"]] if window is None else [["global", "local"], d["n_layers"] // 2]
        return {
            "architectures": ["GPTNeoForCausalLM"],
            "model_type": "gpt_neo",
            "vocab_size": d["d_vocab"],
            "hidden_size": d["d_model"],
            "num_layers": d["n_layers"],
            "num_heads": heads,
            "intermediate_size": d["d_mlp"],
            "max_position_embeddings": d["n_ctx"],
            "attention_types": [kinds],
            "window_size": window or 256,
            "activation_function": d.get("act_fn", "gelu_new"),
            "layer_norm_epsilon": float(d.get("norm_eps", 1e-5)),
            "tie_word_embeddings": bool(d.get("tied", True)),
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": d["d_vocab"],
        "hidden_size": d["d_model"],
        "num_hidden_layers": d["n_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": d.get("n_kv_heads", heads),
        "head_dim": d.get("d_head", int(d["d_model"]) // heads),
        "intermediate_size": d["d_mlp"],
        "max_position_embeddings": d["n_ctx"],
        "rms_norm_eps": float(d.get("norm_eps", 1e-5)),
        "rope_parameters": {"rope_theta": float(d.get("rope_theta", 10000.0)), "rope_type": "default"},
        "hidden_act": d.get("act_fn", "silu"),
        "tie_word_embeddings": bool(d.get("tied", True)),
    }


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"The mapping's {field} is {value!r}: expected one of {', '.join(allowed)}.")
