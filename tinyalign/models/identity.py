"""The identity of a model: one SHA-256 over weights, shape and tokenizer, whatever file they came from."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from tinyalign.ternary import TernaryLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# Fields of a Hugging Face config that say how it was stored or run, not what the model computes.
_NOT_IDENTITY = frozenset(
    {
        "_attn_implementation_autoset",
        "_name_or_path",
        "architectures",
        "dtype",
        "quantization_config",
        "tinyalign",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


def identity(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None, revision: str | None
) -> str:
    """Hex SHA-256 of what the model computes.

    Float tensors count as float32 (a float16 file and its exact float32 copy are one model), ternary
    layers as their trits and scale, tied tensors once, the tokenizer as its whole JSON. The order of
    tensors, the packing and the file format do not count. A hub `revision` does.
    """
    digest = hashlib.sha256()
    _add(digest, "config", canonical_config(network).encode())
    for name, tensor in _weights(network):
        _add(digest, f"{name} {tuple(tensor.shape)} {tensor.dtype}", tensor.numpy().tobytes())
    _add(digest, "tokenizer", b"none" if tokenizer is None else tokenizer_json(tokenizer).encode())
    _add(digest, "revision", (revision or "").encode())
    return digest.hexdigest()


def canonical_config(network: PreTrainedModel) -> str:
    """The config without what only says how it was stored, as JSON with sorted keys."""
    fields: dict[str, Any] = network.config.to_diff_dict()
    kept = {key: value for key, value in fields.items() if key not in _NOT_IDENTITY}
    return json.dumps({"architecture": type(network).__name__, **kept}, sort_keys=True, default=str)


def tokenizer_json(tokenizer: PreTrainedTokenizerFast) -> str:
    """The tokenizer's rules as JSON with sorted keys, without the padding and truncation of some call."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules["padding"] = rules["truncation"] = None
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if key != "pad_token"}
    return json.dumps({"rules": rules, "special": special}, sort_keys=True)


def _weights(network: PreTrainedModel) -> list[tuple[str, torch.Tensor]]:
    """(name, CPU tensor) in the order of names: trits and scale of ternary layers, the rest as float32."""
    found: dict[str, torch.Tensor] = {}
    inside_ternary: set[str] = set()
    for prefix, module in network.named_modules():
        if isinstance(module, TernaryLinear):
            found[f"{prefix}.trits"] = module.trits.cpu().contiguous()
            found[f"{prefix}.scale"] = module.scale.detach().float().cpu()
            if module.bias is not None:
                found[f"{prefix}.bias"] = module.bias.detach().float().cpu()
            inside_ternary.add(prefix)
    for name, parameter in network.named_parameters(remove_duplicate=True):
        if name.rpartition(".")[0] not in inside_ternary:
            found[name] = parameter.detach().float().cpu().contiguous()
    return sorted(found.items())


def _add(digest: Any, name: str, content: bytes) -> None:
    digest.update(f"{len(name)}:{name}:{len(content)}:".encode())
    digest.update(content)
