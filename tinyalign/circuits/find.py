"""`find_circuit`: which few components carry a property, or an edit's effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinyalign.circuits.attribution import attribution, direct_attribution, of_component, write_gradients
from tinyalign.circuits.components import Component, Kind, all_components
from tinyalign.circuits.drawing import (
    RANDOM_PROMPTS,
    Drawn,
    draw,
    embeds_positions,
    pair_of,
    random_effect,
)
from tinyalign.circuits.effects import mean_interval, share_interval
from tinyalign.circuits.localization import ComponentEffect, EffectKind, Localization
from tinyalign.circuits.reading import Positions, read
from tinyalign.circuits.search import Sides, greedy
from tinyalign.circuits.sensitivity import find_sites
from tinyalign.common.errors import InputError, unknown_name
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.contrast import ADMISSION_LOWER_BOUND, ADMISSION_NATS
from tinyalign.properties.definition import Property
from tinyalign.statistics.interval import Interval
from tinyalign.stories.grammar.lexicon import Split

LEAST_EDIT_NATS = 0.1
_NEURONS = 32
_SHORTLIST = 12


def find_circuit(
    model: StoryModel,
    prop: Property,
    *,
    pair: str | None = None,
    effect: EffectKind = "contrast",
    base: StoryModel | None = None,
    parts: Kind = "mlp",
    n: int = 64,
    n_fit: int | None = None,
    seed: int = 0,
    max_components: int = 8,
    target: float = 0.9,
    positions: Positions | None = None,
    held_out: Split | None = None,
    mix: Mapping[str, Split] | None = None,
    random_count: int = 200,
) -> Localization:
    """The few components that carry a property's effect, chosen on training prompts, measured on `n`.

    `effect`: "contrast": whose writes, exchanged between the clean and the corrupted prompt, carry the
    difference in log p(S) - log p(V) between the two? `positions` is "decision" by default: writes are
    exchanged at the last token of the prompt and at the words' own tokens. These are the same tokens on both
    sides whatever the lengths before them (in `ternary`, a quarter of the pairs have unequal lengths), so no
    prompt is left out, and all heads and MLPs together carry exactly the whole effect; what earlier tokens
    contribute shows as the heads that fetch it. With "all", prompts of equal length are taken and writes are
    exchanged at every position. "edit": `model` is the edited one and `base` what it was made from: whose
    writes, put back from the base, undo the change of preference on clean prompts? At "all" positions by
    default (both read the same tokens). "sensitivity": where could a property be installed? See
    `tinyalign.circuits.sensitivity.find_sites`.

    `parts` "mlp" chooses among heads and whole MLPs, "neuron" among heads and single neurons. Components are
    added until the mean of the shares restored and lost reaches `target`. Held-out prompts are of the split
    `held_out` ("test"; for "sensitivity", which an edit is chosen by, "development"), with slots or frames
    from others by `mix`. GPT-Neo embeds positions, so that only prompts of equal length are taken there.

    Raises `InputError` where there is nothing to localise: a property that is not present (mean contrast
    below .5 nats, or its interval reaching below .25, on the held-out prompts), or an edit that moves the
    preference by less than .1 nats; and for arguments that do not fit.
    """
    if effect not in ("contrast", "edit", "sensitivity"):
        raise unknown_name("effect", effect, ["contrast", "edit", "sensitivity"])
    if parts not in ("mlp", "neuron"):
        raise InputError(
            f"A circuit is made of heads and parts of the kind 'mlp' or 'neuron', not {parts!r}."
        )
    if max_components < 1 or random_count < 1 or not 0 < target <= 1:
        raise InputError(
            f"max_components ({max_components}) and random_count ({random_count}) must be positive, target "
            f"({target}) a share above 0."
        )
    if (base is not None) != (effect == "edit"):
        raise InputError("A base model is needed for effect='edit', and for nothing else.")
    chosen = pair_of(prop, pair)
    if effect == "sensitivity":
        return find_sites(
            model,
            prop,
            pair=chosen.name,
            n=n,
            n_fit=192 if n_fit is None else n_fit,
            seed=seed,
            max_components=max_components,
            held_out=held_out or "development",
            mix=mix,
            random_count=random_count,
        )
    where = positions or ("decision" if effect == "contrast" else "all")
    equal = effect == "contrast" and (where == "all" or embeds_positions(model))
    fit = draw(model, prop, chosen, "train", 48 if n_fit is None else n_fit, seed, equal)
    test = draw(model, prop, chosen, held_out or "test", n, seed, equal, mix)
    measured = _sides(test, base, where)
    total = mean_interval(measured.wholes)
    _check_total(model, prop, chosen.name, effect, total, test)
    fitted = _sides(fit, base, where)
    neurons = _neurons(fitted) if parts == "neuron" else ()
    candidates = (*all_components(model.config, ("head",) if neurons else ("head", "mlp")), *neurons)
    found, _ = greedy(fitted.scores, candidates, target, max_components, _SHORTLIST)
    if not found:
        raise InputError(
            f"No component of {model.name} carries a share of {prop.id} ({chosen.name}) alone on "
            f"{fit.identity.n} training prompts: give more prompts by n_fit, or look at parts='neuron'."
        )
    components = tuple(sorted(found, key=lambda component: component.order))
    shown = sorted({*all_components(model.config), *neurons[:_SHORTLIST], *components}, key=lambda c: c.order)
    few = _sides(test, base, where, RANDOM_PROMPTS)

    def shares(sets: Sequence[tuple[Component, ...]]) -> np.ndarray:
        return few.restored(sets) / float(few.wholes.mean())

    return Localization(
        kind=effect,
        property_id=prop.id,
        property_name=prop.name,
        pair=chosen.name,
        model=model.name,
        model_sha256=model.sha256,
        base_sha256=None if base is None else base.sha256,
        positions=where,
        fit=fit.identity,
        held_out=test.identity,
        components=components,
        total=total,
        effect=share_interval(measured.restored([components])[0], measured.wholes),
        lost=share_interval(measured.lost([components])[0], measured.wholes),
        per_component=_alone(measured, shown),
        random=random_effect(model.config, components, random_count, seed, shares),
        seed=seed,
    )


def _sides(drawn: Drawn, base: StoryModel | None, positions: Positions, most: int | None = None) -> Sides:
    clean = drawn.side("clean", most)
    if base is None:
        other = read(drawn.model, drawn.side("corrupted", most), positions)
    else:
        other = read(base, clean, positions)
    return Sides(read(drawn.model, clean, positions), other)


def _neurons(sides: Sides) -> tuple[Component, ...]:
    """The neurons whose exchange should restore most by the gradient (mean over prompts), the best first."""
    config = sides.target.model.config
    table = attribution(sides.target, sides.source, write_gradients(sides.target))
    known = all_components(config, ("neuron",))
    effects = np.concatenate(
        [table[s].mean(0) for s in sorted(table, key=lambda s: s.order) if s.kind == "mlp"]
    )
    signed = effects * float(np.sign(sides.wholes.mean()))
    return tuple(known[i] for i in np.argsort(-signed, kind="stable")[:_NEURONS])


def _alone(sides: Sides, components: Sequence[Component]) -> tuple[ComponentEffect, ...]:
    sets = [(component,) for component in components]
    restored, lost, d_head = sides.restored(sets), sides.lost(sets), sides.target.model.config.d_head
    first_order = attribution(sides.target, sides.source, write_gradients(sides.target))
    source, target = direct_attribution(sides.source), direct_attribution(sides.target)
    direct = {site: source[site] - target[site] for site in source}
    return tuple(
        ComponentEffect(
            component=component,
            effect=share_interval(restored[i], sides.wholes),
            lost=share_interval(lost[i], sides.wholes),
            direct=float(of_component(direct, component, d_head).mean()),
            first_order=float(of_component(first_order, component, d_head).mean()),
        )
        for i, component in enumerate(components)
    )


def _check_total(
    model: StoryModel, prop: Property, pair: str, effect: EffectKind, total: Interval, drawn: Drawn
) -> None:
    if effect == "edit":
        if abs(total.estimate) < LEAST_EDIT_NATS or total.contains(0.0):
            raise InputError(
                f"The edit moves the preference of {prop.id} ({pair}) by {total.estimate:+.2f} nats "
                f"[{total.low:+.2f}, {total.high:+.2f}] on {drawn.identity.n} clean prompts, where at least "
                f"{LEAST_EDIT_NATS} is needed: there is nothing to localise."
            )
        return
    if total.estimate >= ADMISSION_NATS and total.low > ADMISSION_LOWER_BOUND:
        return
    others = []
    for name, other in prop.pairs.items():
        if name != pair:
            seen = draw(
                model, prop, other, "test", RANDOM_PROMPTS, drawn.identity.seed, embeds_positions(model)
            )
            nats = float(_sides(seen, None, "decision").wholes.mean())
            others += [f"the pair {name} ({nats:+.2f} nats)"] if nats >= ADMISSION_NATS else []
    advice = f"choose {' or '.join(others)}, or" if others else "choose"
    raise InputError(
        f"{prop.id} ({pair}) is not present in {model.name}: contrast {total.estimate:+.2f} nats "
        f"[{total.low:+.2f}, {total.high:+.2f}] on {drawn.identity.n} prompts, where {ADMISSION_NATS:.2f} or "
        f"more is needed; {advice} the effect sensitivity, which shows where it could be installed."
    )
