"""`Localization`: the components that carry an effect, as a frozen record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tinyalign.circuits.components import Component
from tinyalign.circuits.reading import Positions
from tinyalign.common.errors import DataError, InputError
from tinyalign.statistics.interval import Interval
from tinyalign.stories.grammar import ContrastPrompt

FORMAT = "tinyalign-localization-1"
EffectKind = Literal["contrast", "edit", "sensitivity"]


@dataclass(frozen=True)
class PromptIdentity:
    """Which prompts something was measured on: enough to draw them again, and a hash to check them by.

    `split` is the grammar's label ("train", "test, frames: train"); `equal_length` says that only prompts
    whose sides have equally many tokens were taken; `texts_sha256` is over all five texts of every prompt in
    order.
    """

    grammar_sha256: str
    split: str
    decision: str
    seed: int
    n: int
    equal_length: bool
    texts_sha256: str

    @classmethod
    def of(
        cls, prompts: Sequence[ContrastPrompt], grammar_sha256: str, seed: int, equal_length: bool
    ) -> PromptIdentity:
        """The identity of these prompts, drawn by `seed`; raises `InputError` where there are none."""
        if not prompts:
            raise InputError("There are no prompts to identify: ask for at least one.")
        texts = json.dumps([prompt.texts() for prompt in prompts], sort_keys=True, ensure_ascii=False)
        return cls(
            grammar_sha256=grammar_sha256,
            split=prompts[0].split,
            decision=prompts[0].decision,
            seed=seed,
            n=len(prompts),
            equal_length=equal_length,
            texts_sha256=hashlib.sha256(texts.encode()).hexdigest(),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class ComponentEffect:
    """One component alone, on held-out prompts.

    `effect` is in the unit of the localization: the share of the difference that its write restores, or the
    nats that a step of it moves; `lost` the share that the other run's write takes away. `direct` is direct
    logit attribution (source minus target, in logits), `first_order` what the gradient predicts (nats).
    `reads` is the share of prompts on which a linear probe at its input tells the clean side from all others.
    """

    component: Component
    effect: Interval
    lost: Interval | None = None
    direct: float | None = None
    first_order: float | None = None
    reads: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields, the component by its name."""
        return {**asdict(self), "component": self.component.name}


@dataclass(frozen=True)
class RandomEffect:
    """The effect of `sets` random sets with as many heads, MLPs and neurons, each a mean over `prompts`
    prompts.

    `outside`: drawn from the components not chosen; otherwise from all, since too few were left. `p95` is the
    95th percentile over sets, `greatest` the largest; unit of the localization.
    """

    sets: int
    prompts: int
    outside: bool
    mean: float
    p95: float
    greatest: float

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class Localization:
    """Which few components carry an effect: chosen on `fit` prompts, measured on `held_out` ones.

    `kind` "contrast": clean against corrupted prompts in one model; "edit": an edited model (`model`) against
    its base (`base_sha256`) on clean prompts; "sensitivity": where a change of outputs would move the
    preference most. `total` is the mean difference in nats (for "sensitivity" the mean preference log p(S) -
    log p(V) on clean prompts). `effect` is the share of it that the components' writes restore in the
    corrupted (base) run, and `lost` the share that goes when the clean (edited) run gets the other one's
    writes (None for "sensitivity", where `effect` is nats a step). `per_component` has every head and MLP
    alone and the neurons looked at, in the order of layers. `positions`: writes were exchanged at the
    decision token and after ("decision"), or everywhere ("all"). Raises `InputError` on fields that do not
    fit together.
    """

    kind: EffectKind
    property_id: str
    property_name: str
    pair: str
    model: str
    model_sha256: str
    base_sha256: str | None
    positions: Positions
    fit: PromptIdentity
    held_out: PromptIdentity
    components: tuple[Component, ...]
    total: Interval
    effect: Interval
    lost: Interval | None
    per_component: tuple[ComponentEffect, ...]
    random: RandomEffect
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in get_args(EffectKind) or self.positions not in get_args(Positions):
            raise InputError(f"A localization cannot be of {self.kind!r} at {self.positions!r}.")
        if not self.components or len(set(self.components)) != len(self.components):
            raise InputError("A localization names one component or more, each once.")
        if (self.kind == "sensitivity") != (self.lost is None):
            raise InputError("The share lost belongs to contrasts and edits, and to them alone.")
        if (self.kind == "edit") != (self.base_sha256 is not None):
            raise InputError("A base belongs to the localization of an edit, and to that alone.")
        known = {found.component for found in self.per_component}
        missing = [component.name for component in self.components if component not in known]
        if missing:
            raise InputError(f"The localization lacks the single effects of {', '.join(missing)}.")

    @property
    def unit(self) -> str:
        """The unit of `effect`: `share`, or `nats`."""
        return "nats" if self.kind == "sensitivity" else "share"

    def of(self, component: Component) -> ComponentEffect:
        """The effect of one component alone; raises `InputError` for one that was not measured."""
        for found in self.per_component:
            if found.component == component:
                return found
        raise InputError(f"{component} was not measured: known are heads, MLPs and the neurons looked at.")

    def ranked(self) -> list[ComponentEffect]:
        """Single effects, the greatest first."""
        return sorted(self.per_component, key=lambda found: (-found.effect.estimate, found.component.order))

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {
            "format": FORMAT,
            **asdict(self),
            "components": [component.name for component in self.components],
            "per_component": [found.to_json() for found in self.per_component],
            "unit": self.unit,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Localization:
        """What `to_json` wrote; raises `DataError` naming what is missing or malformed."""
        if record.get("format") != FORMAT:
            raise DataError(f"The record is of the format {record.get('format')!r}, expected {FORMAT!r}.")
        try:
            plain = {
                name: record[name]
                for name in cls.__dataclass_fields__
                if name
                not in ("fit", "held_out", "random", "components", "total", "effect", "lost", "per_component")
            }
            return cls(
                **plain,
                fit=PromptIdentity(**record["fit"]),
                held_out=PromptIdentity(**record["held_out"]),
                random=RandomEffect(**record["random"]),
                components=tuple(Component.parse(name) for name in record["components"]),
                total=Interval(**record["total"]),
                effect=Interval(**record["effect"]),
                lost=_interval(record["lost"]),
                per_component=tuple(
                    ComponentEffect(
                        component=Component.parse(one["component"]),
                        effect=Interval(**one["effect"]),
                        lost=_interval(one["lost"]),
                        direct=one["direct"],
                        first_order=one["first_order"],
                        reads=_interval(one["reads"]),
                    )
                    for one in record["per_component"]
                ),
            )
        except (KeyError, TypeError, AttributeError, InputError) as error:
            raise DataError(f"The record is no localization: {' '.join(str(error).split())}.") from error


def _interval(record: Mapping[str, Any] | None) -> Interval | None:
    return None if record is None else Interval(**record)
