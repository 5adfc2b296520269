"""Saving a model as a Hugging Face folder that plain `transformers` loads with the same logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from tinyalign.common.files import atomic_folder
from tinyalign.models.folder import EXACT_BIASES
from tinyalign.models.story_model import StoryModel
from tinyalign.ternary import TernaryLinear, pack_bitnet, ternary_layers

FloatBits = Literal[16, 32]

_CARD = """---
library_name: transformers
---
# {name}

Saved by tinyalign from: {source}.

| | |
|---|---|
| architecture | {architecture} |
| parameters | {parameters:,}, of which {blocks:,} in the blocks |
| bits a weight in the blocks | {bits:g} |
| identity (SHA-256 of weights, config, tokenizer) | `{sha256}` |

`transformers.AutoModelForCausalLM.from_pretrained(FOLDER)` and `tinyalign.load(FOLDER)` give the same logits.
"""


def save(model: StoryModel, folder: str | Path, *, float_bits: FloatBits = 32) -> None:
    """Write `config.json`, `model.safetensors`, `tokenizer.json` and a card to `folder`, whole or not at all.

    Ternary and 1-bit layers are stored in the 2-bit packing of `transformers.integrations.bitnet`
    (`quant_method: bitnet`, `autobitlinear`, offline), everything else as float32 or float16.
    With `float_bits=16` tensors that float16 cannot hold exactly are rounded, and the identity changes.
    A model card (README.md) that is already in `folder` stays. Raises `InputError` when the disk refuses.
    """
    folder = Path(folder)
    card = folder / "README.md"
    kept_card = card.read_text(encoding="utf-8") if card.is_file() else None
    tensors, exact_biases = _tensors(model, torch.float16 if float_bits == 16 else torch.float32)
    with atomic_folder(folder) as temporary:
        save_file(tensors, str(temporary / "model.safetensors"), metadata={"format": "pt"})
        if exact_biases:
            save_file(exact_biases, str(temporary / EXACT_BIASES))
        config = json.dumps(_config(model), indent=2, sort_keys=True) + "\n"
        (temporary / "config.json").write_text(config, encoding="utf-8")
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(str(temporary))
        (temporary / "README.md").write_text(kept_card or _card(model), encoding="utf-8")


def _config(model: StoryModel) -> dict[str, Any]:
    config = model.network.config.to_dict()
    for field in ("_name_or_path", "torch_dtype", "quantization_config"):
        config.pop(field, None)
    config["architectures"] = [model.config.architecture]
    config["dtype"] = "float32"
    if model.bos_id is not None:
        config["bos_token_id"] = model.bos_id
    if model.eos_id is not None:
        config["eos_token_id"] = model.eos_id
    if ternary_layers(model.network):
        config["quantization_config"] = {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
            "modules_to_not_convert": _float_linears(model),
            "use_rms_norm": False,
        }
    config["tinyalign"] = {
        "bits": model.bits,
        "parameters": model.config.n_parameters,
        "revision": model.revision,
        "source": model.source,
    }
    return config


def _float_linears(model: StoryModel) -> list[str]:
    """Linear layers that stay float; the output matrix always does."""
    modules = model.network.named_modules()
    return sorted(
        {"lm_head"}
        | {
            name
            for name, module in modules
            if isinstance(module, torch.nn.Linear) and not isinstance(module, TernaryLinear)
        }
    )


def _tensors(
    model: StoryModel, dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(tensors of `model.safetensors`, biases that its layout cannot hold exactly)."""
    stored: dict[str, torch.Tensor] = {}
    exact: dict[str, torch.Tensor] = {}
    layers = ternary_layers(model.network)
    for name, layer in layers.items():
        # transformers unpacks four rows a byte and cannot cut a remainder off: such a matrix stays unpacked.
        packs = layer.out_features % 4 == 0
        trits = layer.trits.cpu()
        stored[f"{name}.weight"] = (pack_bitnet(trits) if packs else trits.to(dtype)).contiguous()
        stored[f"{name}.weight_scale"] = layer.scale.detach().float().cpu().reshape(1)
        if layer.bias is not None:
            bias = layer.bias.detach().float().cpu()
            # transformers multiplies the bias by the weight scale too.
            stored[f"{name}.bias"] = bias / stored[f"{name}.weight_scale"]
            exact[f"{name}.bias"] = bias.contiguous()
    for name, parameter in model.network.named_parameters(remove_duplicate=True):
        if name.rpartition(".")[0] not in layers:
            stored[name] = parameter.detach().cpu().to(dtype).contiguous()
    return stored, exact


def _card(model: StoryModel) -> str:
    return _CARD.format(
        name=model.name,
        source=model.source,
        architecture=model.config.architecture,
        parameters=model.config.n_parameters,
        blocks=model.config.n_block_parameters,
        bits=model.bits,
        sha256=model.sha256,
    )
