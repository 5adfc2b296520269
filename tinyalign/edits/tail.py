"""The last layers of a network, run again and again on what the layers before them gave once."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import nn

from tinyalign.circuits.forward import final_norm
from tinyalign.models.caching import NAMES


@dataclass(frozen=True, eq=False)
class Tail:
    """What enters layer `start` for some token ids, so that later layers can be run without the earlier.

    `last` holds one position a row to unembed, or None for all of them.
    """

    start: int
    hidden: Float[torch.Tensor, "rows pos d_model"]
    options: Mapping[str, Any]
    last: Int[torch.Tensor, " rows"] | None

    def log_probs(self, network: nn.Module) -> Float[torch.Tensor, "*out d_vocab"]:
        """Log-probabilities [rows d_vocab] at `last`, or [rows pos d_vocab]; gradients flow."""
        hidden = self.hidden
        for block in blocks(network)[self.start :]:
            output = block(hidden, **self.options)
            hidden = output if isinstance(output, torch.Tensor) else output[0]
        if self.last is not None:
            hidden = hidden[torch.arange(len(hidden), device=hidden.device), self.last]
        unembed = network.get_submodule("lm_head")
        return unembed(final_norm(network)(hidden)).float().log_softmax(-1)


def blocks(network: nn.Module) -> nn.ModuleList:
    """The transformer blocks in order."""
    name = "transformer.h" if type(network).__name__ == "GPTNeoForCausalLM" else "model.layers"
    found = network.get_submodule(name)
    if not isinstance(found, nn.ModuleList):
        raise TypeError(f"{name} is no list of blocks")
    return found


class _ReachedError(Exception):
    """Thrown by the hook to leave the forward pass once its layer is reached."""


@torch.no_grad()
def tail_of(
    network: nn.Module,
    ids: Int[torch.Tensor, "rows pos"],
    start: int,
    last: Int[torch.Tensor, " rows"] | None = None,
) -> Tail:
    """Run `network` on token ids up to layer `start` and keep what enters it (masks and positions too)."""
    caught: dict[str, Any] = {}

    def catch(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        caught["hidden"] = arguments[0] if arguments else options.pop("hidden_states")
        caught["options"] = {k: v for k, v in options.items() if k not in (*NAMES, "use_cache")}
        raise _ReachedError

    handle = blocks(network)[start].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with contextlib.suppress(_ReachedError):
            network(ids, use_cache=False)
    finally:
        handle.remove()
    return Tail(start, caught["hidden"].detach(), caught["options"], last)
