"""Attention whose keys and values are rounded to int8, in torch: what an int8 cache should come to."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.models.llama.modeling_llama import eager_attention_forward

from tinyalign.models import StoryModel


def coarse(model: StoryModel) -> StoryModel:
    """A copy of a Llama that attends to rounded keys and values."""
    AttentionInterface.register("coarse", _attention)
    AttentionMaskInterface.register("coarse", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    model = copy.deepcopy(model)
    network: Any = model.network
    network.config._attn_implementation = "coarse"
    return model


def _attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **more: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each head's vector is rounded by its own largest number."""

    def rounded(x: torch.Tensor) -> torch.Tensor:
        largest = x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
        return (x * (127 / largest)).round() * (largest / 127)

    return eager_attention_forward(module, query, rounded(key), rounded(value), *rest, **more)
