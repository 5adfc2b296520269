"""llama2.c checkpoints: version 0 (headerless magic), 1 (float32) and 2 (int8 groups), read; 0 written.

Layouts follow llama2.c's export script. Its rotary embedding turns neighbouring pairs, Hugging Face's turns
halves: the rows of the query and key matrices are permuted on the way (without it logits are off by 2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float

from tinyalign.common.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

_MAGIC = 0x616B3432  # "ak42"
_NORM_EPS = 1e-5
_THETA = 10000.0


@dataclass(frozen=True)
class Header:
    """The seven numbers of a llama2.c file, its version, and where the weights begin.

    `group_size` is the length of an int8 group in version 2, 0 elsewhere.
    """

    version: int
    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    shared_classifier: bool
    offset: int
    group_size: int = 0

    def __post_init__(self) -> None:
        numbers = f"dim {self.dim}, hidden {self.hidden_dim}, layers {self.n_layers}, heads {self.n_heads}"
        numbers += f", kv heads {self.n_kv_heads}, vocabulary {self.vocab_size}, context {self.seq_len}"
        sizes = (self.dim, self.hidden_dim, self.n_layers, self.n_heads, self.n_kv_heads, self.seq_len)
        possible = (
            all(0 < size <= 1 << 20 for size in sizes)
            and 0 < self.vocab_size <= 1 << 24
            and self.dim % self.n_heads == 0
            and self.n_heads % self.n_kv_heads == 0
            and (self.dim // self.n_heads) % 2 == 0
            and self.group_size >= 0
        )
        if not possible:
            raise CheckpointError(
                f"The header gives impossible sizes ({numbers}): not a llama2.c checkpoint."
            )

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.dim // self.n_heads

    @property
    def kv_dim(self) -> int:
        """Rows of a key or value matrix."""
        return self.n_kv_heads * self.d_head


def read_header(raw: bytes) -> Header:
    """The header of a file's bytes; raises `CheckpointError` on impossible numbers or an unknown version."""
    if len(raw) < 28:
        raise CheckpointError(f"The file is {len(raw)} bytes long: too short for a llama2.c checkpoint.")
    if struct.unpack_from("<I", raw)[0] != _MAGIC:
        numbers = struct.unpack_from("<7i", raw)
        # Version 0 says with a negative vocabulary that the classifier is not shared.
        return Header(0, *numbers[:5], abs(numbers[5]), numbers[6], numbers[5] > 0, 28)
    if len(raw) < 256:
        raise CheckpointError(f"The file is {len(raw)} bytes long: its 256-byte header is truncated.")
    version = struct.unpack_from("<i", raw, 4)[0]
    if version not in (1, 2):
        raise CheckpointError(f"llama2.c version {version} is unknown: tinyalign reads versions 0, 1 and 2.")
    numbers = struct.unpack_from("<7i", raw, 8)
    group = struct.unpack_from("<i", raw, 37)[0] if version == 2 else 0
    if version == 2 and group < 1:
        raise CheckpointError(f"The header gives an int8 group size of {group}: it must be positive.")
    return Header(version, *numbers, bool(raw[36]), 256, group)


def read(path: str | Path) -> LlamaForCausalLM:
    """The model in a llama2.c file as a float32 Hugging Face Llama (eager attention).

    Raises `CheckpointError` when the file is truncated, longer than its header says, or not finite.
    """
    path = Path(path)
    raw = path.read_bytes()
    header = read_header(raw)
    tensors = _read_v0(raw, header, path) if header.version == 0 else _read_v12(raw, header, path)
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise CheckpointError(f"{path.name} has NaN or infinite numbers in {name}: the file is damaged.")
    return _build(header, {name: torch.from_numpy(values.copy()) for name, values in tensors.items()})


