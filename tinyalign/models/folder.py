"""Hugging Face folders: float, or BitNet-packed ternary weights, as a network with `TernaryLinear` layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tinyalign.common.errors import CheckpointError
from tinyalign.models.checkpoint import check_finite, load_into, read_folder_tensors, read_tensors
from tinyalign.models.config import SUPPORTED, architecture_of, unsupported
from tinyalign.ternary import Quantized, TernaryLinear, absmean, from_levels, unpack_bitnet

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder, with a supported architecture; raises `CheckpointError` otherwise."""
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no config.json: expected a Hugging Face model folder.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is not JSON ({error}): fetch it again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} holds a {type(config).__name__}: expected an object.")
    if architecture_of(config) not in SUPPORTED:
        raise CheckpointError(unsupported(architecture_of(config)))
    return config


def read_folder(folder: str | Path) -> PreTrainedModel:
    """The network of a Hugging Face folder, float32 where it is float, packed trits where it is ternary.

    Raises `CheckpointError` for an unsupported architecture or quantisation, missing, misshapen or
    damaged weights.
    """
    folder = Path(folder)
    config = read_config(folder)
    tensors = read_folder_tensors(folder)
    check_finite(tensors, str(folder))
    quantization = config.get("quantization_config")
    network = empty_network(config)
    stated = config.get("tinyalign")
    bits = stated.get("bits", 1.58) if isinstance(stated, dict) else 1.58
    if quantization is not None:
        _check_quantization(quantization, folder)
        tensors = _install_ternary(network, tensors, quantization, 1 if bits == 1 else 1.58, folder)
    load_into(
        network, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, str(folder)
    )
    if isinstance(config.get("tinyalign"), dict):
        # What a saved copy remembers of its origin; not part of the shape.
        network.config.tinyalign = config["tinyalign"]
    return network


EXACT_BIASES = "exact_biases.safetensors"


def _exact_biases(folder: Path) -> dict[str, torch.Tensor]:
    file = folder / EXACT_BIASES
    return read_tensors(file) if file.is_file() else {}


def empty_network(config: dict[str, Any]) -> PreTrainedModel:
    """A float32 network of the config's shape (eager attention), its weights yet to be loaded.

    Raises `CheckpointError` when Hugging Face refuses the config.
    """
    import transformers

    architecture = architecture_of(config)
    plain = {k: v for k, v in config.items() if k not in ("quantization_config", "auto_map", "tinyalign")}
    cls = getattr(transformers, architecture)
    try:
        hf_config = cls.config_class.from_dict({**plain, "dtype": "float32"})
        hf_config._attn_implementation = "eager"
        with torch.no_grad():
            network = cls(hf_config).float().eval()
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"The config of this {architecture} is not valid: {error}") from error
    network.config.architectures = [architecture]
    return network


def _check_quantization(quantization: dict[str, Any], folder: Path) -> None:
    if quantization.get("quant_method") != "bitnet":
        raise CheckpointError(
            f"{folder} is quantised by {quantization.get('quant_method')!r}: tinyalign reads BitNet packing "
            "(quant_method 'bitnet') and float weights."
        )
    if quantization.get("use_rms_norm"):
        raise CheckpointError(
            f"{folder} norms inside each linear layer (use_rms_norm), which is not supported."
        )


def _install_ternary(
    network: PreTrainedModel,
    tensors: dict[str, torch.Tensor],
    quantization: dict[str, Any],
    bits: Any,
    folder: Path,
) -> dict[str, torch.Tensor]:
    """Swap the quantised linears of `network` for `TernaryLinear`; returns the tensors that are left."""
    left = dict(tensors)
    kept = tuple(quantization.get("modules_to_not_convert") or ("lm_head",))
    online = quantization.get("quantization_mode", "offline") == "online"
    exact = _exact_biases(folder)
    for name, module in list(network.named_modules()):
        if not isinstance(module, torch.nn.Linear) or name.startswith(kept) or name == "lm_head":
            continue
        weight = left.pop(f"{name}.weight", None)
        if weight is None:
            raise CheckpointError(f"{folder} does not fit its config: missing {name}.weight.")
        bias = left.pop(f"{name}.bias", None)
        scale = left.pop(f"{name}.weight_scale", None)
        shape = (module.out_features, module.in_features)
        quantized = (
            absmean(weight.float())
            if online
            else _unpack(weight, scale, shape, bits, quantization, f"{folder}: {name}")
        )
        if bias is not None:
            # transformers multiplies the bias by the weight scale too, so the file holds bias / scale.
            bias = exact.get(f"{name}.bias", bias.float() * quantized.scale)
        network.set_submodule(name, TernaryLinear.from_quantized(quantized, bias=bias))
    return left


def _unpack(
    weight: torch.Tensor,
    scale: torch.Tensor | None,
    shape: tuple[int, int],
    bits: Any,
    quantization: dict[str, Any],
    where: str,
) -> Quantized:
    if scale is None:
        raise CheckpointError(f"{where} has no weight_scale: expected BitNet-packed weights.")
    if weight.dtype == torch.uint8 and weight.shape == ((shape[0] + 3) // 4, shape[1]):
        trits = unpack_bitnet(weight, shape[0])
    elif tuple(weight.shape) == shape:
        # Hugging Face packs four rows into one, so a row count it cannot divide is stored a trit an entry.
        trits = from_levels(weight.float()).trits
    else:
        raise CheckpointError(
            f"{where} has packed shape {tuple(weight.shape)} where the config asks for "
            f"{shape[0]} x {shape[1]}."
        )
    # The two layer classes of transformers disagree: `autobitlinear` multiplies by weight_scale, `bitlinear`
    # divides by it.
    value = scale.float().reshape(())
    if quantization.get("linear_class", "bitlinear") != "autobitlinear":
        value = 1.0 / value
    return Quantized(trits, value, bits)
