"""Sets of components that cannot change a run, found without running them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from tinyalign.circuits.components import Component, Site, check_components, site_of
from tinyalign.circuits.reading import Reading

Weights = Mapping[Site, tuple[torch.Tensor, torch.Tensor | None]]


def simplify(
    run: Reading, source: Reading, weights: Weights, sets: Sequence[Iterable[Component]]
) -> tuple[list[tuple[Component, ...]], list[int | None]]:
    """(sets to run, for each given set the number of the one that stands for it, None for the plain run).

    Exact: a component at a site before the first one whose writes differ between the two runs does nothing
    when exchanged, and a set in which no component's write differs leaves the run as it is. (A component
    without a difference of its own *behind* one that differs may act: it keeps the source's write while its
    surroundings change.)
    """
    differing = _differences(run, source, weights)
    begin = min((site.order for site, mask in differing.items() if bool(mask.any())), default=None)
    numbers: dict[tuple[Component, ...], int] = {}
    index: list[int | None] = []
    for components in sets:
        own = check_components(run.model.config, components)
        kept = tuple(c for c in own if begin is not None and site_of(c).order >= begin)
        whole = {c.layer for c in kept if c.kind == "mlp"}
        kept = tuple(c for c in kept if c.kind != "neuron" or c.layer not in whole)
        if not any(_differs(differing, component, run.model.config.d_head) for component in kept):
            index.append(None)
        else:
            index.append(numbers.setdefault(kept, len(numbers)))
    return list(numbers), index


def _differs(differing: Mapping[Site, torch.Tensor], component: Component, d_head: int) -> bool:
    mask = differing[site_of(component)]
    if component.index is None:
        return bool(mask.any())
    if component.kind == "head":
        return bool(mask[component.index * d_head : (component.index + 1) * d_head].any())
    return bool(mask[component.index])


def _differences(run: Reading, source: Reading, weights: Weights) -> dict[Site, torch.Tensor]:
    """Which inputs [d_in] of each site's module write something else in the two runs, anywhere."""
    found: dict[Site, torch.Tensor] = {}
    stores = [(run.tail_inputs, source.tail_inputs, run.tail_outputs, source.tail_outputs)]
    if run.positions == "all":
        stores.append((run.prefix_inputs, source.prefix_inputs, run.prefix_outputs, source.prefix_outputs))
    for site, (own, other) in weights.items():
        mask = torch.zeros(own.shape[1], dtype=torch.bool, device=own.device)
        output = False
        for run_in, source_in, run_out, source_out in stores:
            for name, values in run_in[site].items():
                mask |= (values != source_in[site][name]).any(0)
                output |= not torch.equal(run_out[site][name], source_out[site][name])
        if other is not None:
            mask |= (own != other).any(0)
        # A bias that differs belongs to no single input: count the whole site as differing.
        found[site] = mask if bool(mask.any()) or not output else torch.ones_like(mask)
    return found
