"""Check 7, quantisation: an edit of a ternary model survives on the ternary lattice."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from tinyalign.common.errors import DataError, InputError
from tinyalign.models.story_model import StoryModel, make_story_model
from tinyalign.properties.contrast import preferences
from tinyalign.ternary import Quantized, TernaryLinear, ternary_layers
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.clauses import conclude_all, mean_at_least
from tinyalign.verification.hardcoded.drawing import BATCH, DIGITS
from tinyalign.verification.hardcoded.figures import histogram
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row


@register_leaf
@dataclass(frozen=True, kw_only=True)
class Quantisation(Leaf):
    """At least the share `margin` of the effect is left when the edited layers are made ternary again.

    Layers that are ternary in the base and float in the edited model are rounded to the nearest trit at the
    base's scale. An edit that left every ternary layer ternary passes exactly, in one row, and so does any
    edit of a model without ternary layers, which has no lattice to leave (the summary says which). Tested as
    E[left - margin x whole] > 0 on clean test prompts, values cut to +-`clip` nats. Raises `DataError` for a
    margin outside (0, 1] or too few samples.
    """

    margin: float
    samples: int
    clip: float = 5.0

    kind: ClassVar[str] = "quantisation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.margin <= 1 or self.samples < 2:
            raise DataError(
                f"margin {self.margin} must be a share up to 1 and samples {self.samples} at least 2."
            )

    def planned(self, context: Context) -> int:
        """`samples` where layers left the lattice, else one row."""
        return self.samples if loosened(context) else 1

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The edit's effect on clean prompt i (nats), as it is and after rounding."""
        if not loosened(context):
            return [{"ternary": bool(ternary_layers(context.base.network))} for _ in indices]
        prompts = context.prompts(indices)
        base = context.preferences("base", prompts, "clean")
        whole = context.preferences("edited", prompts, "clean") - base
        rounded, _ = preferences(reternarised(context), context.pair, prompts, ("clean",), batch_size=BATCH)
        left = rounded["clean"] - base
        return [
            {"whole": round(float(a), DIGITS), "left": round(float(b), DIGITS)}
            for a, b in zip(whole, left, strict=True)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Established when enough of the effect is left, or where nothing left the lattice."""
        if "whole" not in rows[0]:
            return LeafResult(
                id=self.id,
                kind=self.kind,
                claim=self.claim,
                status="established",
                summary=(
                    "Every layer that was ternary still is, so that there is nothing left to round."
                    if rows[0]["ternary"]
                    else "The base has no ternary layers, so there is no lattice that the edit could leave."
                ),
                estimate=1.0,
                low=1.0,
                high=1.0,
                margin=self.margin,
                direction=">=",
                unit="of the effect",
                n=len(rows),
            )
        whole, left = (np.array([row[part] for row in rows]) for part in ("whole", "left"))
        clause = mean_at_least(
            f"effect after re-ternarising minus {self.margin:g} times the whole",
            left - self.margin * whole,
            0.0,
            self.clip,
            alpha,
            1,
        )
        series = {"as it is": whole, "re-ternarised": left}
        details = {
            "whole": float(whole.mean()),
            "left": float(left.mean()),
            "effect_histogram": histogram(series, "Effect of the edit, prompt by prompt"),
        }
        remark = f"Effect {whole.mean():+.2f} nats, {left.mean():+.2f} after re-ternarising."
        return conclude_all(self, [clause], n=len(rows), alpha=alpha, details=details, remark=remark)


def loosened(context: Context) -> tuple[str, ...]:
    """Names of the layers that are ternary in the base and not in the edited model."""
    return tuple(
        sorted(set(ternary_layers(context.base.network)) - set(ternary_layers(context.edited.network)))
    )


def reternarised(context: Context) -> StoryModel:
    """A copy of the edited model with every loosened layer at the nearest trits of the base's scale.

    Raises `InputError` for a layer that is no plain linear layer any more.
    """
    layers = ternary_layers(context.base.network)
    network = copy.deepcopy(context.edited.network)
    for name in loosened(context):
        plain, old = network.get_submodule(name), layers[name]
        if type(plain) is not nn.Linear:
            raise InputError(
                f"{name} is a {type(plain).__name__}: only a plain linear layer can be re-ternarised."
            )
        scale = old.scale.detach()
        trits = torch.clamp(torch.round(plain.weight.detach().float() / scale), -1, 1)
        if old.bits == 1:
            trits = torch.where(plain.weight.detach() < 0, -1.0, 1.0)
        quantized = Quantized(trits.to(torch.int8), scale.clone(), old.bits)
        layer = TernaryLinear.from_quantized(
            quantized, plain.bias, packing=old.packing, activation_bits=old.activation_bits
        )
        network.set_submodule(name, layer)
    return make_story_model(
        network,
        context.edited.tokenizer,
        source=f"{context.edited.source}, re-ternarised",
        name=f"{context.edited.name} re-ternarised",
        revision=context.edited.revision,
    )
