"""A Llama folder of `tinyalign.models.saving` in numpy arrays, read without torch or transformers.

Only what is certain to be a plain Llama is read: a field, a tensor or a tokenizer class that isn't known here
gives None, and the reader goes to the ordinary loader, which knows more and says what is wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Fields that must have these values for the network to be the one that the C++ decoder runs.
_FIXED: dict[str, tuple[Any, ...]] = {
    "architectures": (["LlamaForCausalLM"],),
    "attention_bias": (False,),
    "dtype": ("float32",),
    "hidden_act": ("silu",),
    "is_encoder_decoder": (False,),
    "mlp_bias": (False,),
    "model_type": ("llama",),
    "pretraining_tp": (1,),
}
_NUMBERS = (
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "vocab_size",
)
# Fields that say nothing about the logits of one text.
_IDLE = {
    "attention_dropout",
    "bos_token_id",
    "chunk_size_feed_forward",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "return_dict",
    "transformers_version",
    "use_cache",
}
_READ = {"quantization_config", "rms_norm_eps", "rope_parameters", "tie_word_embeddings", "tinyalign"}
_QUANTIZATION = {
    "linear_class": "autobitlinear",
    "modules_to_not_convert": ["lm_head"],
    "quant_method": "bitnet",
    "quantization_mode": "offline",
    "use_rms_norm": False,
}
_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class LightMatrix:
    """`values` [d_out, d_in]: int8 trits with their `scale`, or float32 with none."""

    values: np.ndarray
    scale: float | None


@dataclass(frozen=True)
class LightLayer:
    """A block: two norms, float32 [d_model], and seven matrices by their names in Llama."""

    attention_norm: np.ndarray
    mlp_norm: np.ndarray
    matrices: dict[str, LightMatrix]


@dataclass(frozen=True)
class LightFolder:
    """A whole model: dimensions under TransformerLens's names, weights, tokenizer, `end` of a story."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    epsilon: float
    theta: float
    end: int | None
    embedding: np.ndarray
    unembedding: np.ndarray
    last_norm: np.ndarray
    layers: tuple[LightLayer, ...]
    tokenizer: Tokenizer


def read_light(folder: Path) -> LightFolder | None:
    """The model in `folder`, or None where only the ordinary loader can read or refuse it."""
    config = _json(folder / "config.json")
    if config is None or not _plain(config) or (folder / "exact_biases.safetensors").exists():
        return None
    tokenizer = _tokenizer(folder)
    tensors = _tensors(folder / "model.safetensors")
    if tokenizer is None or tensors is None or tokenizer.get_vocab_size() > config["vocab_size"]:
        return None
    stated = _json(folder / "tokenizer_config.json") or {}
    ends = stated.get("eos_token")
    return _Reader(config, tensors).folder(tokenizer, None if ends is None else tokenizer.token_to_id(ends))


