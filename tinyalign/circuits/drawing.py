"""Prompts to localise on, and random components to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinyalign.circuits.components import Component, random_sets
from tinyalign.circuits.decisions import Decision, encode_side
from tinyalign.circuits.localization import PromptIdentity, RandomEffect
from tinyalign.common.errors import InputError, unknown_name
from tinyalign.common.seeds import derive_seed
from tinyalign.models.config import ModelConfig
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.stories.grammar import ContrastPrompt, sample_equal_length
from tinyalign.stories.grammar.lexicon import Split

# Sets whose mean effect is compared run on so many prompts: their 95th percentile hardly moves with more.
RANDOM_PROMPTS = 32


@dataclass(frozen=True, eq=False)
class Drawn:
    """Prompts with their identity, for one pair and model."""

    model: StoryModel
    pair: LogitPair
    prompts: tuple[ContrastPrompt, ...]
    identity: PromptIdentity

    def side(self, side: str, most: int | None = None) -> tuple[Decision, ...]:
        """The decisions of (at most `most` of) the prompts on one side."""
        return encode_side(self.model, self.pair, self.prompts[:most], side)


def pair_of(prop: Property, name: str | None) -> LogitPair:
    """The property's pair of that name, or its primary one; raises `UnknownNameError`."""
    name = name or prop.primary
    if name not in prop.pairs:
        raise unknown_name(f"logit pair of {prop.name}", name, list(prop.pairs))
    return prop.pairs[name]


def draw(
    model: StoryModel,
    prop: Property,
    pair: LogitPair,
    split: Split,
    n: int,
    seed: int,
    equal_length: bool,
    mix: Mapping[str, Split] | None = None,
) -> Drawn:
    """`n` prompts of a split, some slots (or "frames") from another one by `mix`.

    Raises `InputError` for n < 2 or more than there are, `UnknownNameError` for an unknown split or slot.
    """
    if n < 2:
        raise InputError(f"Localising needs two prompts or more on each split, but n is {n}.")
    other: dict[str, Split] = {} if mix is None else dict(mix)
    space = prop.prompts.space(split, pair.decision, **other)
    prompts = sample_equal_length(space, n, seed, model.encode) if equal_length else space.sample(n, seed)
    identity = PromptIdentity.of(prompts, prop.prompts.sha256, seed, equal_length)
    return Drawn(model, pair, tuple(prompts), identity)


def embeds_positions(model: StoryModel) -> bool:
    """Whether a token's place is in the residual stream, so that tails match only at equal lengths."""
    return model.config.architecture == "GPTNeoForCausalLM"


def random_effect(
    config: ModelConfig,
    components: Sequence[Component],
    sets: int,
    seed: int,
    measure: Callable[[Sequence[tuple[Component, ...]]], np.ndarray],
) -> RandomEffect:
    """The effect of random sets of the same number; `measure` gives one value a set and prompt [set prompt].

    Drawn outside the components given, or from all of them where too few are left outside.
    """
    purpose = derive_seed("random circuits", seed)
    try:
        drawn, outside = random_sets(config, components, sets, purpose), True
    except InputError:
        drawn, outside = random_sets(config, components, sets, purpose, outside=False), False
    values = measure(drawn)
    means = values.mean(-1)
    return RandomEffect(
        sets=sets,
        prompts=values.shape[1],
        outside=outside,
        mean=float(means.mean()),
        p95=float(np.quantile(means, 0.95)),
        greatest=float(means.max()),
    )