def write(network: LlamaForCausalLM, path: str | Path) -> None:
    """Write `network` as a version-0 file (float32).

    Raises `CheckpointError` where the format cannot hold the model: an RMS epsilon other than 1e-5, a
    rotary base other than 10,000, biases, or a head width that is not d_model / n_heads.
    """
    config: Any = network.config
    rope = getattr(config, "rope_parameters", None) or {}
    fits = (
        config.rms_norm_eps == _NORM_EPS
        and float(rope.get("rope_theta", _THETA)) == _THETA
        and rope.get("rope_type", "default") == "default"
        and not config.attention_bias
        and not config.mlp_bias
        and config.hidden_act == "silu"
        and config.head_dim * config.num_attention_heads == config.hidden_size
    )
    if not fits:
        raise CheckpointError(
            "llama2.c files hold Llama models with RMS epsilon 1e-5, rotary base 10,000, SiLU and no biases; "
            "this model differs: keep it as a Hugging Face folder."
        )
    header = Header(
        0,
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.vocab_size,
        config.max_position_embeddings,
        bool(config.tie_word_embeddings),
        28,
    )
    vocabulary = header.vocab_size if header.shared_classifier else -header.vocab_size
    numbers = (header.dim, header.hidden_dim, header.n_layers, header.n_heads, header.n_kv_heads)
    layers: Any = network.model.layers

    def stack(get: str, heads: int | None = None) -> Float[torch.Tensor, ...]:
        weights = [layer.get_submodule(get).weight.detach().float().cpu() for layer in layers]
        return torch.stack([w if heads is None else _to_pairs(w, heads) for w in weights])

    angles = _angles(header)
    parts = [
        network.model.embed_tokens.weight,
        stack("input_layernorm"),
        stack("self_attn.q_proj", header.n_heads),
        stack("self_attn.k_proj", header.n_kv_heads),
        stack("self_attn.v_proj"),
        stack("self_attn.o_proj"),
        stack("post_attention_layernorm"),
        stack("mlp.gate_proj"),
        stack("mlp.down_proj"),
        stack("mlp.up_proj"),
        network.model.norm.weight,
        angles.cos(),
        angles.sin(),
    ]
    if not header.shared_classifier:
        parts.append(network.lm_head.weight)
    with Path(path).open("wb") as out:
        out.write(struct.pack("<7i", *numbers, vocabulary, header.seq_len))
        for part in parts:
            out.write(part.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes())


def _shapes(header: Header) -> dict[str, tuple[int, ...]]:
    h = header
    return {
        "tok_embeddings": (h.vocab_size, h.dim),
        "attention_norm": (h.n_layers, h.dim),
        "wq": (h.n_layers, h.dim, h.dim),
        "wk": (h.n_layers, h.kv_dim, h.dim),
        "wv": (h.n_layers, h.kv_dim, h.dim),
        "wo": (h.n_layers, h.dim, h.dim),
        "ffn_norm": (h.n_layers, h.dim),
        "w1": (h.n_layers, h.hidden_dim, h.dim),
        "w2": (h.n_layers, h.dim, h.hidden_dim),
        "w3": (h.n_layers, h.hidden_dim, h.dim),
        "norm": (h.dim,),
        "output": (h.vocab_size, h.dim),
    }


