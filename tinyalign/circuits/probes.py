"""What components could read: linear probes on the inputs of attention and MLPs, for clean against the
rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float

from tinyalign.circuits.components import Site, writers
from tinyalign.circuits.decisions import Decision
from tinyalign.circuits.forward import recorded
from tinyalign.common.errors import InputError
from tinyalign.models.story_model import StoryModel
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.statistics.interval import Interval

OTHERS = ("corrupted", "role_swap_clean", "role_swap_corrupted")
_PENALTIES = np.logspace(-4, 4, 17)


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear rule over features [d]: positive = clean. `mean` is taken off first, `weights` applied."""

    mean: Float[np.ndarray, " d"]
    weights: Float[np.ndarray, " d"]
    offset: float

    def __call__(self, features: Float[np.ndarray, "sample d"]) -> Float[np.ndarray, " sample"]:
        """Values of the rule."""
        return (features - self.mean) @ self.weights + self.offset


def fit_probe(sides: Mapping[str, Float[np.ndarray, "prompt d"]]) -> Probe:
    """Ridge regression of +1 (clean) and -1 (every other side); clean weighs as much as the others together.

    The penalty is the one of 17 with the least generalised cross-validation error. Raises `InputError` for
    fewer than two prompts. Source: Golub, Heath and Wahba (1979), Technometrics 21, 215-223.
    """
    others = [side for side in sides if side != "clean"]
    if not others or len(sides["clean"]) < 2:
        raise InputError("A probe needs two prompts or more, with a clean side and another one.")
    x = np.concatenate([sides["clean"], *(sides[side] for side in others)])
    if not np.isfinite(x).all():
        raise InputError("The probe's features are not finite numbers: the model is damaged.")
    n = len(sides["clean"])
    y = np.repeat([1.0, -1.0], [n, len(x) - n])
    weight = np.repeat([0.5 / n, 0.5 / (len(x) - n)], [n, len(x) - n])
    mean, centre = weight @ x, float(weight @ y)
    root = np.sqrt(weight * len(x))
    left, singular, right = np.linalg.svd((x - mean) * root[:, None], full_matrices=False)
    target = (y - centre) * root
    along = left.T @ target
    errors, weights = [], []
    for penalty in _PENALTIES * (float(np.mean(singular**2)) or 1.0):
        shrink = singular**2 / (singular**2 + penalty)
        residual = target - left @ (shrink * along)
        errors.append(float(residual @ residual) / (len(x) - 1 - shrink.sum()) ** 2)
        weights.append(right.T @ (singular / (singular**2 + penalty) * along))
    return Probe(mean, weights[int(np.argmin(errors))], centre)


def reads(probe: Probe, sides: Mapping[str, Float[np.ndarray, "prompt d"]]) -> Interval:
    """Share of prompts whose clean side has the highest value of all sides (Clopper-Pearson, 95%).

    Chance is one over the number of sides; a tie with another side counts as not read.
    """
    others = np.max([probe(sides[side]) for side in sides if side != "clean"], axis=0)
    right = probe(sides["clean"]) > others
    return clopper_pearson(int(right.sum()), len(right))


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every layer's components read on one side, one row a prompt, as float64.

    `attention[layer]` [prompt d_model] is the mean over the prompt's positions of the normalised residual
    stream that attention reads (what a head that looks everywhere alike could get), `mlp[layer]` [prompt
    d_model] the normalised stream at the decision token, `neurons[layer]` [prompt d_mlp] the activations that
    the down projection is fed there.
    """

    attention: tuple[Float[np.ndarray, "prompt d_model"], ...]
    mlp: tuple[Float[np.ndarray, "prompt d_model"], ...]
    neurons: tuple[Float[np.ndarray, "prompt d_mlp"], ...]


@torch.no_grad()
def read_inputs(model: StoryModel, decisions: Sequence[Decision]) -> Inputs:
    """`Inputs` at the decision token of each prompt."""
    ids = [(*decision.prefix, decision.tails[0][0]) for decision in decisions]
    layers = model.config.n_layers
    kinds = ("attention", "mlp", "neurons")
    found: dict[tuple[str, int], dict[int, np.ndarray]] = {(k, la): {} for k in kinds for la in range(layers)}
    readers = _readers(model)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    caught: dict[Site, torch.Tensor] = {}

    def catch(site: Site):
        return lambda module, arguments: caught.update({site: arguments[0]})

    handles = [module.register_forward_pre_hook(catch(site)) for site, module in readers.items()]
    try:
        for _, same in groupby(order, key=lambda i: len(ids[i])):
            members = list(same)
            with recorded(model.network) as (inputs, _):
                batch = torch.tensor([ids[i] for i in members], device=model.device)
                model.network(batch, logits_to_keep=1)
            for site, values in caught.items():
                wide = values.double()
                rows = wide.mean(1) if site.kind == "attention" else wide[:, -1]
                found[site.kind, site.layer].update(zip(members, rows.cpu().numpy(), strict=True))
                if site.kind == "mlp":
                    acts = inputs[site][:, -1].double().cpu().numpy()
                    found["neurons", site.layer].update(zip(members, acts, strict=True))
    finally:
        for handle in handles:
            handle.remove()

    def table(kind: str) -> tuple[np.ndarray, ...]:
        return tuple(np.stack([found[kind, layer][i] for i in range(len(ids))]) for layer in range(layers))

    return Inputs(table("attention"), table("mlp"), table("neurons"))


def _readers(model: StoryModel) -> dict[Site, torch.nn.Module]:
    """A linear module at every site that is fed the normalised residual stream."""
    names = {module: name for name, module in model.network.named_modules()}
    found: dict[Site, torch.nn.Module] = {}
    for site, module in writers(model.network).items():
        parent = names[module].rpartition(".")[0]
        candidates = ("v_proj",) if site.kind == "attention" else ("up_proj", "c_fc")
        known = dict(model.network.get_submodule(parent).named_children())
        found[site] = next(known[name] for name in candidates if name in known)
    return found
