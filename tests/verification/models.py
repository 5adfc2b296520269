"""A tiny random story model that can read and tell (the embedded tokenizer), and edits of it."""

from __future__ import annotations

import copy
from functools import cache

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tinyalign.common.resources import data_folder
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model
from tinyalign.models.tokenizers import load_tokenizer


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the embedded models."""
    return load_tokenizer(data_folder() / "models" / "ternary")


def _special(name: str) -> int | None:
    token = getattr(tokenizer(), name)
    assert token is None or isinstance(token, int)
    return token


@cache
def tiny_base() -> StoryModel:
    """Two layers of width 32 at random."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=64,
        max_position_embeddings=256,
        initializer_range=0.2,
        tie_word_embeddings=False,
        bos_token_id=_special("bos_token_id"),
        eos_token_id=_special("eos_token_id"),
    )
    config._attn_implementation = "eager"
    return make_story_model(LlamaForCausalLM(config).eval(), tokenizer(), source="random", name="base")


def edited(base: StoryModel, tensor: str | None = None, by: float = 0.0, seed: int = 0) -> StoryModel:
    """A copy named "edited", with noise of size `by` on one parameter (none: an edit that does nothing)."""
    network = copy.deepcopy(base.network)
    if tensor is not None:
        weight = dict(network.named_parameters())[tensor]
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        weight.data += by * noise
    return make_story_model(network, base.tokenizer, source="edited", name="edited")


def permuted(base: StoryModel, layer: int = 0, seed: int = 0) -> StoryModel:
    """A copy whose MLP has its hidden units in another order: the same function."""
    network = copy.deepcopy(base.network)
    mlp = network.get_submodule(f"model.layers.{layer}.mlp")
    order = torch.randperm(base.config.d_mlp, generator=torch.Generator().manual_seed(seed))
    for name in ("gate_proj", "up_proj"):
        weight = mlp.get_parameter(f"{name}.weight")
        weight.data = weight.data[order].clone()
    down = mlp.get_parameter("down_proj.weight")
    down.data = down.data[:, order].clone()
    return make_story_model(network, base.tokenizer, source="permuted", name="edited")
