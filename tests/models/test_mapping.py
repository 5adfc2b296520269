"""Foreign checkpoints by mapping: a worked example made here, the template, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from einops import rearrange

import tinyalign
from tests.models.tiny import network, token_ids
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.common.resources import data_folder
from tinyalign.models.mapping import read_foreign, read_mapping
from tinyalign.ternary import absmean, ternary_layers

_LLAMA = {
    "embed": "emb.w",
    "final_norm": "out_norm.g",
    "norm1": "layer{layer}.n1.g",
    "norm2": "layer{layer}.n2.g",
    "qkv": "layer{layer}.att.qkv",
    "o": "layer{layer}.att.proj",
    "gate": "layer{layer}.ff.a",
    "in": "layer{layer}.ff.b",
    "out": "layer{layer}.ff.c",
}


def _mapping(**changes: Any) -> dict[str, Any]:
    dimensions = {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_mlp": 64, "d_vocab": 96, "n_ctx": 64}
    base = {
        "architecture": "llama",
        "dimensions": dimensions,
        "keys": dict(_LLAMA),
        "rotary": "pairs",
        "quantiser": "absmean",
        "transposed": ["out"],
    }
    return {**base, **changes}


def _write(folder: Path, mapping: dict[str, Any]) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(mapping))
    return path


def _foreign(folder: Path) -> tuple[Path, Any]:
    """A Llama with keys, fused qkv, interleaved rotary rows and a transposed matrix of its own fashion."""
    llama = network("llama")
    tensors = {"emb.w": llama.model.embed_tokens.weight, "out_norm.g": llama.model.norm.weight}
    for i, layer in enumerate(llama.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        pairs = "(head two pair) d_in -> (head pair two) d_in"
        q, k = (
            rearrange(w, pairs, head=4, two=2) for w in (attention.q_proj.weight, attention.k_proj.weight)
        )
        tensors[f"layer{i}.att.qkv"] = torch.cat([q, k, attention.v_proj.weight])
        tensors[f"layer{i}.att.proj"] = attention.o_proj.weight
        tensors[f"layer{i}.n1.g"] = layer.input_layernorm.weight
        tensors[f"layer{i}.n2.g"] = layer.post_attention_layernorm.weight
        tensors[f"layer{i}.ff.a"] = mlp.gate_proj.weight
        tensors[f"layer{i}.ff.b"] = mlp.up_proj.weight
        tensors[f"layer{i}.ff.c"] = mlp.down_proj.weight.T
    path = folder / "foreign.pt"
    torch.save({"model": {k: v.detach().clone() for k, v in tensors.items()}, "step": 7}, path)
    return path, llama


@torch.no_grad()
def test_a_foreign_float_model_computes_the_same(tmp_path: Path) -> None:
    checkpoint, llama = _foreign(tmp_path)
    mapping = read_mapping(_write(tmp_path, _mapping(quantiser="none")))
    found = read_foreign(checkpoint, mapping)
    torch.testing.assert_close(found(token_ids()).logits, llama(token_ids()).logits, rtol=0, atol=0)


def test_a_foreign_ternary_model_is_converted(tmp_path: Path) -> None:
    checkpoint, llama = _foreign(tmp_path)
    mapping = _write(tmp_path, _mapping())
    model = tinyalign.convert(checkpoint, tmp_path / "out", mapping=mapping)
    again = tinyalign.load(tmp_path / "out", tokenizer=False)
    assert again.sha256 == model.sha256
    assert again.bits == 1.58
    layer = ternary_layers(again.network)["model.layers.1.mlp.down_proj"]
    assert torch.equal(layer.trits, absmean(llama.model.layers[1].mlp.down_proj.weight).trits)


def test_levels_are_taken_as_they_are(tmp_path: Path) -> None:
    checkpoint, _ = _foreign(tmp_path)
    tensors = torch.load(checkpoint, weights_only=True)["model"]
    for name, tensor in tensors.items():
        if ".att." in name or ".ff." in name:
            tensors[name] = absmean(tensor).weight
    torch.save(tensors, checkpoint)
    # q, k and v were rounded as one matrix and so share a scale, which each of the three keeps.
    found = read_foreign(checkpoint, read_mapping(_write(tmp_path, _mapping(quantiser="levels"))))
    scales = [ternary_layers(found)[f"model.layers.0.self_attn.{n}_proj"].scale for n in "qkv"]
    assert scales[0] == scales[1] == scales[2]


@torch.no_grad()
def test_a_gpt_like_model_with_scaled_scores(tmp_path: Path) -> None:
    neo = network("neo")
    tensors = {name: value.clone() for name, value in neo.state_dict().items() if name != "lm_head.weight"}
    for layer in range(2):
        name = f"transformer.h.{layer}.attn.attention.q_proj.weight"
        tensors[name] = tensors[name] * 8**0.5  # as a model that divides its scores by sqrt(d_head) has it
    torch.save(tensors, tmp_path / "gpt.pt")
    stem, inner = "transformer.h.{layer}.", "transformer.h.{layer}.attn.attention."
    keys = {"embed": "transformer.wte.weight", "position": "transformer.wpe.weight"}
    keys |= {"final_norm": "transformer.ln_f.weight", "final_norm_bias": "transformer.ln_f.bias"}
    for short, name in (("norm1", "ln_1"), ("norm2", "ln_2"), ("in", "mlp.c_fc"), ("out", "mlp.c_proj")):
        keys |= {short: f"{stem}{name}.weight", f"{short}_bias": f"{stem}{name}.bias"}
    for short in "qkv":
        keys[short] = f"{inner}{short}_proj.weight"
    keys |= {"o": f"{inner}out_proj.weight", "o_bias": f"{inner}out_proj.bias"}
    dimensions = {**_mapping()["dimensions"], "window": 8}
    mapping = {"architecture": "gpt", "dimensions": dimensions, "keys": keys, "attention_scale": "sqrt"}
    found = read_foreign(tmp_path / "gpt.pt", read_mapping(_write(tmp_path, mapping)))
    torch.testing.assert_close(found(token_ids()).logits, neo(token_ids()).logits, rtol=0, atol=1e-4)


def test_the_template_is_a_valid_mapping() -> None:
    mapping = read_mapping(data_folder() / "mappings" / "template.yaml")
    assert mapping.architecture == "llama"
    assert mapping.quantiser == "absmean"


def test_mistakes_in_a_mapping_are_named(tmp_path: Path) -> None:
    keys = _mapping()["keys"]
    cases = [
        ("quantiser is 'int4'", _mapping(quantiser="int4")),
        ("rotary is 'spiral'", _mapping(rotary="spiral")),
        (
            "lack d_mlp",
            _mapping(dimensions={k: v for k, v in _mapping()["dimensions"].items() if k != "d_mlp"}),
        ),
        ("lack gate", _mapping(keys={k: v for k, v in keys.items() if k != "gate"})),
        ("name mystery", _mapping(keys={**keys, "mystery": "x"})),
        ("has colour", _mapping(colour="red")),
    ]
    for sentence, mapping in cases:
        with pytest.raises(InputError, match=sentence):
            read_mapping(_write(tmp_path, mapping))
    (tmp_path / "mapping.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not YAML"):
        read_mapping(tmp_path / "mapping.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_mapping(tmp_path / "absent.yaml")


def test_checkpoints_that_do_not_fit_are_named(tmp_path: Path) -> None:
    checkpoint, _ = _foreign(tmp_path)
    keys = _mapping()["keys"]
    cases = [
        ("no tensor 'other'", _mapping(keys={**keys, "embed": "other"})),
        ("expected 64", _mapping(dimensions={**_mapping()["dimensions"], "n_kv_heads": 2})),
        ("shape", _mapping(dimensions={**_mapping()["dimensions"], "d_mlp": 48})),
    ]
    for sentence, mapping in cases:
        with pytest.raises(CheckpointError, match=sentence):
            read_foreign(checkpoint, read_mapping(_write(tmp_path, mapping)))
    tensors = torch.load(checkpoint, weights_only=True)["model"]
    torch.save({**tensors, "extra": torch.zeros(1)}, checkpoint)
    with pytest.raises(CheckpointError, match="1 tensors that the mapping does not name"):
        read_foreign(checkpoint, read_mapping(_write(tmp_path, _mapping())))
