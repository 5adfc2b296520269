"""Where a property could be installed: components that move the decision and can read the antecedent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from tinyalign.circuits.attribution import write_gradients
from tinyalign.circuits.batched import Place, run_sets
from tinyalign.circuits.components import Component, Site, all_components, masks, site_of, writers
from tinyalign.circuits.drawing import draw, embeds_positions, pair_of, random_effect
from tinyalign.circuits.effects import mean_interval
from tinyalign.circuits.forward import Steer
from tinyalign.circuits.localization import ComponentEffect, Localization
from tinyalign.circuits.probes import OTHERS, Inputs, Probe, fit_probe, read_inputs, reads
from tinyalign.circuits.reading import Reading, read
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.definition import Property
from tinyalign.statistics.interval import Interval
from tinyalign.stories.grammar.lexicon import Split

_SIDES = ("clean", *OTHERS)
_NEURONS = 16
_CHANCE = 1 / len(_SIDES)
_STEP = 0.1
_STEP_PROMPTS = 48
_WORTH = 0.1
_RANDOM_PROMPTS = 16


@dataclass(frozen=True, eq=False)
class Steps:
    """For a component, the step of its write that should raise the preference: a tenth of the write.

    Fitted on training prompts: the direction is the mean gradient on clean prompts at the decision token (for
    a head, its part in the column space of W_O's slice; for a neuron, along or against its own column), the
    length a tenth of the root mean square of the write's norm there.
    """

    reading: Reading
    slopes: Mapping[Site, Float[torch.Tensor, " d_model"]]

    @classmethod
    def fit(cls, reading: Reading) -> Steps:
        """Steps from a reading of clean training prompts."""
        gradients = write_gradients(reading)
        first = reading.first_row
        owners = [p for p, decision in enumerate(reading.decisions) for _ in decision.tails]
        slopes = {}
        for site, rows in gradients.items():
            total = torch.stack([rows[row][0] for row in range(len(owners))]).sum(0)
            slopes[site] = total / len(first)
        return cls(reading, slopes)

    def of(self, component: Component) -> Float[torch.Tensor, " d_model"]:
        """The step [d_model] of one component; zero where it never writes."""
        site = site_of(component)
        weight = writers(self.reading.model.network)[site].weight.detach()
        mask = masks(self.reading.model.config, [(component,)])[site][0].to(weight.device)
        inputs = torch.stack([self.reading.tail_inputs[site][row][0] for row in self.reading.first_row])
        columns = weight[:, mask]
        size = (inputs[:, mask] @ columns.T).pow(2).sum(-1).mean().sqrt()
        slope = self.slopes[site]
        if component.kind != "mlp":
            basis, _ = torch.linalg.qr(columns)
            slope = basis @ (basis.T @ slope)
        norm = slope.norm()
        return torch.zeros_like(slope) if norm == 0 else slope * (_STEP * size / norm)

    def gains(self, reading: Reading, sets: Sequence[tuple[Component, ...]]) -> np.ndarray:
        """Nats [set prompt] by which the preferences of `reading` rise when all components of a set step."""
        different = list(dict.fromkeys(sets))
        offsets: dict[Site, torch.Tensor] = {}
        for component in sorted({c for components in sets for c in components}, key=lambda c: c.order):
            step, site = self.of(component), site_of(component)
            members = torch.tensor([component in components for components in different], device=step.device)
            so_far = offsets.get(site, torch.zeros(len(different), len(step), device=step.device))
            offsets[site] = so_far + members[:, None] * step

        def patches(part: slice, place: Place, names: Sequence[int], packed: bool) -> dict[Site, Steer]:
            return {site: Steer(offset[part], packed) for site, offset in offsets.items()}

        gained = run_sets(reading, len(different), patches) - reading.preferences
        return gained[[different.index(components) for components in sets]]


def find_sites(
    model: StoryModel,
    prop: Property,
    *,
    pair: str | None = None,
    n: int = 64,
    n_fit: int = 192,
    seed: int = 0,
    max_components: int = 8,
    held_out: Split = "development",
    mix: Mapping[str, Split] | None = None,
    random_count: int = 200,
) -> Localization:
    """The components best placed to install a property: most effect on the decision x best able to read.

    The effect of a component is how many nats log p(S) - log p(V) rises, on held-out clean prompts at the
    decision and after it, when its write takes a step of a tenth of its own size along the mean gradient of
    the training prompts (`Steps`; measured by a forward pass, not by the gradient). What it can read is the
    share of held-out prompts on which a linear rule fitted on the training prompts puts the clean side above
    the corrupted and both role-swapped ones (chance is 1/4): on what its layer's heads or MLP are fed, or for
    a neuron on its activation alone. Heads and MLPs are ranked by effect x what they read beyond chance;
    those with at least a tenth of the best score are named, up to `max_components`. 16 neurons stand beside
    the ranking, since an edit that acts in one neuron needs the key and the value in the same place. The rank
    uses the held-out split, which therefore must not be the one that an edit is judged on.

    Raises what `find_circuit` raises.
    """
    chosen = pair_of(prop, pair)
    equal = embeds_positions(model)
    fit = draw(model, prop, chosen, "train", n_fit, seed, equal)
    test = draw(model, prop, chosen, held_out, n, seed, equal, mix)
    steps = Steps.fit(read(model, fit.side("clean", _STEP_PROMPTS)))
    measured = read(model, test.side("clean"))
    inputs = [{side: read_inputs(model, drawn.side(side)) for side in _SIDES} for drawn in (fit, test)]
    neurons = _neurons(steps, inputs[0])
    shown = sorted({*all_components(model.config), *neurons}, key=lambda c: c.order)
    gains = steps.gains(measured, [(component,) for component in shown])
    effects = tuple(
        ComponentEffect(component, mean_interval(gains[i]), reads=_reads(component, *inputs))
        for i, component in enumerate(shown)
    )
    ranked = sorted(
        (one for one in effects if one.component.kind != "neuron"),
        key=lambda one: (-_score(one), one.component.order),
    )
    worth = [one.component for one in ranked if _score(one) >= _WORTH * _score(ranked[0])]
    components = tuple(sorted(worth[:max_components], key=lambda component: component.order))
    few = read(model, test.side("clean", _RANDOM_PROMPTS))
    return Localization(
        kind="sensitivity",
        property_id=prop.id,
        property_name=prop.name,
        pair=chosen.name,
        model=model.name,
        model_sha256=model.sha256,
        base_sha256=None,
        positions="decision",
        fit=fit.identity,
        held_out=test.identity,
        components=components,
        total=mean_interval(measured.preferences),
        effect=mean_interval(steps.gains(measured, [components])[0]),
        lost=None,
        per_component=effects,
        random=random_effect(
            model.config, components, random_count, seed, lambda sets: steps.gains(few, sets)
        ),
        seed=seed,
    )


def _score(effect: ComponentEffect) -> float:
    beyond = 0.0 if effect.reads is None else max(0.0, effect.reads.estimate - _CHANCE)
    return effect.effect.estimate * beyond


def _features(component: Component, inputs: Inputs) -> Float[np.ndarray, "prompt d"]:
    if component.kind == "head":
        return inputs.attention[component.layer]
    if component.kind == "mlp":
        return inputs.mlp[component.layer]
    return inputs.neurons[component.layer][:, [component.index or 0]]


def _probe(component: Component, fit: Mapping[str, Inputs]) -> Probe:
    sides = {side: _features(component, inputs) for side, inputs in fit.items()}
    if component.kind != "neuron":
        return fit_probe(sides)
    # One activation: the threshold half-way between the clean mean and the nearest other side's.
    means = {side: float(values.mean()) for side, values in sides.items()}
    nearest = min((means[side] for side in OTHERS), key=lambda mean: abs(mean - means["clean"]))
    sign = 1.0 if means["clean"] >= nearest else -1.0
    return Probe(np.array([(means["clean"] + nearest) / 2]), np.array([sign]), 0.0)


def _reads(component: Component, fit: Mapping[str, Inputs], test: Mapping[str, Inputs]) -> Interval:
    probe = _probe(component, fit)
    return reads(probe, {side: _features(component, inputs) for side, inputs in test.items()})


def _neurons(steps: Steps, fit: Mapping[str, Inputs]) -> tuple[Component, ...]:
    """Neurons whose clean activation differs most from every other side's, times what it moves (fit
    prompts)."""
    model = steps.reading.model
    modules = writers(model.network)
    scores: list[np.ndarray] = []
    for layer in range(model.config.n_layers):
        site = Site(layer, "mlp")
        clean = fit["clean"].neurons[layer]
        gap = np.min([np.abs(clean.mean(0) - fit[side].neurons[layer].mean(0)) for side in OTHERS], axis=0)
        scores.append(gap * (steps.slopes[site] @ modules[site].weight.detach()).abs().double().cpu().numpy())
    known = all_components(model.config, ("neuron",))
    return tuple(known[i] for i in np.argsort(-np.concatenate(scores), kind="stable")[:_NEURONS])
