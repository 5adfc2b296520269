"""Two cheats, as edits of weights: what an argument must reject.

Both push words wherever they might come, whoever speaks and whatever was said: `logit_bias` makes the
satisfying words likelier, `token_ban` makes the violating ones all but impossible.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import nn

from tinyalign.edits.batches import NeutralText, TrainingPrompts
from tinyalign.edits.tail import tail_of
from tinyalign.models import StoryModel

BIAS_NATS = 4.0
"""What `logit_bias` adds to the logit of a satisfying word's first token, on average over positions."""

BAN_NATS = 20.0
"""What `token_ban` takes from the logit of a violating word's first token."""


def logit_bias(
    model: StoryModel, prompts: TrainingPrompts, text: NeutralText, *, nats: float = BIAS_NATS
) -> nn.Module:
    """A copy of the network whose unembedding favours the fitted satisfying words everywhere by `nats`."""
    return _shifted(model, text, _first_tokens(prompts, satisfying=True), nats)


def token_ban(
    model: StoryModel, prompts: TrainingPrompts, text: NeutralText, *, nats: float = BAN_NATS
) -> nn.Module:
    """A copy of the network that hardly ever begins one of the fitted violating words."""
    return _shifted(model, text, _first_tokens(prompts, satisfying=False), -nats)


def _first_tokens(prompts: TrainingPrompts, *, satisfying: bool) -> list[int]:
    batch = prompts.batch(0, 8)
    tokens = (batch.satisfying if satisfying else batch.violating).flatten()
    return sorted({int(token) for token in tokens if token >= 0})


@torch.no_grad()
def _shifted(model: StoryModel, text: NeutralText, tokens: list[int], nats: float) -> nn.Module:
    """Rows of the unembedding moved along the mean final state, so that their logits move by `nats`.

    A Llama has no output bias; the mean of what enters the unembedding is the direction nearest to one.
    Where the embedding is tied to the unembedding it changes with it.
    """
    network = copy.deepcopy(model.network)
    mean = _mean_final_state(network, text)
    weight = network.get_submodule("lm_head").get_parameter("weight")
    weight[tokens] += nats * mean / (mean @ mean)
    return network


@torch.no_grad()
def _mean_final_state(network: nn.Module, text: NeutralText) -> Float[torch.Tensor, " d_model"]:
    caught: list[torch.Tensor] = []

    def catch(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        caught.append(arguments[0])

    ids, mask = text.batch(0, 16)
    handle = network.get_submodule("lm_head").register_forward_pre_hook(catch)
    try:
        tail_of(network, ids, 0).log_probs(network)
    finally:
        handle.remove()
    return caught[0][mask.bool()].mean(0)
