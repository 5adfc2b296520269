"""Which weights an edit may touch, from the names of components."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import nn

from tinyalign.common.errors import EditError
from tinyalign.edits.tail import blocks
from tinyalign.models import StoryModel

_NAME = re.compile(r"L(?P<layer>\d+)(?:\.(?P<part>attn|mlp)|H(?P<head>\d+)|N(?P<neuron>\d+))")


@dataclass(frozen=True, eq=False)
class Sites:
    """`components` by name; `allowed` says for each linear layer which of its weights belong to them.

    A whole attention ("L3.attn") or MLP ("L3.mlp") has all of its matrices; a head ("L3H0") its rows of the
    query, key and value projections and its columns of the output projection; a neuron ("L3N17") its row of
    what reads and its column of what writes. `first_layer` is the earliest layer among them, `last_mlp` the
    latest layer whose MLP is among them (the latest of all if none is), `last_mlp_output` its output matrix.
    """

    components: tuple[str, ...]
    allowed: Mapping[str, Bool[torch.Tensor, "d_out d_in"]]
    first_layer: int
    last_mlp: int
    last_mlp_output: str


def sites_of(model: StoryModel, components: Sequence[str] | None = None) -> Sites:
    """The weights that components name.

    Without components: attention and MLP of every layer but the first, which reads words more than what they
    say (of the only layer, if there is one). Raises `EditError` for a name that the model has not, or a head
    of a model with grouped queries, whose keys and values several heads share.
    """
    count = model.config.n_layers
    if components is None:
        layers = range(min(1, count - 1), count)
        components = [f"L{layer}.{part}" for layer in layers for part in ("attn", "mlp")]
    if not components:
        raise EditError("An edit needs at least one component to act in.")
    allowed: dict[str, torch.Tensor] = {}
    found: list[tuple[int, str]] = []
    for name in components:
        layer, part, index = _parsed(model, name)
        found.append((layer, part))
        for linear, mask in _weights(model, layer, part, index).items():
            allowed[linear] = allowed[linear] | mask if linear in allowed else mask
    mlps = [layer for layer, part in found if part == "mlp"]
    last = max(mlps) if mlps else count - 1
    return Sites(
        components=tuple(dict.fromkeys(components)),
        allowed=allowed,
        first_layer=min(layer for layer, _ in found),
        last_mlp=last,
        last_mlp_output=_linears(model.network, last, "mlp")[-1],
    )


def _parsed(model: StoryModel, name: str) -> tuple[int, str, int | None]:
    """(layer, "attn" or "mlp", head or neuron)."""
    config = model.config
    match = _NAME.fullmatch(name)
    head, neuron = (None, None) if match is None else (match["head"], match["neuron"])
    if (
        match is None
        or int(match["layer"]) >= config.n_layers
        or int(head or 0) >= config.n_heads
        or int(neuron or 0) >= config.d_mlp
    ):
        raise EditError(
            f"{name!r} names no component of {model.name}: write L0.attn, L0.mlp, L0H0 or L0N0, with layers "
            f"0 to {config.n_layers - 1}, heads to {config.n_heads - 1} and neurons to {config.d_mlp - 1}."
        )
    if head is not None and config.n_kv_heads != config.n_heads:
        raise EditError(
            f"{model.name} shares keys and values among heads, so {name} has no rows of its own: name "
            f"L{match['layer']}.attn."
        )
    index = head or neuron
    return (
        int(match["layer"]),
        match["part"] or ("attn" if head else "mlp"),
        None if index is None else int(index),
    )


def _weights(
    model: StoryModel, layer: int, part: str, index: int | None
) -> dict[str, Bool[torch.Tensor, "d_out d_in"]]:
    names = _linears(model.network, layer, part)
    width = model.config.d_head if part == "attn" else 1
    masks: dict[str, torch.Tensor] = {}
    for name in names:
        linear = model.network.get_submodule(name)
        mask = torch.full(_shape(linear), index is None)
        if index is not None:
            own = slice(index * width, (index + 1) * width)
            # The last linear of a part writes, the others read.
            if name == names[-1]:
                mask[:, own] = True
            else:
                mask[own] = True
        masks[name] = mask
    return masks


def _shape(linear: nn.Module) -> tuple[int, int]:
    if not isinstance(linear, nn.Linear):
        raise EditError("A component's matrices must be linear layers.")
    return linear.out_features, linear.in_features


def _linears(network: nn.Module, layer: int, part: str) -> list[str]:
    """Linear layers of a block's attention or MLP by full name, as they run (the output one last)."""
    prefix = "transformer.h" if type(network).__name__ == "GPTNeoForCausalLM" else "model.layers"
    block = blocks(network)[layer]
    names = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
    begins = ("self_attn.", "attn.") if part == "attn" else "mlp."
    return [f"{prefix}.{layer}.{name}" for name in names if name.startswith(begins)]
