"""Running a network with eyes and hands on what its components write, by plain module hooks.

No TransformerLens: importing it costs ten seconds. `tests/circuits/test_transformer_lens.py` holds the two
against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import nn
from transformers import DynamicCache

from tinyalign.circuits.components import Site, writers
from tinyalign.models.caching import cache_of, kept_in
from tinyalign.ternary import TernaryLinear

# Keys and values of one layer, each [row head pos d_head].
Layers = list[tuple[torch.Tensor, torch.Tensor]]
WriteHook = Callable[[Site, torch.Tensor, torch.Tensor], torch.Tensor | None]


@dataclass(frozen=True, eq=False)
class SitePatch:
    """What to put in place of some components' writes at one site.

    `mask` [set d_in] marks the inputs of the linear module that belong to the components of each set;
    `inputs` [row pos d_in] are what another run fed to its module there (after int8 quantisation in a ternary
    layer), `outputs` [row pos d_model] what that module gave; `weight` and `source_weight` [d_model d_in] are
    the effective matrices of the two modules, the second None where they are equal.
    """

    mask: Bool[torch.Tensor, "set d_in"]
    inputs: Float[torch.Tensor, "row pos d_in"]
    outputs: Float[torch.Tensor, "row pos d_model"]
    weight: Float[torch.Tensor, "d_model d_in"]
    source_weight: Float[torch.Tensor, "d_model d_in"] | None
    packed: bool = False

    def apply(
        self, x: Float[torch.Tensor, "rows columns d_in"], output: Float[torch.Tensor, "rows columns d_model"]
    ) -> Float[torch.Tensor, "rows columns d_model"]:
        """The output with the write of each set's components exchanged.

        The sets lie along the rows, set-major, or where `packed` along the positions. Every other component's
        write stays as it is, to the bit. Where a set holds the whole site, the other run's output is taken as
        it is, bias included.
        """
        together = "row (set pos) d" if self.packed else "(set row) pos d"
        sets = self.mask.shape[0]
        touched = self.mask.any(-1).nonzero()[:, 0]
        mask = self.mask[touched][:, None, None, :].to(output.dtype)
        result = rearrange(output, f"{together} -> set row pos d", set=sets).clone()
        own = rearrange(x, f"{together} -> set row pos d", set=sets)[touched]
        if self.source_weight is None:
            change = nn.functional.linear((self.inputs[None] - own) * mask, self.weight)
        else:
            change = nn.functional.linear(self.inputs[None] * mask, self.source_weight)
            change = change - nn.functional.linear(own * mask, self.weight)
        result[touched] += change
        result[self.mask.all(-1)] = self.outputs
        return rearrange(result, f"set row pos d -> {together}")


@dataclass(frozen=True, eq=False)
class Steer:
    """A vector to add to what is written at one site: `offset` [set d_model], the same at every position."""

    offset: Float[torch.Tensor, "set d_model"]
    packed: bool = False

    def apply(
        self, x: Float[torch.Tensor, "rows columns d_in"], output: Float[torch.Tensor, "rows columns d_model"]
    ) -> Float[torch.Tensor, "rows columns d_model"]:
        """The output plus each set's vector; sets lie as in `SitePatch.apply`."""
        together = "row (set pos) d" if self.packed else "(set row) pos d"
        apart = rearrange(output, f"{together} -> set row pos d", set=len(self.offset))
        return rearrange(apart + self.offset[:, None, None], f"set row pos d -> {together}")


Patch = SitePatch | Steer


