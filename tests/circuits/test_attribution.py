"""First-order and direct effects against finite differences and against the logits they must sum to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.circuits.tiny import readings
from tests.models.tiny import story_model
from tinyalign.circuits.attribution import attribution, direct_attribution, of_component, write_gradients
from tinyalign.circuits.batched import run_sets
from tinyalign.circuits.components import Component, all_components, writers
from tinyalign.circuits.forward import Steer

STEP = 1e-3


@pytest.mark.parametrize("kind", ["neo", "llama-gqa"])
def test_gradients_are_finite_differences(kind: str) -> None:
    clean, _ = readings(story_model(kind))
    gradients = write_gradients(clean)
    rng = torch.Generator().manual_seed(0)
    owners = [p for p, one in enumerate(clean.decisions) for _ in one.tails]
    for site in writers(clean.model.network):
        direction = torch.randn(clean.model.config.d_model, generator=rng)
        slope = np.zeros(len(clean.decisions))
        for row, prompt in enumerate(owners):
            slope[prompt] += float((gradients[site][row] @ direction).sum())
        both = run_sets(
            clean,
            2,
            lambda part, place, names, packed, site=site, d=direction: {
                site: Steer(torch.stack([STEP * d, -STEP * d])[part], packed)
            },
        )
        np.testing.assert_allclose((both[0] - both[1]) / (2 * STEP), slope, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("kind", ["neo", "llama", "llama-ternary"])
def test_first_order_effects_add_up_over_the_parts_of_a_layer(kind: str) -> None:
    clean, corrupted = readings(story_model(kind))
    table = attribution(corrupted, clean, write_gradients(corrupted))
    neurons = [of_component(table, Component("neuron", 1, i), 8) for i in range(64)]
    np.testing.assert_allclose(np.sum(neurons, 0), of_component(table, Component("mlp", 1), 8), atol=1e-9)
    assert np.abs(of_component(table, Component("head", 0, 1), 8)).max() > 1e-5
    alike = attribution(clean, clean, write_gradients(clean))
    assert max(np.abs(values).max() for values in alike.values()) == 0.0


@pytest.mark.parametrize("kind", ["neo", "llama", "llama-gqa", "llama-ternary"])
@torch.no_grad()
def test_direct_effects_with_embedding_and_biases_sum_to_the_logit_difference(kind: str) -> None:
    model = story_model(kind)
    clean, _ = readings(model)
    table = direct_attribution(clean)
    total = sum(of_component(table, c, 8) for c in all_components(model.config))
    biases = [getattr(m, "bias", None) for m in writers(model.network).values()]
    first, network = clean.first_row, model.network
    norm = network.get_submodule("transformer.ln_f" if kind == "neo" else "model.norm")
    epsilon = float(getattr(norm, "eps" if kind == "neo" else "variance_epsilon"))
    unembed = network.get_submodule("lm_head").get_parameter("weight")
    for prompt in range(len(clean.decisions)):
        final = clean.finals[first[prompt]][0]
        direction = unembed[5] - unembed[7]
        # The whole residual stream through norm and unembedding, less what is no component's.
        written = sum(clean.tail_outputs[site][first[prompt]][0] for site in writers(network))
        assert isinstance(written, torch.Tensor)
        rest = final - written + sum(bias for bias in biases if bias is not None)
        if kind == "neo":
            scale = (final.var(unbiased=False) + epsilon).sqrt()
            rest = rest - rest.mean()
            offset = float(norm.get_parameter("bias") @ direction)
        else:
            scale = (final.pow(2).mean() + epsilon).sqrt()
            offset = 0.0
        rest_effect = float((rest * norm.get_parameter("weight") / scale) @ direction) + offset
        logits = unembed @ norm(final[None])[0]
        expected = float(logits[5] - logits[7])
        assert abs(float(np.asarray(total)[prompt]) + rest_effect - expected) < 1e-4
