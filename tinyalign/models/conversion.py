"""Conversion between formats and bit widths."""

from __future__ import annotations

from pathlib import Path

import torch

from tinyalign.common.errors import InputError
from tinyalign.common.files import atomic_path
from tinyalign.models.loading import TokenizerChoice, load
from tinyalign.models.mapping import read_foreign, read_mapping
from tinyalign.models.saving import save
from tinyalign.models.story_model import StoryModel, make_story_model
from tinyalign.models.ternarizing import dequantize, ternarize
from tinyalign.models.tokenizers import load_tokenizer, to_pieces, write_bin
from tinyalign.ternary import ternary_layers

BIT_WIDTHS = (1, 1.58, 16, 32)


def convert(
    source: str | Path,
    target: str | Path,
    *,
    bits: int | float | None = None,
    mapping: str | Path | None = None,
    tokenizer: TokenizerChoice = None,
) -> StoryModel:
    """Load `source`, change its bit width if asked, write it to `target`, and return what was written.

    `target` is a Hugging Face folder, or a llama2.c version-0 file where it ends in `.bin` (with
    `tokenizer.bin` beside it). `bits` 1.58 and 1 round the weights of the blocks once, without training;
    16 rounds all floats to float16; 32 (and 16) turn a ternary model's layers into floats with the same
    levels. `mapping` reads a foreign checkpoint (see `tinyalign.models.mapping`).

    Raises `InputError` on another bit width, or where llama2.c cannot hold the model, and what `load` raises.
    """
    if bits is not None and bits not in BIT_WIDTHS:
        raise InputError(f"Cannot convert to {bits:g} bits: expected 1.58, 1, 16 or 32.")
    model = (
        _foreign(source, mapping, tokenizer) if mapping else load(source, tokenizer=tokenizer, device="cpu")
    )
    if bits in (1, 1.58) and model.bits != bits:
        model = ternarize(model, 1 if bits == 1 else 1.58)
    elif bits in (16, 32) and ternary_layers(model.network):
        model = dequantize(model)
    if bits == 16:
        model = _rounded(model)
    target = Path(target)
    if target.suffix == ".bin":
        _to_llama2c(model, target)
    else:
        save(model, target, float_bits=16 if bits == 16 else 32)
    return model


def _foreign(source: str | Path, mapping_file: str | Path, tokenizer: TokenizerChoice) -> StoryModel:
    mapping = read_mapping(mapping_file)
    choice: TokenizerChoice = tokenizer
    if choice is None and mapping.tokenizer is not None:
        choice = Path(mapping_file).parent / mapping.tokenizer
    return make_story_model(
        read_foreign(source, mapping),
        load_tokenizer(choice) if choice else None,
        source=f"foreign checkpoint {Path(source).name}",
        name=Path(source).stem,
    )


def _rounded(model: StoryModel) -> StoryModel:
    """`model` with every float rounded to float16 but held as float32: what a reader of the file will see."""
    network = model.network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().to(parameter.dtype))
    return make_story_model(
        network, model.tokenizer, source=model.source, name=model.name, revision=model.revision
    )


def _to_llama2c(model: StoryModel, target: Path) -> None:
    from transformers import LlamaForCausalLM

    from tinyalign.models import llama2c

    network = model.network
    if not isinstance(network, LlamaForCausalLM):
        raise InputError(
            f"llama2.c files hold Llama models only: {model.name} is a {model.config.architecture}."
        )
    if ternary_layers(network):
        raise InputError(
            f"llama2.c files hold floats only and {model.name} is {model.bits:g}-bit: add --bits 32 to "
            "write its levels as floats (activations are then no longer rounded)."
        )
    pieces = None if model.tokenizer is None else to_pieces(model.tokenizer)
    with atomic_path(target) as temporary:
        llama2c.write(network, temporary)
    if pieces is not None:
        with atomic_path(target.parent / "tokenizer.bin") as temporary:
            write_bin(pieces, temporary)
