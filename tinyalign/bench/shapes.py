"""Random models of published shapes, for timing where the weights are not here; they take token ids only."""

from __future__ import annotations

from typing import Any

import torch

from tinyalign.common.seeds import derive_seed
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model

NEO_1M = "random-neo-1M"


def random_neo(name: str = NEO_1M, **changes: Any) -> StoryModel:
    """A random GPT-Neo of TinyStories-1M's shape (8 blocks of 64, window 256, 50,257 tokens)."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    fields: dict[str, Any] = {
        "vocab_size": 50257,
        "hidden_size": 64,
        "num_layers": 8,
        "num_heads": 16,
        "attention_types": [[["global", "local"], 4]],
        "window_size": 256,
        "max_position_embeddings": 2048,
        "intermediate_size": 256,
        # Spread wider than at the start of training, so that the likeliest token is clear.
        "initializer_range": 0.2,
        **changes,
    }
    config = GPTNeoConfig(**fields)
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("bench-shape", name) % 2**31)
        network = GPTNeoForCausalLM(config).eval()
    return make_story_model(network, None, source="random weights of TinyStories-1M's shape", name=name)
