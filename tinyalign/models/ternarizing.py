"""Post-training conversion: any loaded model with its block matrices rounded to trits or signs."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch

from tinyalign.common.errors import InputError
from tinyalign.models.story_model import Conversion, StoryModel, make_story_model
from tinyalign.ternary import Bits, replace_linears, ternary_layers


def ternarize(model: StoryModel, bits: Bits = 1.58, *, text: str | Sequence[str] | None = None) -> StoryModel:
    """A copy of `model` with every linear layer in its blocks ternary (1.58) or 1-bit (1).

    Weights are rounded by absmean or sign, once, without training: expect a much worse model. With
    `text` the cost is measured; `.conversion` of the result holds the loss before and after, in nats a
    token. Embeddings, norms, biases and the output matrix stay float.

    Raises `InputError` for other `bits`, a model that is ternary already, or a text without two tokens.
    """
    if bits not in (1, 1.58):
        raise InputError(f"Cannot ternarize to {bits} bits: expected 1.58 (ternary) or 1 (signs).")
    if ternary_layers(model.network):
        raise InputError(f"{model.name} is already {model.bits:g}-bit: ternarize a float model.")
    network = copy.deepcopy(model.network)
    replaced = replace_linears(network, bits)
    texts = [text] if isinstance(text, str) else text
    return make_story_model(
        network,
        model.tokenizer,
        source=f"{model.source}, rounded to {bits:g} bits after training",
        name=f"{model.name}-{'binary' if bits == 1 else 'ternary'}",
        revision=model.revision,
        conversion=Conversion(
            base_sha256=model.sha256,
            bits=float(bits),
            layers=len(replaced),
            loss_before=None if texts is None else mean_loss(model.network, model, texts),
            loss_after=None if texts is None else mean_loss(network, model, texts),
        ),
    )


def dequantize(model: StoryModel) -> StoryModel:
    """A copy of a ternary model with plain float linear layers that hold the same levels.

    Not the same function: the float layers do not round their activations to int8.
    """
    network = copy.deepcopy(model.network)
    for name, layer in ternary_layers(network).items():
        linear = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        with torch.no_grad():
            linear.weight.copy_(layer.weight)
            if layer.bias is not None:
                linear.bias.copy_(layer.bias)
        network.set_submodule(name, linear.to(device=model.device))
    return make_story_model(
        network,
        model.tokenizer,
        source=f"{model.source}, levels kept, activations no longer rounded",
        name=f"{model.name}-float",
        revision=model.revision,
    )


@torch.no_grad()
def mean_loss(network: torch.nn.Module, model: StoryModel, texts: Sequence[str]) -> float:
    """Mean nats a token of `network` over `texts`, each cut to the model's context, weighted by tokens.

    Raises `InputError` when no text has two tokens.
    """
    total, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([model.encode(text)[: model.context]], device=model.device)
        if ids.shape[1] < 2:
            continue
        logits = network(input_ids=ids).logits[0, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        tokens += ids.shape[1] - 1
    if not tokens:
        raise InputError("The text has no two tokens to predict one from the other: give longer text.")
    return total / tokens if math.isfinite(total) else math.inf
