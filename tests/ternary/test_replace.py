"""Swapping linears in module trees, and that plain transformers reads what was swapped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

from tinyalign.common.errors import InputError
from tinyalign.ternary import (
    TernaryLinear,
    absmax_int8,
    absmean,
    pack_bitnet,
    replace_linears,
    ternary_layers,
)


def _model(family: str) -> LlamaForCausalLM | GPTNeoForCausalLM:
    torch.manual_seed(3)
    if family == "llama":
        config = LlamaConfig(
            vocab_size=97,
            hidden_size=64,
            intermediate_size=172,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
        )
        return LlamaForCausalLM(config).eval()
    config = GPTNeoConfig(
        vocab_size=97,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        max_position_embeddings=64,
        window_size=8,
        attention_types=[[["global", "local"], 1]],
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPTNeoForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(("family", "count"), [("llama", 14), ("gpt_neo", 12)])
@pytest.mark.parametrize("bits", [1.58, 1])
def test_whole_models(family: str, count: int, bits: float) -> None:
    model = _model(family)
    linears = {name: m.weight.clone() for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    names = replace_linears(model, bits)
    layers = ternary_layers(model)
    assert list(layers) == names
    assert len(names) == count
    assert set(linears) - set(names) == {"lm_head"}
    for name, layer in layers.items():
        if bits == 1.58:
            assert torch.equal(layer.trits, absmean(linears[name]).trits)
        assert layer.bits == bits
        assert not layer.training
    with torch.no_grad():
        assert torch.isfinite(model(torch.arange(40)[None]).logits).all()
    with pytest.raises(InputError, match="ternary already"):
        replace_linears(model, bits)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt_neo"])
def test_plain_transformers_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    model = _model(family)
    names = replace_linears(model, 1.58)
    layers = ternary_layers(model)
    tensors: dict[str, torch.Tensor] = {}
    for key, value in model.state_dict().items():
        owner, _, leaf = key.rpartition(".")
        if owner not in layers:
            tensors[key] = value.clone()
        elif leaf == "packed":
            tensors[f"{owner}.weight"] = pack_bitnet(layers[owner].trits)
        elif leaf == "scale":
            tensors[f"{owner}.weight_scale"] = value.reshape(1).clone()
        else:
            tensors[key] = value / layers[owner].scale
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    config["quantization_config"] = {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
        "modules_to_not_convert": ["lm_head"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ids = torch.randint(0, 97, (4, 40), generator=torch.Generator().manual_seed(4))
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        assert type(plain.get_submodule(names[0])).__name__ == "AutoBitLinear"
        theirs, their_inputs = _logits_and_int8_inputs(plain, ids, names)
        ours, our_inputs = _logits_and_int8_inputs(model, ids, names)
    assert ours.std() > 0.1
    # The two sum in different order, so an activation within a rounding error of a half can go to the one
    # int8 value here and to the next there. From such a position on a story may differ by one step of int8;
    # everywhere else the logits are the same.
    differ = {name: our_inputs[name] != their_inputs[name] for name in names}
    share = sum(int(d.sum()) for d in differ.values()) / sum(d.numel() for d in differ.values())
    untouched = torch.stack([d.any(dim=-1) for d in differ.values()]).any(dim=0).cumsum(dim=1) == 0
    assert share < 0.02
    assert untouched.float().mean() > 0.3
    assert (theirs - ours)[untouched].abs().max() <= 1e-5


def _logits_and_int8_inputs(
    model: nn.Module, ids: torch.Tensor, names: list[str]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    inputs: dict[str, torch.Tensor] = {}

    def keep(name: str):
        return lambda _, args: inputs.update({name: absmax_int8(args[0]).values})

    handles = [model.get_submodule(name).register_forward_pre_hook(keep(name)) for name in names]
    logits = model(ids).logits
    for handle in handles:
        handle.remove()
    return logits, inputs


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.lm_head = nn.Linear(4, 8)
        self.last = nn.Linear(4, 4, bias=False)
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), self.last)


def test_kept_shared_and_nested_layers() -> None:
    block = _Block()
    names = replace_linears(block, 1.58, keep=("lm_head", "last", "2"), packing="base3")
    assert names == ["first", "again", "inner.0"]
    assert block.first is block.again
    assert block.first.packing == "base3" if isinstance(block.first, TernaryLinear) else False
    assert type(block.lm_head) is nn.Linear
    assert type(block.inner[2]) is nn.Linear


def test_what_cannot_be_replaced_leaves_the_module_alone() -> None:
    tied = _Block()
    tied.lm_head.weight = tied.embed.weight
    with pytest.raises(InputError, match=r"lm_head is shared with embed\.weight"):
        replace_linears(tied, 1.58, keep=())
    broken = _Block()
    broken.last.weight.data[0, 0] = float("inf")
    with pytest.raises(InputError, match=r"Cannot quantise last: 1 of 16 weights"):
        replace_linears(broken, 1.58)
    special = _Block()
    special.first = nn.modules.linear.NonDynamicallyQuantizableLinear(4, 4)
    with pytest.raises(InputError, match="first is a NonDynamicallyQuantizableLinear"):
        replace_linears(special, 1.58)
    assert not any(ternary_layers(module) for module in (tied, broken, special))
    with pytest.raises(InputError, match="itself a linear"):
        replace_linears(nn.Linear(2, 2), 1.58)
    with pytest.raises(InputError, match="no float linear layer"):
        replace_linears(nn.Sequential(nn.ReLU()), 1.58)
    with pytest.raises(InputError, match="2 bits"):
        replace_linears(_Block(), 2)
