"""64 prompts, 128 greedy tokens each, beside Hugging Face: Llama, GPT-Neo beyond its window, ternary."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

import tinyalign
from tests.engine.test_cpu import from_ids
from tinyalign.engine import Sampling
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model

PROMPTS, NEW = 64, 128
# Two float32 sums of one number differ by less than this; logits nearer than that are a tie.
TIE = 1e-4

WHO = ["Lily", "Tom", "Mia", "Sam", "Anna", "Ben", "The dog", "A little bird"]
WHAT = [
    "wanted to climb the old tree",
    "found a shiny red ball",
    "was very hungry after lunch",
    "did not want to go to bed",
    "saw a big cat in the garden",
    "asked mom for a cookie",
    "went to the lake with dad",
    "broke the blue cup",
]


def prompts_of(model: StoryModel) -> list[list[int]]:
    """64 openings, cut to one length so that Hugging Face needs no padding."""
    encoded = [model.encode(f"One day, {who} {what} and then") for who in WHO for what in WHAT]
    size = min(map(len, encoded))
    return [ids[:size] for ids in encoded]


def greedy(model: StoryModel, prompts: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """The CPU backend's new tokens and Hugging Face's."""
    ours = [list(s.tokens) for s in from_ids(model, prompts, Sampling(temperature=0), limit=NEW)]
    network: Any = model.network
    ids = torch.tensor(prompts)
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "max_new_tokens": NEW}
    theirs = network.generate(ids, attention_mask=torch.ones_like(ids), **options)
    return ours, theirs[:, ids.shape[1] :].tolist()


def check_equal_but_for_ties(model: StoryModel, prompts: list[list[int]]) -> None:
    double: Any = copy.deepcopy(model.network).double()
    ours, theirs = greedy(model, prompts)
    parted = 0
    for prompt, own, other in zip(prompts, ours, theirs, strict=True):
        assert len(own) == NEW or other[len(own)] == model.eos_id
        same = int(np.argmin([*(a == b for a, b in zip(own, other, strict=False)), False]))
        if same < len(own):
            parted += 1
            with torch.no_grad():
                logits = double(torch.tensor([[*prompt, *own[:same]]])).logits[0, -1]
            assert abs(float(logits[own[same]] - logits[other[same]])) <= TIE
            assert float(logits.max() - logits[own[same]]) <= TIE
    assert parted <= 1


def test_stories260k(shared_models: Path) -> None:
    model = tinyalign.load(shared_models / "stories260K.bin")
    check_equal_but_for_ties(model, prompts_of(model))


@pytest.mark.slow
def test_gpt_neo_of_tinystories_1m_shape_beyond_its_window() -> None:
    """Prompts of 200 tokens and 128 new ones: from token 257 on local layers forget the first."""
    model = tinystories_1m_shape()
    generator = torch.Generator().manual_seed(4)
    prompts = torch.randint(0, 50257, (PROMPTS, 200), generator=generator).tolist()
    check_equal_but_for_ties(model, prompts)


def tinystories_1m_shape() -> StoryModel:
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=50257,
        hidden_size=64,
        num_layers=8,
        num_heads=16,
        attention_types=[[["global", "local"], 4]],
        window_size=256,
        max_position_embeddings=2048,
        intermediate_size=256,
        initializer_range=0.2,
    )
    config._attn_implementation = "eager"
    network = GPTNeoForCausalLM(config).eval()
    return make_story_model(network, None, source="a random test model", name="tinystories-1m shape")


@pytest.mark.slow
def test_ternary_choices_are_the_likeliest_but_for_codes_on_an_edge() -> None:
    """Every greedy token beside the network's logits after the same tokens.

    An activation between two int8 codes may fall to either side, which moves logits by a few hundredths:
    whole stories can part there, so each choice is judged on its own.
    """
    model = tinyalign.load("ternary")
    prompts = prompts_of(model)
    ours, theirs = greedy(model, prompts)
    assert np.mean([a[:8] == b[:8] for a, b in zip(ours, theirs, strict=True)]) >= 0.9
    choices = likeliest = 0
    for prompt, own in zip(prompts, ours, strict=True):
        with torch.no_grad():
            logits = model.network(torch.tensor([[*prompt, *own]])).logits[0, len(prompt) - 1 : -1]
        behind = logits.max(dim=-1).values - logits.gather(-1, torch.tensor(own)[:, None])[:, 0]
        choices += len(own)
        likeliest += int((behind == 0).sum())
        assert float(behind.max()) <= 0.3
    assert likeliest >= 0.98 * choices
    assert choices > 0.8 * PROMPTS * NEW
