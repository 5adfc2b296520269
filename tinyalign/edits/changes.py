"""What an edit changes in one matrix: which entries, what stood there, what stands there now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from tinyalign.common.errors import EditError
from tinyalign.ternary import TernaryLinear

ChangeKind = Literal["trits", "floats"]


@dataclass(frozen=True, eq=False)
class MatrixChange:
    """A sparse difference of one tensor.

    `tensor` names it in the network: a ternary layer ("model.layers.2.mlp.down_proj") for kind "trits", a
    parameter ("model.embed_tokens.weight") for kind "floats". `indices` are flat, row by row, strictly
    increasing; `old` and `new` are trits (int8) or float32 values. Raises `EditError` where they do not fit
    together or nothing changes.
    """

    tensor: str
    kind: ChangeKind
    shape: tuple[int, ...]
    indices: Int[np.ndarray, " k"]
    old: Int[np.ndarray, " k"] | Float[np.ndarray, " k"]
    new: Int[np.ndarray, " k"] | Float[np.ndarray, " k"]

    def __post_init__(self) -> None:
        if not len(self.indices) == len(self.old) == len(self.new) > 0:
            raise EditError(
                f"The change of {self.tensor} must name at least one entry, with its old and new."
            )
        if (np.diff(self.indices) <= 0).any() or self.indices[0] < 0 or self.indices[-1] >= self.size:
            raise EditError(
                f"The change of {self.tensor} names entries out of order or outside its shape {self.shape}."
            )
        if self.kind == "trits" and not set(np.unique(self.new)) <= {-1, 0, 1}:
            raise EditError(
                f"The change of {self.tensor} writes values that are no trits: expected -1, 0, 1."
            )
        if not np.isfinite(self.new.astype(np.float64)).all():
            raise EditError(f"The change of {self.tensor} writes values that are not finite.")
        if (self.old == self.new).any():
            raise EditError(f"The change of {self.tensor} names entries that it does not change.")

    @property
    def size(self) -> int:
        """Entries of the whole tensor."""
        return int(np.prod(self.shape))

    @property
    def count(self) -> int:
        """Entries changed."""
        return len(self.indices)

    def write(self, network: nn.Module, *, undo: bool = False) -> None:
        """Put the new (or, to undo, the old) values in place.

        Raises `EditError` where the network has no such tensor, or something else stands there than the
        change says: an edit of another base.
        """
        expected, values = (self.new, self.old) if undo else (self.old, self.new)
        current = read_tensor(network, self.tensor, self.kind)
        if tuple(current.shape) != self.shape:
            raise EditError(
                f"{self.tensor} has the shape {tuple(current.shape)}, the edit was made for {self.shape}: "
                "apply it to its own base."
            )
        flat = current.reshape(-1)
        at = torch.from_numpy(self.indices.astype(np.int64)).to(flat.device)
        if not np.array_equal(flat[at].cpu().numpy(), expected.astype(flat.cpu().numpy().dtype)):
            raise EditError(
                f"{self.tensor} does not hold what the edit expects there: apply it to its own base, once."
            )
        flat[at] = torch.from_numpy(values).to(flat)
        write_tensor(network, self.tensor, self.kind, flat.reshape(self.shape))


def read_tensor(network: nn.Module, name: str, kind: ChangeKind) -> torch.Tensor:
    """A copy of the trits (int8) of a layer, or of a parameter; raises `EditError` where there is none."""
    if kind == "trits":
        layer = _modules(network).get(name)
        if not isinstance(layer, TernaryLinear):
            raise EditError(f"The network has no ternary layer {name}: the edit belongs to another base.")
        return layer.trits
    parameter = dict(network.named_parameters()).get(name)
    if parameter is None:
        raise EditError(f"The network has no parameter {name}: the edit belongs to another base.")
    return parameter.detach().clone()


@torch.no_grad()
def write_tensor(network: nn.Module, name: str, kind: ChangeKind, values: torch.Tensor) -> None:
    """Set all trits of a layer, or all of a parameter, in place."""
    if kind == "trits":
        layer = _modules(network)[name]
        if isinstance(layer, TernaryLinear):
            layer.set_trits(values)
        return
    dict(network.named_parameters())[name].copy_(values)


def difference(before: nn.Module, after: nn.Module) -> tuple[MatrixChange, ...]:
    """Every tensor in which two networks of one architecture differ, in the order of names.

    Raises `EditError` where they do not have the same tensors.
    """
    changes: list[MatrixChange] = []
    old_layers, new_layers = _ternary(before), _ternary(after)
    old_floats, new_floats = _floats(before), _floats(after)
    if old_layers.keys() != new_layers.keys() or old_floats.keys() != new_floats.keys():
        raise EditError("The two networks do not have the same tensors: only edits of one model compare.")
    for name, old in old_layers.items():
        if not torch.equal(old.scale, new_layers[name].scale):
            raise EditError(f"The scale of {name} differs: an edit of trits keeps every scale.")
        changes += _change(name, "trits", old.trits, new_layers[name].trits)
    for name, old in old_floats.items():
        changes += _change(name, "floats", old.detach(), new_floats[name].detach())
    return tuple(sorted(changes, key=lambda change: change.tensor))


def _change(name: str, kind: ChangeKind, old: torch.Tensor, new: torch.Tensor) -> list[MatrixChange]:
    if old.shape != new.shape:
        raise EditError(f"{name} has the shapes {tuple(old.shape)} and {tuple(new.shape)}.")
    first, second = old.cpu().numpy().reshape(-1), new.cpu().numpy().reshape(-1)
    at = np.flatnonzero(first != second)
    if not len(at):
        return []
    return [MatrixChange(name, kind, tuple(old.shape), at, first[at].copy(), second[at].copy())]


def _modules(network: nn.Module) -> Mapping[str, nn.Module]:
    return dict(network.named_modules())


def _ternary(network: nn.Module) -> dict[str, TernaryLinear]:
    return {name: m for name, m in network.named_modules() if isinstance(m, TernaryLinear)}


def _floats(network: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter that is not a ternary layer's weight (its bias is one)."""
    return dict(network.named_parameters(remove_duplicate=True))
