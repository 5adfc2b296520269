"""`BitNetForCausalLM` (a norm before each output projection), float, ternary, packed and online."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BitNetConfig, BitNetForCausalLM

import tinyalign
from tests.models.tiny import D_VOCAB, token_ids
from tinyalign.common.errors import CheckpointError
from tinyalign.models import StoryModel, ternarize
from tinyalign.models.story_model import make_story_model
from tinyalign.ternary import absmean, ternary_layers


def _model() -> StoryModel:
    torch.manual_seed(0)
    config = BitNetConfig(
        vocab_size=D_VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
    )
    config._attn_implementation = "eager"
    network: Any = BitNetForCausalLM(config).eval()
    return make_story_model(network, None, source="a random test model", name="bitnet")


@pytest.mark.parametrize("bits", [32, 1.58])
@torch.no_grad()
def test_bridge_logits_and_hooks(bits: float) -> None:
    model = _model() if bits == 32 else ternarize(_model())
    ids = token_ids()
    plain = model.bridge(ids)
    torch.testing.assert_close(plain, model.network(ids).logits, rtol=0, atol=1e-5)
    for name in (
        "attn.hook_pattern",
        "attn.hook_attn_scores",
        "attn.hook_z",
        "mlp.hook_post",
        "hook_mlp_out",
    ):
        changed = model.bridge.run_with_hooks(
            ids, fwd_hooks=[(f"blocks.1.{name}", lambda activation, hook: torch.zeros_like(activation))]
        )
        assert not torch.allclose(changed, plain), name


def test_packed_folders_load_with_either_scale_convention(tmp_path: Path) -> None:
    model = ternarize(_model())
    model.save(tmp_path / "packed")
    assert tinyalign.load(tmp_path / "packed", tokenizer=False).sha256 == model.sha256
    # The class `bitlinear` of transformers divides by the scale where `autobitlinear` multiplies.
    config = tmp_path / "packed" / "config.json"
    fields = json.loads(config.read_text())
    fields["quantization_config"]["linear_class"] = "bitlinear"
    config.write_text(json.dumps(fields))
    weights = tmp_path / "packed" / "model.safetensors"
    tensors = load_file(weights)
    for name in tensors:
        if name.endswith("weight_scale"):
            tensors[name] = 1.0 / tensors[name]
    save_file(tensors, weights, metadata={"format": "pt"})
    loaded = tinyalign.load(tmp_path / "packed", tokenizer=False)
    for name, layer in ternary_layers(model.network).items():
        other = ternary_layers(loaded.network)[name]
        assert torch.equal(other.trits, layer.trits)
        torch.testing.assert_close(other.scale, layer.scale)


def test_latent_weights_of_an_online_checkpoint_are_quantised(tmp_path: Path) -> None:
    model = _model()
    model.save(tmp_path / "online")
    config = tmp_path / "online" / "config.json"
    online = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}
    fields = json.loads(config.read_text()) | {"quantization_config": online}
    config.write_text(json.dumps(fields))
    loaded = tinyalign.load(tmp_path / "online", tokenizer=False)
    latent = model.network.get_parameter("model.layers.0.mlp.up_proj.weight")
    layer = ternary_layers(loaded.network)["model.layers.0.mlp.up_proj"]
    assert torch.equal(layer.trits, absmean(latent).trits)
    assert loaded.bits == 1.58
    fields["quantization_config"] = online | {"use_rms_norm": True}
    config.write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="use_rms_norm"):
        tinyalign.load(tmp_path / "online", tokenizer=False)
