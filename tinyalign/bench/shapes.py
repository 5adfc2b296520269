"""Random models of some shapes, for timing where no weights are here; they take token ids only."""

from __future__ import annotations

from typing import Any

import torch

from tinyalign.common.seeds import derive_seed
from tinyalign.models import StoryModel, load
from tinyalign.models.story_model import make_story_model
from tinyalign.ternary import replace_linears

NEO_1M = "random-neo-1M"
TERNARY_1M = "random-ternary-1M"


def loaded(name: str, device: str) -> StoryModel:
    """A model by name on `device`: one of the random ones here, else as `tinyalign.load` takes it."""
    made = {NEO_1M: random_neo, TERNARY_1M: random_ternary}
    if name not in made:
        return load(name, device=device)
    model = made[name]()
    model.network.to(device)  # pyright: ignore
    return model


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


def random_ternary(name: str = TERNARY_1M, **changes: Any) -> StoryModel:
    """A random ternary Llama of 1.2M weights in 2 blocks; rows of 256 and 512 suit llama.cpp's TQ2_0."""
    from transformers import LlamaConfig, LlamaForCausalLM

    fields: dict[str, Any] = {
        "vocab_size": 2048,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        # Spread wider than at the start of training, so that the likeliest token is clear.
        "initializer_range": 0.2,
        **changes,
    }
    config = LlamaConfig(**fields)
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("bench-shape", name) % 2**31)
        network = LlamaForCausalLM(config).eval()
    replace_linears(network, 1.58)
    return make_story_model(network, None, source="random ternary weights", name=name)
