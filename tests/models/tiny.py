"""Small random models that every test of this room uses."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

from tinyalign.models import StoryModel, ternarize
from tinyalign.models.story_model import make_story_model

KINDS = ("neo", "llama", "llama-gqa", "neo-ternary", "llama-ternary", "llama-gqa-ternary", "llama-binary")
D_VOCAB = 96


def network(kind: str, seed: int = 0) -> Any:
    """A float network: `neo` (window 8 of context 64), `llama`, or `llama-gqa` (2 key/value heads of 4)."""
    torch.manual_seed(seed)
    if kind == "neo":
        config = GPTNeoConfig(
            vocab_size=D_VOCAB,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=8,
            max_position_embeddings=64,
            intermediate_size=64,
            initializer_range=0.2,
        )
        config._attn_implementation = "eager"
        return GPTNeoForCausalLM(config).eval()
    config = LlamaConfig(
        vocab_size=D_VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2 if kind == "llama-gqa" else 4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        rms_norm_eps=1e-5,
        tie_word_embeddings=kind == "llama",
    )
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config).eval()


def story_model(kind: str, seed: int = 0) -> StoryModel:
    """A model of one of `KINDS`, without a tokenizer."""
    base = kind.removesuffix("-ternary").removesuffix("-binary")
    model = make_story_model(network(base, seed), None, source="a random test model", name=base)
    if kind.endswith("-ternary"):
        return ternarize(model)
    return ternarize(model, 1) if kind.endswith("-binary") else model


def token_ids(length: int = 30, batch: int = 2, seed: int = 1) -> torch.Tensor:
    """Random token ids [batch, length]; the default length is beyond GPT-Neo's window of 8."""
    return torch.randint(0, D_VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))
