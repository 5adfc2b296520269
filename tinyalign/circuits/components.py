"""The parts of a network that a circuit is made of: attention heads, MLPs, and single MLP neurons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.models.config import ModelConfig

Kind = Literal["head", "mlp", "neuron"]
KINDS: tuple[Kind, ...] = ("head", "mlp", "neuron")

_NAME = re.compile(r"L(?P<layer>\d+)(?:H(?P<head>\d+)|\.(?P<mlp>mlp)|N(?P<neuron>\d+))")


@dataclass(frozen=True)
class Component:
    """An attention head `L2H3`, a whole MLP `L3.mlp`, or one neuron of an MLP `L3N17` (counted from 0).

    What a component does is what it *writes* to the residual stream: for a head its slice of the output
    projection's input times the matching columns of W_O, for a neuron its activation times its column of the
    down projection, for an MLP the down projection's whole output. Raises `InputError` for an impossible
    layer or index.
    """

    kind: Kind
    layer: int
    index: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.layer < 0:
            raise InputError(f"A component is a {', '.join(KINDS)} of a layer from 0 up, not {self!r}.")
        if (self.index is None) != (self.kind == "mlp") or (self.index is not None and self.index < 0):
            raise InputError(
                f"Heads and neurons have an index from 0 up, whole MLPs none: {self!r} is wrong."
            )

    @property
    def name(self) -> str:
        """`L2H3`, `L3.mlp` or `L3N17`."""
        return (
            f"L{self.layer}"
            + {
                "head": f"H{self.index}",
                "mlp": ".mlp",
                "neuron": f"N{self.index}",
            }[self.kind]
        )

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, name: str) -> Component:
        """The component of that name; raises `InputError` for a name of another form."""
        found = _NAME.fullmatch(name.strip())
        if found is None:
            raise InputError(
                f"{name!r} names no component: write a head as L2H3, an MLP as L3.mlp, a neuron as L3N17."
            )
        layer = int(found["layer"])
        if found["mlp"]:
            return cls("mlp", layer)
        return (
            cls("head", layer, int(found["head"]))
            if found["head"]
            else cls("neuron", layer, int(found["neuron"]))
        )

    @property
    def order(self) -> tuple[int, int, int]:
        """A sorting key: by layer, heads before MLPs before neurons, by index."""
        return self.layer, KINDS.index(self.kind), -1 if self.index is None else self.index


@dataclass(frozen=True)
class Site:
    """Where components of a layer write: `attention` (the output projection) or `mlp` (the down
    projection)."""

    layer: int
    kind: Literal["attention", "mlp"]

    @property
    def order(self) -> int:
        """Place in the order of computation, from 0: attention before MLP in each layer."""
        return 2 * self.layer + (self.kind == "mlp")


def site_of(component: Component) -> Site:
    """The site that a component writes at."""
    return Site(component.layer, "attention" if component.kind == "head" else "mlp")


def writers(network: nn.Module) -> dict[Site, nn.Linear]:
    """The linear module at every site, in the order of computation.

    Raises `InputError` for an architecture that is neither Llama-like nor GPT-Neo.
    """
    name = type(network).__name__
    if name == "GPTNeoForCausalLM":
        paths = ("transformer.h", "attn.attention.out_proj", "mlp.c_proj")
    elif name in ("LlamaForCausalLM", "BitNetForCausalLM"):
        paths = ("model.layers", "self_attn.o_proj", "mlp.down_proj")
    else:
        raise InputError(f"Circuits are found in Llama, BitNet and GPT-Neo networks, not in {name}.")
    found: dict[Site, nn.Linear] = {}
    blocks = network.get_submodule(paths[0])
    for layer, (_, block) in enumerate(blocks.named_children()):
        for kind, path in (("attention", paths[1]), ("mlp", paths[2])):
            module = block.get_submodule(path)
            if not isinstance(module, nn.Linear):
                raise InputError(f"Layer {layer} of {name} has no linear {path}, which circuits need.")
            found[Site(layer, "attention" if kind == "attention" else "mlp")] = module
    return found


def all_components(config: ModelConfig, kinds: Sequence[Kind] = ("head", "mlp")) -> tuple[Component, ...]:
    """Every component of these kinds, in the order of `Component.order`."""
    found = [Component("mlp", layer) for layer in range(config.n_layers) if "mlp" in kinds]
    indexed: tuple[tuple[Kind, int], ...] = (("head", config.n_heads), ("neuron", config.d_mlp))
    for kind, count in indexed:
        if kind in kinds:
            found += [Component(kind, layer, i) for layer in range(config.n_layers) for i in range(count)]
    return tuple(sorted(found, key=lambda component: component.order))


def check_components(config: ModelConfig, components: Iterable[Component]) -> tuple[Component, ...]:
    """The components in order, each once; raises `InputError` for one that the model does not have."""
    limits = {"head": config.n_heads, "neuron": config.d_mlp, "mlp": 1}
    for component in components:
        if component.layer >= config.n_layers or (component.index or 0) >= limits[component.kind]:
            raise InputError(
                f"The model has no {component}: it has {config.n_layers} layers of {config.n_heads} heads "
                f"and {config.d_mlp} neurons, counted from 0."
            )
    return tuple(sorted(set(components), key=lambda component: component.order))


def masks(
    config: ModelConfig, sets: Sequence[Iterable[Component]]
) -> dict[Site, Bool[torch.Tensor, "set d_in"]]:
    """Which inputs of each site's linear module belong to each set of components (only sites with any)."""
    widths = {"attention": config.n_heads * config.d_head, "mlp": config.d_mlp}
    found: dict[Site, torch.Tensor] = {}
    for row, components in enumerate(sets):
        for component in check_components(config, components):
            site = site_of(component)
            if site not in found:
                found[site] = torch.zeros(len(sets), widths[site.kind], dtype=torch.bool)
            if component.index is None:
                found[site][row] = True
            elif component.kind == "head":
                found[site][row, component.index * config.d_head : (component.index + 1) * config.d_head] = (
                    True
                )
            else:
                found[site][row, component.index] = True
    return dict(sorted(found.items(), key=lambda item: item[0].order))