def _read_v0(raw: bytes, header: Header, path: Path) -> dict[str, np.ndarray]:
    shapes = _shapes(header)
    rotary = {
        "freqs_cos": (header.seq_len, header.d_head // 2),
        "freqs_sin": (header.seq_len, header.d_head // 2),
    }
    output = {} if header.shared_classifier else {"output": shapes["output"]}
    order = {key: shape for key, shape in shapes.items() if key != "output"} | rotary | output
    wanted = header.offset + 4 * sum(int(np.prod(shape)) for shape in order.values())
    _check_length(len(raw), wanted, path)
    offset, tensors = header.offset, {}
    for name, shape in order.items():
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(raw, "<f4", count, offset).reshape(shape)
        offset += 4 * count
    return {name: values for name, values in tensors.items() if name not in rotary}


def _read_v12(raw: bytes, header: Header, path: Path) -> dict[str, np.ndarray]:
    shapes = _shapes(header)
    norms = ["attention_norm", "ffn_norm", "norm"]
    matrices = ["tok_embeddings", "wq", "wk", "wv", "wo", "w1", "w2", "w3"]
    matrices += [] if header.shared_classifier else ["output"]
    group = header.group_size
    count = {name: int(np.prod(shapes[name])) for name in [*norms, *matrices]}
    if group and any(count[name] % group for name in matrices):
        raise CheckpointError(f"{path.name}: int8 groups of {group} do not divide its matrices.")
    size = sum(4 * count[name] for name in norms)
    size += sum(count[name] + 4 * count[name] // group if group else 4 * count[name] for name in matrices)
    _check_length(len(raw), header.offset + size, path)
    offset, tensors = header.offset, {}
    for name in norms:
        tensors[name] = np.frombuffer(raw, "<f4", count[name], offset).reshape(shapes[name])
        offset += 4 * count[name]
    for name in matrices:
        layers = shapes[name][0] if len(shapes[name]) == 3 else 1
        each, pieces = count[name] // layers, []
        for _ in range(layers):
            if group:
                q = np.frombuffer(raw, "<i1", each, offset).astype(np.float32).reshape(-1, group)
                scale = np.frombuffer(raw, "<f4", each // group, offset + each)
                pieces.append(q * scale[:, None])
                offset += each + 4 * (each // group)
            else:
                pieces.append(np.frombuffer(raw, "<f4", each, offset))
                offset += 4 * each
        tensors[name] = np.concatenate([piece.reshape(-1) for piece in pieces]).reshape(shapes[name])
    return tensors


def _check_length(found: int, wanted: int, path: Path) -> None:
    if found != wanted:
        what = "truncated" if found < wanted else "longer than its header says"
        raise CheckpointError(
            f"{path.name} is {what}: {found:,} bytes where the header asks for {wanted:,}; fetch it again."
        )


def _build(header: Header, tensors: dict[str, torch.Tensor]) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=header.vocab_size,
        hidden_size=header.dim,
        intermediate_size=header.hidden_dim,
        num_hidden_layers=header.n_layers,
        num_attention_heads=header.n_heads,
        num_key_value_heads=header.n_kv_heads,
        max_position_embeddings=header.seq_len,
        rms_norm_eps=_NORM_EPS,
        tie_word_embeddings=header.shared_classifier,
        bos_token_id=1,
        eos_token_id=2,
    )
    config._attn_implementation = "eager"
    state = {
        "model.embed_tokens.weight": tensors["tok_embeddings"],
        "model.norm.weight": tensors["norm"],
        "lm_head.weight": tensors["tok_embeddings" if header.shared_classifier else "output"],
    }
    names = {
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "wq": "self_attn.q_proj",
        "wk": "self_attn.k_proj",
        "wv": "self_attn.v_proj",
        "wo": "self_attn.o_proj",
        "w1": "mlp.gate_proj",
        "w2": "mlp.down_proj",
        "w3": "mlp.up_proj",
    }
    heads = {"wq": header.n_heads, "wk": header.n_kv_heads}
    for key, name in names.items():
        for layer in range(header.n_layers):
            weight = tensors[key][layer]
            state[f"model.layers.{layer}.{name}.weight"] = (
                _to_halves(weight, heads[key]) if key in heads else weight
            )
    network = LlamaForCausalLM(config)
    network.load_state_dict(state)
    return network


def _to_halves(weight: Float[torch.Tensor, "rows d_in"], heads: int) -> Float[torch.Tensor, "rows d_in"]:
    """Rows from neighbouring rotary pairs (llama2.c) to halves (Hugging Face)."""
    return rearrange(weight, "(head pair two) d_in -> (head two pair) d_in", head=heads, two=2)


def _to_pairs(weight: Float[torch.Tensor, "rows d_in"], heads: int) -> Float[torch.Tensor, "rows d_in"]:
    """Rows from rotary halves (Hugging Face) to neighbouring pairs (llama2.c)."""
    return rearrange(weight, "(head two pair) d_in -> (head pair two) d_in", head=heads, two=2)


def _angles(header: Header) -> Float[torch.Tensor, "pos pair"]:
    steps = torch.arange(0, header.d_head, 2, dtype=torch.float32) / header.d_head
    return torch.outer(torch.arange(header.seq_len, dtype=torch.float32), _THETA**-steps)
