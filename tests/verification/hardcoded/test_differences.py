"""Locus and description length on real (tiny, random) networks: every cheat is found and named."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.models.tiny import story_model
from tests.verification.hardcoded.planted import run
from tinyalign.edits.edit import Edit
from tinyalign.models.story_model import StoryModel, make_story_model
from tinyalign.properties import get
from tinyalign.ternary import TernaryLinear
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded import DescriptionLength, Locus, Quantisation
from tinyalign.verification.hardcoded.differences import (
    changes,
    count_trits,
    float_bits,
    log2_choose,
    trit_bits,
)
from tinyalign.verification.hardcoded.quantisation import loosened, reternarised

LOCUS = Locus(id="1", claim="Only the blocks changed.", within="blocks")
SITES = Locus(id="1", claim="Only the claimed sites changed.")
LENGTH = DescriptionLength(id="8", claim="The edit is short.", margin=3000, table=0.5)
DOWN = "model.layers.1.mlp.down_proj"


def changed(base: StoryModel, how: Callable[[Any], None]) -> StoryModel:
    """A copy of the model with its network changed by `how`, under an identity of its own."""
    network = copy.deepcopy(base.network)
    with torch.no_grad():
        how(network)
    return make_story_model(network, base.tokenizer, source="planted", name="edited")


def context(base: StoryModel, edited: StoryModel, edit: Edit | None = None) -> Context:
    prop = get("P1")
    return Context(base=base, edited=edited, prop=prop, pair=prop.pairs["action"], seed=1, edit=edit)


def flip(network: Any, count: int = 5) -> None:
    layer = network.get_submodule(DOWN)
    trits = layer.trits.flatten()
    trits[:count] = (trits[:count].int() + 2) % 3 - 1
    layer.set_trits(trits.view(layer.shape).to(torch.int8))


def final_norm(network: Any) -> None:
    network.model.norm.weight += 0.1


def embedding(network: Any) -> None:
    network.model.embed_tokens.weight[7] = 0.0


def unembedding(network: Any) -> None:
    network.lm_head.weight[7] -= 1.0


def added_bias(network: Any) -> None:
    layer = network.get_submodule("model.layers.1.mlp.down_proj")
    layer.register_parameter("bias", nn.Parameter(torch.full((32,), 0.1)))


def rotary(network: Any) -> None:
    network.model.rotary_emb.inv_freq *= 1.01


def hook(network: Any) -> None:
    network.model.register_forward_hook(lambda module, inputs, output: None)


def own_forward(network: Any) -> None:
    network.lm_head.forward = lambda hidden: torch.zeros(1)


def configuration(network: Any) -> None:
    network.config.rms_norm_eps = 1e-3


def generation(network: Any) -> None:
    network.generation_config.suppress_tokens = [7]


def added_module(network: Any) -> None:
    network.model.layers[1].extra = nn.Dropout()


@pytest.mark.parametrize(
    ("kind", "cheat", "named"),
    [
        ("llama", final_norm, "model.norm.weight (final norm)"),
        ("llama-ternary", embedding, "model.embed_tokens.weight (embedding)"),
        ("llama-gqa", unembedding, "lm_head.weight (unembedding)"),
        ("llama", added_bias, "down_proj.bias was added"),
        ("llama", rotary, "rotary_emb.inv_freq"),
        ("llama", hook, "model has hooks"),
        ("llama", own_forward, "forward of its own"),
        ("llama", configuration, "configuration"),
        ("llama", generation, "generation settings"),
        ("llama", added_module, "extra (Dropout) was added"),
    ],
)
def test_every_cheat_outside_the_blocks_is_named(kind: str, cheat: Callable[[Any], None], named: str) -> None:
    base = story_model(kind)
    found = run(LOCUS, context(base, changed(base, cheat)))
    assert found.status == "defeated"
    assert named in found.summary


def test_weights_changed_behind_the_identity_are_noticed() -> None:
    base = story_model("llama")
    edited = changed(base, lambda network: None)
    with torch.no_grad():
        dict(edited.network.named_parameters())[f"{DOWN}.weight"].add_(0.1)
    found = run(LOCUS, context(base, edited))
    assert found.status == "defeated"
    assert "SHA-256" in found.summary


@pytest.mark.parametrize("kind", ["llama-ternary", "llama-gqa-ternary"])
def test_flipped_trits_in_a_block_pass_and_are_counted(kind: str) -> None:
    base = story_model(kind)
    edited = changed(base, flip)
    found = run(LOCUS, context(base, edited))
    assert found.status == "established", found.summary
    assert f"{DOWN}.trits (5 of 2048)" in found.summary
    total = count_trits(base.network)
    assert total == sum(m.weight.numel() for m in base.network.modules() if isinstance(m, TernaryLinear))
    length = run(LENGTH, context(base, edited))
    assert length.status == "established"
    assert length.details["bits"] == pytest.approx(math.log2(math.comb(total, 5)) + 5)


def test_nothing_changed_is_said() -> None:
    base = story_model("llama-ternary")
    edited = changed(base, lambda network: None)
    assert run(LOCUS, context(base, edited)).summary.startswith("Nothing changed")
    assert run(LENGTH, context(base, edited)).estimate == 0.0


def artifact(base: StoryModel, edited: StoryModel, sites: tuple[str, ...]) -> Edit:
    """An artifact that claims `sites`, with empty changes in them."""
    edit = Edit(
        method="planted",
        base=base.name,
        base_sha256=base.sha256,
        edited_sha256=base.sha256,
        property_id="P1",
        pair="action",
        seed=0,
        prompts={},
        fit_words={"satisfying": [], "violating": []},
        components=(),
        changes=(),
    )
    object.__setattr__(edit, "edited_sha256", edited.sha256)
    return Claiming(edit, sites)


class Claiming(Edit):
    """An edit whose sites are given."""

    def __init__(self, edit: Edit, sites: tuple[str, ...]) -> None:
        self.__dict__.update(edit.__dict__)
        self.__dict__["claimed"] = sites

    @property
    def sites(self) -> tuple[str, ...]:
        return self.__dict__["claimed"]


def test_an_unclaimed_site_is_named() -> None:
    base = story_model("llama-ternary")
    edited = changed(base, flip)
    assert run(SITES, context(base, edited, artifact(base, edited, (DOWN,)))).status == "established"
    other = artifact(base, edited, ("model.layers.0.mlp.down_proj",))
    found = run(SITES, context(base, edited, other))
    assert found.status == "defeated"
    assert f"{DOWN}.trits changed" in found.summary
    # A name that only begins like the site is another module.
    prefix = artifact(base, edited, (DOWN.removesuffix("_proj"),))
    assert run(SITES, context(base, edited, prefix)).status == "defeated"


def test_an_artifact_of_another_model_is_named() -> None:
    base = story_model("llama-ternary")
    edited = changed(base, flip)
    found = run(SITES, context(base, edited, artifact(base, base, (DOWN,))))
    assert found.status == "defeated"
    assert "another edited model" in found.summary


def test_a_rank_one_change_of_floats_is_cheap_and_a_full_one_is_not() -> None:
    base = story_model("llama")

    def rank_one(network: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        weight = network.get_submodule(DOWN).weight
        key, value = (torch.randn(size, generator=generator) for size in (weight.shape[1], weight.shape[0]))
        weight += 0.01 * torch.outer(value, key)

    def full(network: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        weight = network.get_submodule(DOWN).weight
        weight += 0.01 * torch.randn(weight.shape, generator=generator)

    short, long = (run(LENGTH, context(base, changed(base, how))).details["bits"] for how in (rank_one, full))
    assert short == pytest.approx(
        (32 + 64) * 32 + math.log2(len(list(base.network.named_parameters()))), abs=2
    )
    assert long > 32 * 32 * 64
    assert run(LENGTH, context(base, changed(base, full))).status == "defeated"


def test_single_floats_cost_their_place_and_their_width() -> None:
    old = torch.zeros(40)
    new = old.clone()
    new[[3, 9]] = 1.0
    assert float_bits(old, new) == pytest.approx(math.log2(math.comb(40, 2)) + 64)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_bits_of_flips_are_the_exact_count(case: tuple[int, int]) -> None:
    total, chosen = case
    assert log2_choose(total, chosen) == pytest.approx(math.log2(math.comb(total, chosen)), abs=1e-6)
    assert trit_bits(chosen, total) == pytest.approx(
        math.log2(math.comb(total, chosen) * 2**chosen), abs=1e-6
    )


def test_a_loosened_layer_is_found_and_rounded_back() -> None:
    base = story_model("llama-ternary")

    def loosen(network: Any) -> None:
        layer = network.get_submodule(DOWN)
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False)
        plain.weight.copy_(layer.weight)
        # Less than half a step: rounding undoes it; one entry moves by a whole step and stays.
        plain.weight += 0.3 * layer.scale
        plain.weight[0, 0] = torch.where(layer.trits[0, 0] == 1, -1.0, 1.0) * layer.scale
        network.set_submodule(DOWN, plain)

    edited = changed(base, loosen)
    case = context(base, edited)
    assert loosened(case) == (DOWN,)
    assert [one.name for one in changes(base, edited)] == [f"{DOWN}.weight"]
    again = changes(base, reternarised(case))
    assert [(one.name, one.entries) for one in again] == [(f"{DOWN}.trits", 1)]
    # The locus is fine with it: leaving the lattice is what the other check is for.
    assert run(LOCUS, case).status == "established"


@pytest.mark.parametrize("kind", ["llama-ternary", "llama"])
def test_an_edit_that_left_no_lattice_passes_in_one_row(kind: str) -> None:
    base = story_model(kind)
    leaf = Quantisation(id="7", claim="Nothing is lost.", margin=0.5, samples=64)
    case = context(base, changed(base, flip if kind == "llama-ternary" else lambda network: None))
    assert leaf.planned(case) == 1
    found = run(leaf, case)
    assert found.status == "established"
    assert ("still is" in found.summary) == (kind == "llama-ternary")
