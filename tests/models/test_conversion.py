"""Conversion between llama2.c files, Hugging Face folders and bit widths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tinyalign
from tests.models.tiny import story_model, token_ids
from tinyalign.common.errors import InputError, TokenizerError
from tinyalign.models import dequantize
from tinyalign.ternary import ternary_layers


def test_llama2c_to_hugging_face_and_back(shared_models: Path, tmp_path: Path) -> None:
    source = shared_models / "stories260K.bin"
    folder = tinyalign.convert(source, tmp_path / "folder")
    back = tinyalign.convert(tmp_path / "folder", tmp_path / "back" / "model.bin")
    assert (tmp_path / "back" / "tokenizer.bin").is_file()
    again = tinyalign.load(tmp_path / "back" / "model.bin")
    assert folder.sha256 == back.sha256 == again.sha256 == tinyalign.load(source).sha256
    assert again.encode("Mom said no.") == folder.encode("Mom said no.")


@pytest.mark.parametrize("bits", [1, 1.58])
def test_to_few_bits(bits: float, tmp_path: Path) -> None:
    story_model("neo").save(tmp_path / "float")
    written = tinyalign.convert(tmp_path / "float", tmp_path / "few", bits=bits, tokenizer=False)
    assert written.bits == bits
    assert tinyalign.load(tmp_path / "few", tokenizer=False).sha256 == written.sha256


def test_back_to_floats_keeps_the_levels(tmp_path: Path) -> None:
    model = story_model("llama-ternary")
    floats = dequantize(model)
    assert ternary_layers(floats.network) == {}
    for name, layer in ternary_layers(model.network).items():
        assert torch.equal(floats.network.get_parameter(f"{name}.weight"), layer.weight)
    with torch.no_grad():
        gap = (floats.network(token_ids()).logits - model.network(token_ids()).logits).abs().max()
    # The same levels, but activations are no longer rounded: near, not equal.
    assert 0 < float(gap) < 1


def test_what_cannot_be_converted_is_said(tmp_path: Path) -> None:
    story_model("neo").save(tmp_path / "neo")
    story_model("llama-ternary").save(tmp_path / "ternary")
    with pytest.raises(InputError, match="Llama models only"):
        tinyalign.convert(tmp_path / "neo", tmp_path / "x.bin", tokenizer=False)
    with pytest.raises(InputError, match="--bits 32"):
        tinyalign.convert(tmp_path / "ternary", tmp_path / "x.bin", tokenizer=False)
    with pytest.raises(InputError, match="4 bits"):
        tinyalign.convert(tmp_path / "neo", tmp_path / "y", bits=4, tokenizer=False)
    with pytest.raises(TokenizerError):
        tinyalign.convert(tmp_path / "neo", tmp_path / "y")
    assert not (tmp_path / "x.bin").exists()
    assert not (tmp_path / "y").exists()
