"""Grafting: a neuron that does next to nothing gets a ternary key and a ternary value of our own.

The key reads "the antecedent stands" from what enters the MLP, the value writes towards the satisfying words.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Float, Int8
from torch import nn

from tinyalign.circuits.forward import final_norm
from tinyalign.common.errors import EditError
from tinyalign.edits.batches import PromptBatch
from tinyalign.edits.objective import Material, Progress, Terms, loss
from tinyalign.edits.tail import blocks, tail_of
from tinyalign.properties.contrast import SIDES
from tinyalign.ternary import TernaryLinear


@dataclass(frozen=True)
class GraftSettings:
    """At most `neurons` neurons; a key and a value have one of these numbers of trits that are not zero."""

    neurons: int = 12
    key_trits: tuple[int, ...] = (16, 32, 64)
    value_trits: tuple[int, ...] = (4, 12)
    ridge: float = 0.1
    prompts: int = 64
    stories: int = 12

    def __post_init__(self) -> None:
        if min(self.neurons, self.prompts, self.stories, *self.key_trits, *self.value_trits) < 1:
            raise EditError("A graft needs at least one neuron, trit, prompt and story.")


@dataclass(frozen=True, eq=False)
class Graft:
    """The network with the grafted neurons, which they are, and what each try gave."""

    network: nn.Module
    neurons: tuple[int, ...]
    record: list[dict[str, Any]]


def fit_graft(
    material: Material,
    terms: Terms,
    settings: GraftSettings,
    progress: Progress | None = None,
) -> Graft:
    """Graft neurons into the gated MLP of layer `material.start`, one by one while the loss of the fit falls.

    Each neuron's key is the ternary sign pattern of the best linear reader (ridge regression)
    of the clean decisions against the other sides and text, refitted with more weight on prompts that are
    still answered wrongly; its value that of the direction that raises log p(S) - log p(V).
    Raises `EditError` for an MLP that is not gated or not ternary.
    """
    base, layer, text = material.base, material.start, material.text
    network = copy.deepcopy(base)
    gate, up, down = (_ternary(network, layer, name) for name in ("gate_proj", "up_proj", "down_proj"))
    seen = material.occasion(0, settings.prompts, settings.stories)
    batch = seen.batch
    ids, mask = text.batch(1, settings.stories)
    reads = _inputs(base, layer, batch)
    told = _text_inputs(base, layer, ids)[mask.bool()]
    value = _value(network, batch)
    idle = _idle(base, layer, told)
    record: list[dict[str, Any]] = []
    grafted: list[int] = []
    with torch.no_grad():
        best = loss(network, seen, terms)
    for turn, neuron in enumerate(idle[: settings.neurons]):
        key = _reader(reads, told, settings.ridge * (1 + turn))
        before = [module.trits for module in (gate, up, down)]
        found = None
        for key_trits, value_trits in product(settings.key_trits, settings.value_trits):
            _set(gate, up, down, neuron, _sparse(key, key_trits), _sparse(value, value_trits))
            with torch.no_grad():
                now = loss(network, seen, terms)
            if bool(now.total < best.total):
                best, found = now, [module.trits for module in (gate, up, down)]
        for module, trits in zip((gate, up, down), found or before, strict=True):
            module.set_trits(trits)
        record.append({"neuron": neuron, "kept": found is not None, **best.parts})
        if found is not None:
            grafted.append(neuron)
        if progress is not None:
            progress(turn + 1, settings.neurons, best.parts)
    return Graft(network, tuple(grafted), record)


def _ternary(network: nn.Module, layer: int, name: str) -> TernaryLinear:
    mlp = dict(blocks(network)[layer].named_children()).get("mlp")
    found = None if mlp is None else dict(mlp.named_children()).get(name)
    if not isinstance(found, TernaryLinear) or found.bits == 1:
        raise EditError(
            f"Layer {layer} has no ternary {name}: a graft needs a gated MLP of -1, 0 and 1; use rank_one."
        )
    return found


def _set(
    gate: TernaryLinear,
    up: TernaryLinear,
    down: TernaryLinear,
    neuron: int,
    key: Int8[torch.Tensor, " d_model"],
    value: Int8[torch.Tensor, " d_model"],
) -> None:
    """Both halves of the gate read the key, so that the neuron fires quadratically where it is met."""
    for module in (gate, up):
        trits = module.trits
        trits[neuron] = key
        module.set_trits(trits)
    trits = down.trits
    trits[:, neuron] = value
    down.set_trits(trits)


def _sparse(direction: Float[torch.Tensor, " d"], count: int) -> Int8[torch.Tensor, " d"]:
    """The signs of the `count` greatest entries, 0 elsewhere."""
    trits = torch.zeros_like(direction, dtype=torch.int8)
    at = direction.abs().topk(min(count, len(direction))).indices
    trits[at] = direction[at].sign().to(torch.int8)
    return trits


def _reader(
    reads: Float[torch.Tensor, "sides n d_model"], told: Float[torch.Tensor, "tokens d_model"], ridge: float
) -> Float[torch.Tensor, " d_model"]:
    """The ridge regression of +1 on clean decisions and -1 on the other sides and on text.

    Without an intercept, which a neuron has not either: what is constant in the inputs stands in for it, so
    that the neuron stays below zero, where the gate is all but shut, wherever the key is not met.
    """
    clean = reads[SIDES.index("clean")]
    groups = [clean, *(reads[number] for number, side in enumerate(SIDES) if side != "clean"), told]
    weights = [2.0, *[1.0] * (len(groups) - 1)]
    moment = sum((w * g.T @ g / len(g) for w, g in zip(weights, groups, strict=True)), torch.zeros(()))
    wanted = weights[0] * clean.mean(0) - torch.stack([g.mean(0) for g in groups[1:]]).sum(0)
    moment = moment + ridge * moment.diagonal().mean() * torch.eye(clean.shape[1])
    return torch.linalg.solve(moment, wanted)


def _value(network: nn.Module, batch: PromptBatch) -> Float[torch.Tensor, " d_model"]:
    """What raises the satisfying words' logits against the violating ones', through the final norm's gain."""
    weight = network.get_submodule("lm_head").get_parameter("weight").detach()
    gain = final_norm(network).get_parameter("weight").detach()
    good = weight[batch.satisfying[batch.satisfying >= 0].unique()].mean(0)
    bad = weight[batch.violating[batch.violating >= 0].unique()].mean(0)
    return (good - bad) * gain


