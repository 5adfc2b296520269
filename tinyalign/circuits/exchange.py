"""Activation patching: one run with some components' writes taken from another run.

A component's *write* (what it adds to the residual stream) is exchanged, not what it reads. For float layers
that is the same as replacing a head's slice of the output projection's input. In a ternary layer all inputs
of a token share one int8 scale, so that replacing a slice would also round the *other* heads anew; here each
run's writes are those it really made under its own scale, and the rest stays as it was to the bit. And where
the two runs are of a base and an edited model, a changed W_O or down projection goes with the component that
it belongs to. Everything downstream of an exchanged write is computed anew by the running model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer

from tinyalign.circuits.batched import Place, run_sets
from tinyalign.circuits.components import Component, Site, masks, writers
from tinyalign.circuits.decisions import check_aligned
from tinyalign.circuits.forward import SitePatch, patched, recorded, run_prefix, run_tail
from tinyalign.circuits.inert import simplify
from tinyalign.circuits.reading import Positions, Reading
from tinyalign.common.errors import InputError
from tinyalign.models.story_model import StoryModel

Weights = Mapping[Site, tuple[torch.Tensor, torch.Tensor | None]]


@torch.no_grad()
def exchange(run: Reading, source: Reading, sets: Sequence[Iterable[Component]]) -> np.ndarray:
    """Preferences [set prompt], in nats, of `run`'s model on its decisions with writes taken from `source`.

    For every set of components their writes are those of `source`, at the tails (`positions` "decision") or
    everywhere ("all"). An empty set gives `run.preferences`; all heads and MLPs give `source.preferences`
    (to rounding; in a GPT-Neo only where prefixes have one length, since positions are embedded there).
    Sets are batched; equal ones, and those that cannot change anything, are run once.

    Raises `InputError` where the two readings do not end in the same tokens or, at all positions, have
    prefixes of unequal length; where their models differ in shape; and for components the model lacks.
    """
    _check(run, source)
    check_aligned(run.decisions, source.decisions, prefixes=run.positions == "all")
    weights = _weights(run.model, source.model)
    plain, index = simplify(run, source, weights, sets)
    marks = {site: mask.to(run.model.device) for site, mask in masks(run.model.config, plain).items()}

    def patches(part: slice, place: Place, names: Sequence[int], packed: bool) -> dict[Site, SitePatch]:
        tail = place == "tail"
        inputs = source.tail_inputs if tail else source.prefix_inputs
        outputs = source.tail_outputs if tail else source.prefix_outputs
        return {
            site: SitePatch(
                mask[part],
                torch.stack([inputs[site][name] for name in names]),
                torch.stack([outputs[site][name] for name in names]),
                *weights[site],
                packed,
            )
            for site, mask in marks.items()
            if bool(mask[part].any())
        }

    results = run_sets(run, len(plain), patches)
    return np.stack([run.preferences if i is None else results[i] for i in index])


@torch.no_grad()
def run_with_components(
    base: StoryModel,
    edited: StoryModel,
    token_ids: Integer[torch.Tensor, "batch pos"],
    components: Iterable[Component],
    positions: Positions = "all",
) -> Float[torch.Tensor, "batch d_vocab"]:
    """Logits at the last position of `edited`, with the writes of `components` taken from `base`.

    Both models read the same token ids (of one length, no padding). With `positions="decision"` writes are
    exchanged at the last position only. Give the models the other way round to put an edit's components into
    the base. No components: the plain logits of `edited`; all heads and MLPs: those of `base`, as long as
    embedding, norms and unembedding are equal. Many sets at once: `exchange`.

    Raises `InputError` for models of different shapes or components that they lack.
    """
    _check_shapes(edited, base)
    weights = _weights(edited, base)
    with recorded(base.network) as (inputs, outputs):
        base.network(token_ids.to(base.device), logits_to_keep=1)
    patches = {}
    for site, mask in masks(edited.config, [tuple(components)]).items():
        patches[site] = SitePatch(
            mask.to(edited.device), inputs[site], outputs[site], weights[site][0], weights[site][1]
        )
    if positions == "all":
        with patched(edited.network, patches):
            return edited.network(token_ids.to(edited.device), logits_to_keep=1).logits[:, -1]
    layers = run_prefix(edited.network, token_ids[:, :-1].to(edited.device))
    last = {
        site: SitePatch(p.mask, p.inputs[:, -1:], p.outputs[:, -1:], p.weight, p.source_weight)
        for site, p in patches.items()
    }
    with patched(edited.network, last):
        return run_tail(edited.network, token_ids[:, -1:].to(edited.device), layers)[:, -1]


def _weights(run: StoryModel, source: StoryModel) -> Weights:
    """Each site's effective matrix in the running model, and the source's where it is another one."""
    found: dict[Site, tuple[torch.Tensor, torch.Tensor | None]] = {}
    others = writers(source.network)
    for site, module in writers(run.network).items():
        own = module.weight.detach()
        other = own if source is run else others[site].weight.detach()
        found[site] = (own, None if source is run or torch.equal(own, other) else other)
    return found


def _check(run: Reading, source: Reading) -> None:
    _check_shapes(run.model, source.model)
    if run.positions != source.positions:
        raise InputError(
            f"One reading is for the positions {run.positions!r}, the other for {source.positions!r}: "
            "read both alike."
        )


def _check_shapes(run: StoryModel, source: StoryModel) -> None:
    one, other = run.config, source.config
    for name in ("architecture", "n_layers", "n_heads", "d_head", "d_mlp", "d_model", "d_vocab"):
        if getattr(one, name) != getattr(other, name):
            raise InputError(
                f"Activations cannot be exchanged: {run.name} has {name} = {getattr(one, name)}, "
                f"{source.name} has {getattr(other, name)}."
            )
