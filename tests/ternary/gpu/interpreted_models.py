"""Run by `test_triton_interpreter` under TRITON_INTERPRET=1: whole models, plain and under hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tinyalign
from tests.models.tiny import story_model, token_ids
from tinyalign.ternary import ternary_layers, using_kernel

KERNEL = "triton-interpreter"


def test_the_embedded_models_logits_equal_the_references() -> None:
    network: Any = tinyalign.load("ternary", device="cpu").network
    # Two of its four blocks: the interpreter takes seconds for each.
    network.model.layers = network.model.layers[:2]
    assert len(ternary_layers(network)) == 14
    ids = torch.arange(5, 22).view(1, -1)
    with torch.no_grad():
        expected = network(ids).logits
        with using_kernel(KERNEL):
            found = network(ids).logits
    assert torch.equal(found, expected)


# Two tokens go to the kernel for few, nine to the tiled one.
@pytest.mark.parametrize(
    ("kind", "tokens"), [("llama-gqa-ternary", 9), ("llama-binary", 2), ("neo-ternary", 9)]
)
def test_hooks_see_and_change_the_same(kind: str, tokens: int) -> None:
    bridge = story_model(kind).bridge
    ids = token_ids(tokens, batch=1)
    seen: list[torch.Tensor] = []

    def zero_last(activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation[:, -1] = 0
        return activation

    def look(activation: torch.Tensor, hook: object) -> None:
        seen.append(activation.clone())

    names = ("blocks.0.attn.hook_q", "blocks.0.mlp.hook_post", "blocks.1.hook_resid_post")
    hooks = [("blocks.0.hook_resid_mid", zero_last), *((name, look) for name in names)]
    with torch.no_grad():
        plain = bridge(ids)
        expected = bridge.run_with_hooks(ids, fwd_hooks=hooks)
        with using_kernel(KERNEL):
            found = bridge.run_with_hooks(ids, fwd_hooks=hooks)
    assert torch.equal(found, expected)
    assert not torch.equal(found[:, -1], plain[:, -1])
    assert torch.equal(found[:, :-1], plain[:, :-1])
    assert len(seen) == 2 * len(names)
    assert all(torch.equal(*pair) for pair in zip(seen[: len(names)], seen[len(names) :], strict=True))
