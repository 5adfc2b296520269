"""A rank-one change of an MLP's output matrix: a key that reads the antecedent, a value fitted by gradient.

Source: Bau et al. (2020), Rewriting a Deep Generative Model (arXiv:2007.15646, section 3.2), and Meng et al.
(2022), Locating and Editing Factual Associations in GPT (arXiv:2202.05262, section 3.1), with the key made
contrastive: the second moment also holds the contexts in which nothing may change.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from tinyalign.common.errors import EditError
from tinyalign.edits.batches import NeutralText, TrainingPrompts
from tinyalign.edits.objective import Material, Progress, Terms, loss
from tinyalign.edits.tail import tail_of
from tinyalign.properties.contrast import SIDES
from tinyalign.ternary import TernaryLinear


@dataclass(frozen=True)
class RankOneSettings:
    """`contrast` is how much the second moment of the sides that must not move counts against that of text;
    `steps` of Adam fit the value, each on `prompts` training prompts and `stories` neutral ones."""

    contrast: float = 30.0
    ridge: float = 1e-2
    steps: int = 60
    rate: float = 0.05
    prompts: int = 32
    stories: int = 6
    key_prompts: int = 256
    key_stories: int = 48

    def __post_init__(self) -> None:
        if min(self.steps, self.prompts, self.stories, self.key_prompts, self.key_stories) < 1:
            raise EditError("A rank-one fit needs at least one step, prompt and story.")


@dataclass(frozen=True, eq=False)
class RankOne:
    """The network with the change in it, and the record of the fit. W' = W + value key^T."""

    network: nn.Module
    key: Float[torch.Tensor, " d_in"]
    value: Float[torch.Tensor, " d_out"]
    record: list[dict[str, Any]]


def fit_rank_one(
    material: Material,
    module: str,
    terms: Terms,
    settings: RankOneSettings,
    progress: Progress | None = None,
) -> RankOne:
    """Change the linear module `module` (the output of the MLP in layer `material.start`) by one rank.

    In a ternary layer the changed matrix is put back on the lattice under the layer's own scale: each weight
    goes to the nearest of -s, 0, s, so that only changes beyond half a step survive.
    Raises `EditError` for a module that is no linear layer, or activations from which no key can be had.
    """
    base = material.base
    network = copy.deepcopy(base)
    layer = network.get_submodule(module)
    if not isinstance(layer, nn.Linear):
        raise EditError(f"{module} is no linear layer: a rank-one change needs a matrix.")
    key = _key(base, module, material.prompts, material.text, settings)
    value = torch.zeros(layer.out_features, requires_grad=True)

    def add(_: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return output + (_seen(layer, arguments[0]) @ key)[..., None] * value

    handle = layer.register_forward_hook(add)
    record: list[dict[str, Any]] = []
    optimizer = torch.optim.Adam([value], lr=settings.rate)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    try:
        for step in range(settings.steps):
            number = settings.key_prompts // settings.prompts + 1 + step
            seen = material.occasion(number, settings.prompts, settings.stories)
            found = loss(network, seen, terms)
            optimizer.zero_grad()
            found.total.backward()
            optimizer.step()
            record.append({"step": step, **found.parts})
            if progress is not None:
                progress(step + 1, settings.steps, record[-1])
    finally:
        handle.remove()
    _write(layer, torch.outer(value.detach(), key))
    return RankOne(network, key, value.detach(), record)


@torch.no_grad()
def _write(layer: nn.Linear, change: Float[torch.Tensor, "d_out d_in"]) -> None:
    if isinstance(layer, TernaryLinear):
        nearest = ((layer.weight + change) / layer.scale).round().clamp(-1, 1).to(torch.int8)
        if layer.bits == 1:
            nearest = torch.where(nearest == 0, layer.trits, nearest)
        layer.set_trits(nearest)
    else:
        layer.weight.add_(change)


def _seen(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return layer.effective_input(x) if isinstance(layer, TernaryLinear) else x


@torch.no_grad()
def _key(
    base: nn.Module, module: str, prompts: TrainingPrompts, text: NeutralText, settings: RankOneSettings
) -> Float[torch.Tensor, " d_in"]:
    """C^-1 k, scaled so that key . k = 1: k is the mean input on clean decisions, C the second moment of the
    inputs on text plus `contrast` times that on the sides that must not move."""
    batch = prompts.batch(0, settings.key_prompts)
    rows = _inputs(base, module, batch.ids)[torch.arange(len(batch.ids)), batch.last]
    sides = rows.view(len(SIDES), -1, rows.shape[-1])
    mean = sides[SIDES.index("clean")].mean(0)
    against = sides[[number for number, side in enumerate(SIDES) if side != "clean"]].flatten(0, 1)
    ids, mask = text.batch(0, settings.key_stories)
    told = _inputs(base, module, ids)[mask.bool()]
    moment = told.T @ told / len(told) + settings.contrast * against.T @ against / len(against)
    moment += settings.ridge * moment.diagonal().mean() * torch.eye(len(moment))
    key = torch.linalg.solve(moment, mean)
    reads = float(key @ mean)
    if not reads > 0:
        raise EditError(
            f"The inputs of {module} at the decision are all zero: there is nothing to read there."
        )
    return key / reads


@torch.no_grad()
def _inputs(base: nn.Module, module: str, ids: torch.Tensor) -> Float[torch.Tensor, "rows pos d_in"]:
    caught: list[torch.Tensor] = []
    layer = base.get_submodule(module)

    def catch(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        x = arguments[0]
        caught.append(_seen(layer, x) if isinstance(layer, nn.Linear) else x)

    handle = layer.register_forward_pre_hook(catch)
    try:
        tail_of(base, ids, 0).log_probs(base)
    finally:
        handle.remove()
    return caught[0]
