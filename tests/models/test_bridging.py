"""The bridge computes what Hugging Face computes, whole, by heads, cached and uncached."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from einops import rearrange
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

from tests.models.tiny import KINDS, network, story_model, token_ids
from tinyalign.common.errors import InputError
from tinyalign.ternary import ternary_layers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [5, 30, 64])
@torch.no_grad()
def test_logits_equal_hugging_faces(kind: str, length: int) -> None:
    model, ids = story_model(kind), token_ids(length)
    expected = model.network(ids).logits
    torch.testing.assert_close(model.bridge(ids), expected, rtol=0, atol=1e-5)
    # Building the bridge left the network alone.
    torch.testing.assert_close(model.network(ids).logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "switch", ["use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in"]
)
@torch.no_grad()
def test_per_head_paths_compute_the_same(kind: str, switch: str) -> None:
    model, ids = story_model(kind), token_ids()
    getattr(model.bridge, f"set_{switch}")(True)
    if model.bits > 2:
        torch.testing.assert_close(model.bridge(ids), model.network(ids).logits, rtol=0, atol=1e-5)
        return
    # Heads summed one by one round otherwise than heads summed together, and an int8 activation on the edge
    # between two steps then falls to the other side: a story has such an edge, or agrees to the last digits.
    stories = token_ids(6, batch=200)
    distance = (model.bridge(stories) - model.network(stories).logits).abs().amax(dim=(1, 2))
    assert float((distance <= 1e-5).float().mean()) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_head_results_add_up_to_the_attention_output(kind: str) -> None:
    model = story_model(kind)
    model.bridge.set_use_attn_result(True)
    _, cache = model.bridge.run_with_cache(token_ids())
    blocks: Any = model.bridge.blocks
    attention = blocks[1].attn
    bias = attention.o.original_component.bias
    whole = cache["blocks.1.attn.hook_result"].sum(2) + (0 if bias is None else bias)
    torch.testing.assert_close(whole, cache["blocks.1.hook_attn_out"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_cached_generation_equals_uncached(kind: str) -> None:
    bridge: Any = story_model(kind).bridge
    ids = token_ids(20)
    kwargs: dict[str, Any] = {
        "max_new_tokens": 30,
        "do_sample": False,
        "verbose": False,
        "stop_at_eos": False,
    }
    cached = bridge.generate(ids, use_past_kv_cache=True, return_type="tokens", **kwargs)
    uncached = bridge.generate(ids, use_past_kv_cache=False, return_type="tokens", **kwargs)
    assert torch.equal(cached, uncached)
    assert cached.shape == (2, 50)
    # It reads its prompt: another prompt continues otherwise.
    other = bridge.generate(token_ids(20, seed=9), use_past_kv_cache=True, return_type="tokens", **kwargs)
    assert not torch.equal(cached[:, 20:], other[:, 20:])


@pytest.mark.parametrize("kind", ["neo-ternary", "llama-ternary", "llama-gqa-ternary", "llama-binary"])
@torch.no_grad()
def test_bridge_weights_are_the_dequantised_trits(kind: str) -> None:
    model = story_model(kind)
    config, bridge = model.config, model.bridge
    names = {"q": "W_Q", "k": "W_K", "v": "W_V", "o": "W_O"}
    neo = kind.startswith("neo")
    stem = "transformer.h.{}.attn.attention." if neo else "model.layers.{}.self_attn."
    mlp = "transformer.h.{}.mlp." if neo else "model.layers.{}.mlp."
    leaves = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj" if neo else "o_proj"}
    layers = ternary_layers(model.network)
    for number in range(config.n_layers):
        for short, attribute in names.items():
            layer = layers[stem.format(number) + leaves[short]]
            effective = layer.trits.float() * layer.scale
            heads = config.n_heads if short in "qo" else config.n_kv_heads
            pattern = (
                "d_model (n_heads d_head) -> n_heads d_head d_model"
                if short == "o"
                else "(n_heads d_head) d_model -> n_heads d_model d_head"
            )
            found = getattr(bridge, attribute)[number]
            assert torch.equal(found, rearrange(effective, pattern, n_heads=heads)), attribute
            assert len(torch.unique(found)) == (2 if model.bits == 1 else 3)
        inner, outer = ("c_fc", "c_proj") if neo else ("up_proj", "down_proj")
        for leaf, attribute in ((inner, "W_in"), (outer, "W_out")):
            layer = layers[mlp.format(number) + leaf]
            assert torch.equal(getattr(bridge, attribute)[number], (layer.trits.float() * layer.scale).T)


@pytest.mark.parametrize("kind", ["neo", "neo-ternary", "llama", "llama-ternary"])
def test_edge_attribution_runs_and_finds_effects(kind: str) -> None:
    bridge = story_model(kind).bridge
    clean, corrupted = token_ids(12, batch=3), token_ids(12, batch=3, seed=5)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return (logits[:, -1, 3] - logits[:, -1, 4]).mean()

    result = attribution_patch(bridge, clean, corrupted, metric, EdgeAttributionConfig(granularity="edge"))
    scores = torch.tensor(list(result.edge_scores.values()))
    assert len(scores) > 100
    assert bool(torch.isfinite(scores).all())
    assert float(scores.abs().max()) > 0


def test_edits_of_weights_reach_the_bridge() -> None:
    model, ids = story_model("llama-ternary"), token_ids()
    before = model.bridge(ids).detach()
    name, layer = next(iter(ternary_layers(model.network).items()))
    layer.set_trits(-layer.trits)
    assert not torch.allclose(model.bridge(ids), before), name
    torch.testing.assert_close(model.bridge(ids), model.network(ids).logits, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="set_trits"):
        layer.weight = torch.zeros(1)


def test_networks_differ_by_seed() -> None:
    first, second = (next(network("llama", seed).parameters()) for seed in (0, 1))
    assert not torch.equal(first, second)
