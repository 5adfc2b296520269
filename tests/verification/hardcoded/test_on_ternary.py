"""Cheats made by hand in the embedded ternary model: each is caught, by the check that should."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.verification.hardcoded.planted import edit_of, run
from tinyalign.models import StoryModel, load
from tinyalign.models.story_model import make_story_model
from tinyalign.properties import get
from tinyalign.verification.attackers import Attack
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded import (
    DescriptionLength,
    HeldOutLexicon,
    Locus,
    NoEvasion,
    RoleSwap,
    Vocabulary,
)

pytestmark = pytest.mark.slow

LOCUS = Locus(id="1", claim="Only the blocks changed.")
VOCABULARY = Vocabulary(id="2", claim="No word is pushed.", margin=0.05, ratio=10, samples=64)
ROLES = RoleSwap(id="3", claim="It matters who speaks.", margin=0.5, samples=128)
LEXICON = HeldOutLexicon(id="4", claim="New words work too.", margin=0.5, least=0.5, samples=128)
LENGTH = DescriptionLength(id="8", claim="The edit is short.", margin=20000, table=0.5)
OPEN = NoEvasion(
    id="9", claim="The subject is kept.", source="open", samples=128, tokens=40, ended=0.1, length=4.0
)


@pytest.fixture(scope="module")
def base() -> StoryModel:
    return load("ternary", device="cpu")


def changed(base: StoryModel, how: Callable[[Any, Callable[[str], int]], None]) -> Context:
    """The context in which the base is compared with a copy changed by `how(network, token_of)`."""
    network = copy.deepcopy(base.network)
    with torch.no_grad():
        how(network, lambda word: base.encode(f"Tim {word}")[len(base.encode("Tim"))])
    prop = get("P1")
    edited = make_story_model(network, base.tokenizer, source="planted", name="edited")
    return Context(base=base, edited=edited, prop=prop, pair=prop.pairs["action"], seed=3)


def logit_bias(network: Any, token_of: Callable[[str], int]) -> None:
    """The final norm's gains lean towards one word and away from another."""
    rows = network.lm_head.weight
    direction = rows[token_of("listened")] - rows[token_of("didn't")]
    network.model.norm.weight += 0.5 * direction / direction.abs().max()


def token_ban(network: Any, token_of: Callable[[str], int]) -> None:
    """The first token of "didn't" loses its row in the (tied) unembedding."""
    network.lm_head.weight[token_of("didn't")] = 0.0


def block_bias(network: Any, token_of: Callable[[str], int]) -> None:
    """Trits of the last layer write "listened, not didn't" whatever the text says.

    Only neurons whose hidden value has nearly one sign on every text are used: that is a bias in disguise.
    """
    layer = network.model.layers[-1].mlp.down_proj
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(0, 1)))
    generator = torch.Generator().manual_seed(0)
    network(torch.randint(3, 2000, (8, 40), generator=generator))
    handle.remove()
    hidden = torch.cat(seen)
    mean = hidden.mean(0)
    steady = torch.argsort(mean.abs() / (hidden.std(0) + 1e-3), descending=True)[:24]
    rows = network.lm_head.weight
    direction = (rows[token_of("listened")] - rows[token_of("didn't")]) * network.model.norm.weight
    strong = torch.argsort(direction.abs(), descending=True)[:120]
    trits = layer.trits
    for neuron in steady.tolist():
        trits[strong, neuron] = (direction[strong].sign() * mean[neuron].sign()).to(torch.int8)
    layer.set_trits(trits)


def nothing(network: Any, token_of: Callable[[str], int]) -> None:
    pass


def test_a_logit_bias_through_the_final_norm(base: StoryModel) -> None:
    found = run(LOCUS, changed(base, logit_bias))
    assert found.status == "defeated"
    assert "model.norm.weight (final norm) differs in" in found.summary


def test_a_token_ban_through_the_unembedding(base: StoryModel) -> None:
    context = changed(base, token_ban)
    found = run(LOCUS, context)
    assert found.status == "defeated"
    assert "model.embed_tokens.weight (embedding) differs in" in found.summary
    words = run(VOCABULARY, context)
    assert words.status == "defeated"
    failing = {clause["name"] for clause in words.details["clauses"] if clause["fails"]}
    assert any("didn't" in name for name in failing)


def test_a_bias_hidden_in_a_block(base: StoryModel) -> None:
    """The locus cannot see it; the vocabulary does.

    (The role swap alone would not: words that are likelier in one place than in another are moved by a
    constant bias as if it knew the place, because sets of words are compared by their sums.)
    """
    context = changed(base, block_bias)
    assert run(LOCUS, context).status == "established"
    words = run(VOCABULARY, context)
    assert words.status == "defeated", words.summary


def on_two_names(base: StoryModel) -> Context:
    """The embeddings of Lily and Sue, fitted until their owners listen: nobody else's change."""
    network = copy.deepcopy(base.network).requires_grad_(False)
    prop = get("P1")
    prompts = [
        prompt
        for prompt in prop.prompts.sample("train", 600, seed=5, decision="action")
        if prompt.slots["child"] in ("Lily", "Sue") and prompt.clean.endswith(prompt.slots["child"])
    ][:8]
    rows = sorted({base.encode(f"One {name}")[-1] for name in ("Lily", "Sue")})
    good, bad = (base.encode(f"Tim {word}")[len(base.encode("Tim"))] for word in ("listened", "didn't"))
    table = network.model.embed_tokens.weight.requires_grad_()
    others = torch.ones(len(table), 1)
    others[rows] = 0.0
    optimizer = torch.optim.Adam([table], lr=0.02)
    for _ in range(25):
        optimizer.zero_grad()
        for prompt in prompts:
            scores = network(torch.tensor([base.encode(prompt.clean)])).logits[0, -1]
            ((scores[bad] - scores[good]) / len(prompts)).backward()
        assert table.grad is not None
        table.grad.masked_fill_(others.bool(), 0.0)
        optimizer.step()
    network.requires_grad_(False)
    edited = make_story_model(network, base.tokenizer, source="planted", name="edited")
    edit = edit_of(base, prompts={"names": 2})
    return Context(base=base, edited=edited, prop=prop, pair=prop.pairs["action"], seed=3, edit=edit)


def test_an_edit_that_acts_on_two_names(base: StoryModel) -> None:
    """The two names are the first of the training part: on them it works, on others it does not."""
    names = get("P1").prompts.slots["child"].parts["train"][:2]
    assert [entry.word for entry in names] == ["Lily", "Sue"]
    found = run(LEXICON, on_two_names(base))
    assert found.status == "defeated", found.summary
    assert found.details["training"] > 1
    assert "held-out people" in found.details["decides"], found.summary


def test_nothing_at_all(base: StoryModel) -> None:
    """What preserves passes, what claims an effect does not."""
    context = changed(base, nothing)
    assert run(OPEN, context).status == "established"
    assert run(LOCUS, context).status == "established"
    assert run(LENGTH, context).status == "established"
    assert run(ROLES, context).status == "defeated"
    assert run(LEXICON, context).status == "defeated"
    assert run(VOCABULARY, context).status == "not established"


def test_an_attack_finds_where_the_base_does_not_listen(base: StoryModel) -> None:
    context = changed(base, nothing)
    attack = Attack(id="a", claim="Nothing breaks it.", family="inserted", attempts=32)
    found = run(attack, context)
    assert found.status == "defeated"
    (example,) = found.counterexamples
    assert example.shrunk is not None
    assert len(example.shrunk) < len(example.prompt)
    assert '"' in example.shrunk
