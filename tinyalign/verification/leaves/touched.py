"""The components whose weights two networks do not share."""

from __future__ import annotations

import re

import torch
from jaxtyping import Bool

from tinyalign.circuits.components import Component
from tinyalign.models.story_model import StoryModel

_LAYER = re.compile(r"^(?:model\.layers|transformer\.h)\.(\d+)\.(.+)$")
# What a component reads with has it along the rows, what it writes with along the columns.
_HEAD_ROWS = ("q_proj", "k_proj", "v_proj")
_HEAD_COLUMNS = ("o_proj", "out_proj")
_NEURON_ROWS = ("gate_proj", "up_proj", "c_fc")
_NEURON_COLUMNS = ("down_proj", "c_proj")


def touched_components(base: StoryModel, edited: StoryModel) -> tuple[Component, ...]:
    """Heads and neurons whose effective weights or biases differ; all neurons of a layer become its MLP.

    A key or value head that several query heads share counts for all of them. What is in no component
    (embeddings, norms, an output bias) is passed over: whatever acts through it shows as effect that the
    components do not carry.
    """
    heads, neurons = set[tuple[int, int]](), set[tuple[int, int]]()
    config = base.config
    others = dict(edited.network.named_modules())
    for name, module in base.network.named_modules():
        place, other = _LAYER.match(name), others.get(name)
        if place is None or not isinstance(module, torch.nn.Linear) or not isinstance(other, torch.nn.Linear):
            continue
        layer, kind = int(place[1]), place[2].rpartition(".")[2]
        changed = module.weight.detach() != other.weight.detach().to(module.weight.device)
        if kind in _HEAD_ROWS + _NEURON_ROWS:
            entries = changed.any(dim=1) | _bias_changed(module, other, len(changed))
        else:
            entries = changed.any(dim=0)
        found = entries.nonzero()[:, 0].tolist()
        if kind in _HEAD_ROWS + _HEAD_COLUMNS:
            here = len(entries) // config.d_head
            shared = max(1, config.n_heads // here)
            for entry in found:
                first = entry // config.d_head * shared
                heads.update((layer, head) for head in range(first, first + shared))
        elif kind in _NEURON_ROWS + _NEURON_COLUMNS:
            neurons.update((layer, entry) for entry in found)
    components = [Component("head", *one) for one in heads]
    for layer in {layer for layer, _ in neurons}:
        own = [index for where, index in neurons if where == layer]
        if len(own) == config.d_mlp:
            components.append(Component("mlp", layer))
        else:
            components += [Component("neuron", layer, index) for index in own]
    return tuple(sorted(components, key=lambda component: component.order))


def _bias_changed(one: torch.nn.Linear, other: torch.nn.Linear, size: int) -> Bool[torch.Tensor, " d_out"]:
    if one.bias is None or other.bias is None:
        same = one.bias is other.bias
        return torch.full((size,), not same)
    return one.bias.detach() != other.bias.detach()
