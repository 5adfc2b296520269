"""Which matrices an edit may touch, from the names of components."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tinyalign.common.errors import EditError
from tinyalign.edits.tail import blocks
from tinyalign.models import StoryModel

_NAME = re.compile(r"L(\d+)(?:\.(attn|mlp)|H\d+|N\d+)")


@dataclass(frozen=True)
class Sites:
    """`components` as "L1.attn" and "L1.mlp"; `linears` the names of their linear layers in the network.

    `first_layer` is the earliest layer among them, `last_mlp` the latest layer whose MLP is among them (the
    latest layer of all where none is) and `last_mlp_output` that MLP's output matrix.
    """

    components: tuple[str, ...]
    linears: tuple[str, ...]
    first_layer: int
    last_mlp: int
    last_mlp_output: str


def sites_of(model: StoryModel, components: Sequence[str] | None = None) -> Sites:
    """The sites that components name; a head stands for its layer's attention, a neuron for its MLP.

    Without components: attention and MLP of every layer but the first, which reads words more than what they
    say (of the only layer, if there is one). Raises `EditError` for a name that the model has not.
    """
    count = model.config.n_layers
    if components is None:
        layers = range(min(1, count - 1), count)
        components = [f"L{layer}.{part}" for layer in layers for part in ("attn", "mlp")]
    found: dict[tuple[int, str], None] = {}
    for name in components:
        match = _NAME.fullmatch(name)
        if match is None or int(match[1]) >= count:
            raise EditError(
                f"{name!r} names no component of {model.name}: write L0.attn, L0.mlp, L0H0 or L0N0, with "
                f"layers 0 to {count - 1}."
            )
        found[int(match[1]), match[2] or ("attn" if "H" in name else "mlp")] = None
    if not found:
        raise EditError("An edit needs at least one component to act in.")
    parts = sorted(found)
    network: nn.Module = model.network
    prefix = "transformer.h" if type(network).__name__ == "GPTNeoForCausalLM" else "model.layers"
    linears = [f"{prefix}.{layer}.{name}" for layer, part in parts for name in _linears(network, layer, part)]
    mlps = [layer for layer, part in parts if part == "mlp"]
    last = mlps[-1] if mlps else count - 1
    return Sites(
        components=tuple(f"L{layer}.{part}" for layer, part in parts),
        linears=tuple(linears),
        first_layer=parts[0][0],
        last_mlp=last,
        last_mlp_output=f"{prefix}.{last}.{_linears(network, last, 'mlp')[-1]}",
    )


def _linears(network: nn.Module, layer: int, part: str) -> list[str]:
    """Linear layers of a block's attention or MLP by name, in the order they run (the output one last)."""
    block = blocks(network)[layer]
    names = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in names if name.startswith(("self_attn.", "attn.") if part == "attn" else "mlp.")]