class _Reader:
    """Takes tensors out one by one, so that what is left over at the end is noticed."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        self.config, self.left = config, dict(tensors)
        self.ternary = "quantization_config" in config
        self.signs = config["tinyalign"].get("bits") == 1

    def folder(self, tokenizer: Tokenizer, end: int | None) -> LightFolder | None:
        """The model, or None where a tensor is missing, misshapen, not finite or left over."""
        c = self.config
        d_model, vocab = c["hidden_size"], c["vocab_size"]
        queries = c["num_attention_heads"] * c["head_dim"]
        keys = c["num_key_value_heads"] * c["head_dim"]
        shapes: dict[str, tuple[int, int]] = {
            "q_proj": (queries, d_model),
            "k_proj": (keys, d_model),
            "v_proj": (keys, d_model),
            "o_proj": (d_model, queries),
            "gate_proj": (c["intermediate_size"], d_model),
            "up_proj": (c["intermediate_size"], d_model),
            "down_proj": (d_model, c["intermediate_size"]),
        }
        try:
            embedding = self._floats("model.embed_tokens.weight", (vocab, d_model))
            tied = c["tie_word_embeddings"]
            layers = [self._layer(f"model.layers.{i}", shapes) for i in range(c["num_hidden_layers"])]
            read = LightFolder(
                n_layers=c["num_hidden_layers"],
                d_model=d_model,
                n_heads=c["num_attention_heads"],
                n_kv_heads=c["num_key_value_heads"],
                d_head=c["head_dim"],
                d_mlp=c["intermediate_size"],
                d_vocab=vocab,
                n_ctx=c["max_position_embeddings"],
                epsilon=float(c["rms_norm_eps"]),
                theta=float(c["rope_parameters"]["rope_theta"]),
                end=end,
                embedding=embedding,
                unembedding=embedding if tied else self._floats("lm_head.weight", (vocab, d_model)),
                last_norm=self._floats("model.norm.weight", (d_model,)),
                layers=tuple(layers),
                tokenizer=tokenizer,
            )
        except (KeyError, ValueError):
            return None
        return None if self.left else read

    def _layer(self, prefix: str, shapes: dict[str, tuple[int, int]]) -> LightLayer:
        norm = (self.config["hidden_size"],)
        return LightLayer(
            self._floats(f"{prefix}.input_layernorm.weight", norm),
            self._floats(f"{prefix}.post_attention_layernorm.weight", norm),
            {
                part: self._matrix(f"{prefix}.{'self_attn' if part in _ATTENTION else 'mlp'}.{part}", shape)
                for part, shape in shapes.items()
            },
        )

    def _matrix(self, name: str, shape: tuple[int, int]) -> LightMatrix:
        if not self.ternary:
            return LightMatrix(self._floats(f"{name}.weight", shape), None)
        packed = self.left.pop(f"{name}.weight")
        scale = self._floats(f"{name}.weight_scale", (1,))
        if packed.dtype != np.uint8 or shape[0] % 4 or packed.shape != (shape[0] // 4, shape[1]):
            raise ValueError(name)
        # Four bands of rows a byte, as `tinyalign.ternary.bitnet` describes.
        codes = (packed[None] >> np.arange(0, 8, 2, dtype=np.uint8)[:, None, None]) & 3
        trits = codes.reshape(shape).astype(np.int8) - 1
        if (trits == 2).any() or (self.signs and (trits == 0).any()):
            raise ValueError(name)
        return LightMatrix(np.ascontiguousarray(trits, dtype=np.int8), float(scale[0]))

    def _floats(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = self.left.pop(name)
        if values.dtype not in (np.float16, np.float32) or values.shape != shape:
            raise ValueError(name)
        if not np.isfinite(values).all():
            raise ValueError(name)
        return np.ascontiguousarray(values, dtype=np.float32)


def _plain(config: dict[str, Any]) -> bool:
    """Whether this is the configuration of a plain Llama that tinyalign saved."""
    if set(config) - {*_FIXED, *_NUMBERS, *_IDLE, *_READ} or not isinstance(config.get("tinyalign"), dict):
        return False
    if any(config.get(field, values[0]) not in values for field, values in _FIXED.items()):
        return False
    if not all(type(config.get(field)) is int and config[field] > 0 for field in _NUMBERS):
        return False
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or set(rope) != {"rope_theta", "rope_type"}:
        return False
    if rope["rope_type"] != "default" or not isinstance(rope["rope_theta"], int | float):
        return False
    if not isinstance(config.get("tie_word_embeddings"), bool) or config["head_dim"] % 2:
        return False
    if not isinstance(config.get("rms_norm_eps"), float):
        return False
    if config["num_attention_heads"] % config["num_key_value_heads"]:
        return False
    return config.get("quantization_config", _QUANTIZATION) == _QUANTIZATION


def _tensors(file: Path) -> dict[str, np.ndarray] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not file.is_file():
        return None
    try:
        return load_file(file)
    except (SafetensorError, OSError, TypeError, KeyError, ValueError):
        # Damaged, or of a dtype that numpy has not: the ordinary loader tells which.
        return None


def _tokenizer(folder: Path) -> Tokenizer | None:
    stated = _json(folder / "tokenizer_config.json")
    file = folder / "tokenizer.json"
    if stated is None or not file.is_file():
        return None
    if stated.get("tokenizer_class") not in _TOKENIZERS or stated.get("clean_up_tokenization_spaces"):
        return None
    if not all(isinstance(stated.get(f"{kind}_token"), str | None) for kind in ("bos", "eos")):
        return None
    if _json(file) is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _json(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