def effective(module: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """The input that the module's product sees: quantised to int8 a token in a ternary layer, else `x`."""
    return module.effective_input(x) if isinstance(module, TernaryLinear) else x


@contextmanager
def write_hooks(network: nn.Module, hook: WriteHook) -> Iterator[None]:
    """Call `hook(site, effective input, output)` at every site; what it returns replaces the output."""

    def at(site: Site) -> Callable[[nn.Module, tuple[Any, ...], torch.Tensor], torch.Tensor | None]:
        def fire(module: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
            return hook(site, arguments[0], output)

        return fire

    handles = [module.register_forward_hook(at(site)) for site, module in writers(network).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def patched(network: nn.Module, patches: Mapping[Site, Patch]) -> Iterator[None]:
    """Inside the block the network writes what `patches` say."""
    modules = writers(network)

    def hook(site: Site, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor | None:
        if site not in patches:
            return None
        return patches[site].apply(effective(modules[site], x), output)

    with write_hooks(network, hook):
        yield


@contextmanager
def recorded(
    network: nn.Module,
) -> Iterator[tuple[dict[Site, torch.Tensor], dict[Site, torch.Tensor]]]:
    """Two mappings that a forward pass in the block fills: effective inputs and outputs of every site."""
    modules = writers(network)
    inputs: dict[Site, torch.Tensor] = {}
    outputs: dict[Site, torch.Tensor] = {}

    def hook(site: Site, x: torch.Tensor, output: torch.Tensor) -> None:
        inputs[site] = effective(modules[site], x).detach()
        outputs[site] = output.detach()

    with write_hooks(network, hook):
        yield inputs, outputs


def run_prefix(network: Any, ids: torch.Tensor) -> Layers:
    """Keys and values of every layer after token ids [row pos]; nothing is unembedded."""
    cache = cache_of(network.base_model(ids, use_cache=True))
    return [(layer.keys, layer.values) for layer in cache.layers]


def run_tail(network: Any, ids: torch.Tensor, layers: Layers) -> Float[torch.Tensor, "row pos d_vocab"]:
    """Logits at token ids [row pos] that come after a prefix with these keys and values."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(layers):
        cache.update(keys, values, layer)
    return network(ids, **kept_in(network, cache)).logits


def packs(network: nn.Module) -> bool:
    """Whether `run_packed` works: not in GPT-Neo, whose windows count columns instead of positions."""
    return type(network).__name__ != "GPTNeoForCausalLM"


def run_packed(
    network: Any, ids: torch.Tensor, sets: int, layers: Layers
) -> Float[torch.Tensor, "set row pos d_vocab"]:
    """Logits of `sets` copies of token ids [row pos] after one prefix, side by side in one row.

    Each copy sees the prefix and itself, at the positions that it would have alone: the same as a batch of
    copies, without a copy of the prefix's keys and values for each.
    """
    width = ids.shape[1]
    start = layers[0][0].shape[2]
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(layers):
        cache.update(keys, values, layer)
    position = (start + torch.arange(width, device=ids.device)).repeat(sets)[None]
    copy = torch.arange(sets, device=ids.device).repeat_interleave(width)
    own = (copy[:, None] == copy[None]) & (position[0][:, None] >= position[0][None])
    visible = torch.cat([torch.ones(len(copy), start, dtype=torch.bool, device=ids.device), own], dim=1)
    dtype = layers[0][0].dtype
    hidden = torch.zeros(visible.shape, dtype=dtype, device=ids.device)
    hidden = hidden.masked_fill(~visible, torch.finfo(dtype).min)[None, None]
    logits = network(
        ids.repeat(1, sets),
        attention_mask=hidden,
        position_ids=position,
        **kept_in(network, cache),
    ).logits
    return rearrange(logits, "row (set pos) d_vocab -> set row pos d_vocab", set=sets)


def select_rows(layers: Layers, rows: Sequence[int] | torch.Tensor) -> Layers:
    """The keys and values of these rows, in this order, repeated where a row is named again."""
    index = torch.as_tensor(rows, device=layers[0][0].device)
    return [(keys[index], values[index]) for keys, values in layers]


def final_norm(network: nn.Module) -> nn.Module:
    """The norm between the residual stream and the unembedding."""
    name = "transformer.ln_f" if type(network).__name__ == "GPTNeoForCausalLM" else "model.norm"
    return network.get_submodule(name)