def _inputs(base: nn.Module, layer: int, batch: PromptBatch) -> Float[torch.Tensor, "sides n d_model"]:
    rows = _mlp_inputs(base, layer, batch.ids)[torch.arange(len(batch.ids)), batch.last]
    return rows.view(len(SIDES), -1, rows.shape[-1])


def _text_inputs(base: nn.Module, layer: int, ids: torch.Tensor) -> Float[torch.Tensor, "rows pos d_model"]:
    return _mlp_inputs(base, layer, ids)


@torch.no_grad()
def _mlp_inputs(base: nn.Module, layer: int, ids: torch.Tensor) -> Float[torch.Tensor, "rows pos d_model"]:
    caught: list[torch.Tensor] = []

    def catch(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        caught.append(arguments[0])

    handle = blocks(base)[layer].get_submodule("mlp").register_forward_pre_hook(catch)
    try:
        tail_of(base, ids, 0).log_probs(base)
    finally:
        handle.remove()
    return caught[0]


@torch.no_grad()
def _idle(base: nn.Module, layer: int, told: Float[torch.Tensor, "tokens d_model"]) -> list[int]:
    """Neurons of the MLP by how little they write on text: mean |activation| times the norm of the value."""
    gate, up, down = (_ternary(base, layer, name) for name in ("gate_proj", "up_proj", "down_proj"))
    active = (nn.functional.silu(gate(told)) * up(told)).abs().mean(0)
    return (active * down.weight.norm(dim=0)).argsort().tolist()