def random_sets(
    config: ModelConfig,
    like: Iterable[Component],
    n: int,
    seed: int,
    outside: bool = True,
) -> tuple[tuple[Component, ...], ...]:
    """`n` random sets with as many heads, MLPs and neurons as `like` has, without replacement in a set.

    They are drawn from the components that are not in `like` (`outside`, so that no set borrows the effect of
    what it is compared with), or from all. A neuron inside an MLP of `like` counts as inside. Set i depends
    on (seed, i) alone. Raises `InputError` where fewer components are left than are to be drawn.
    """
    chosen = check_components(config, like)
    whole = {component.layer for component in chosen if component.kind == "mlp"}
    wanted: Counter[Kind] = Counter(component.kind for component in chosen)
    pools: dict[Kind, list[Component]] = {}
    for kind, count in wanted.items():
        pool = [
            component
            for component in all_components(config, (kind,))
            if not outside
            or (component not in chosen and not (kind == "neuron" and component.layer in whole))
        ]
        if len(pool) < count:
            raise InputError(
                f"{count} random components of kind {kind} were asked for, but only {len(pool)} are left"
                f"{' outside the circuit' if outside else ''}: draw from all, or take a smaller circuit."
            )
        pools[kind] = pool
    drawn = []
    for i in range(n):
        rng = np.random.default_rng(derive_seed("random components", seed, i))
        picked = [
            pool[j]
            for kind, pool in pools.items()
            for j in rng.choice(len(pool), wanted[kind], replace=False)
        ]
        drawn.append(tuple(sorted(picked, key=lambda component: component.order)))
    return tuple(drawn)
