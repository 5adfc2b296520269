"""What an edit really changed: two networks compared tensor by tensor, and what that costs to describe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinyalign.models.story_model import StoryModel, in_block
from tinyalign.ternary import TernaryLinear

Part = Literal["embedding", "unembedding", "final norm", "block", "other"]
Sort = Literal["trits", "float", "added", "removed"]


@dataclass(frozen=True)
class TensorChange:
    """One tensor that differs. `name` ends in what it is ("....down_proj.trits"), `module` is its module's.

    `entries` of `total` differ; `sort` says in what: trits, floats, or that only one network has the tensor.
    `bits` describes the change, given the base: see `float_bits`; 0 for trits, which are counted together.
    """

    name: str
    module: str
    part: Part
    sort: Sort
    entries: int
    total: int
    bits: float

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def changes(base: StoryModel, edited: StoryModel) -> tuple[TensorChange, ...]:
    """Every parameter and buffer that differs, in the order of names; tied tensors count once.

    Ternary layers are compared as trits and scale. A layer that is ternary in one network and float in the
    other is compared by its effective weights.
    """
    before, after = _tensors(base.network), _tensors(edited.network)
    for mine, other, owner in ((before, after, base), (after, before, edited)):
        _align(mine, other, owner.network)
    tensors = len(before)
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        part = _part(name, base.network if old is not None else edited.network)
        module = name.rpartition(".")[0]
        if old is None or new is None or old.shape != new.shape:
            # A tensor of another shape is another tensor.
            size = 0 if new is None else new.numel()
            sort: Sort = "removed" if new is None else "added"
            found.append(TensorChange(name, module, part, sort, size, size, 32.0 * size))
            continue
        entries = int((old != new).sum())
        if entries and name.endswith(".trits"):
            found.append(TensorChange(name, module, part, "trits", entries, old.numel(), 0.0))
        elif entries:
            cost = float_bits(old, new) + math.log2(tensors)
            found.append(TensorChange(name, module, part, "float", entries, old.numel(), cost))
    return tuple(found)


def float_bits(old: Tensor, new: Tensor) -> float:
    """Bits that describe a change of floats: the cheaper of single entries and, for a matrix, of low rank.

    Single entries cost log2 C(size, k) for where and their width for what; rank r costs r (m + n) numbers.
    The rank counts singular values above what rounding to the tensors' precision can make.
    """
    width = 8 * new.element_size()
    entries = int((old != new).sum())
    sparse = log2_choose(old.numel(), entries) + width * entries
    if old.ndim != 2 or entries == 0:
        return sparse
    rows, columns = old.shape
    rank = _rank(old, new)
    return min(sparse, float(rank * (rows + columns) * width))


def trit_bits(flipped: int, total: int) -> float:
    """log2 C(N, k) + k: which k of N trits, and to which of the two other values each."""
    return log2_choose(total, flipped) + flipped


def log2_choose(total: int, chosen: int) -> float:
    """log2 of the number of ways to choose `chosen` of `total`."""
    logs = math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
    return logs / math.log(2)


def count_trits(network: nn.Module) -> int:
    """How many trits the network's ternary layers hold."""
    layers = [module for module in network.modules() if isinstance(module, TernaryLinear)]
    return sum(layer.in_features * layer.out_features for layer in layers)


def _rank(old: Float[Tensor, "m n"], new: Float[Tensor, "m n"]) -> int:
    values = torch.linalg.svdvals(new.double() - old.double())
    largest = float(torch.maximum(old.abs().max(), new.abs().max()))
    # Each entry is rounded by up to half an ulp; a random matrix of such errors has about this norm.
    noise = torch.finfo(new.dtype).eps * largest * (math.sqrt(old.shape[0]) + math.sqrt(old.shape[1]))
    return max(1, int((values > noise).sum()))


def _tensors(network: PreTrainedModel) -> dict[str, Tensor]:
    """Everything that the network computes with: name to detached CPU tensor."""
    found: dict[str, Tensor] = {}
    ternary = {name for name, module in network.named_modules() if isinstance(module, TernaryLinear)}
    for name in ternary:
        layer = network.get_submodule(name)
        assert isinstance(layer, TernaryLinear)
        found[f"{name}.trits"] = layer.trits.cpu()
        found[f"{name}.scale"] = layer.scale.detach().cpu()
        if layer.bias is not None:
            found[f"{name}.bias"] = layer.bias.detach().cpu()
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if name.rpartition(".")[0] not in ternary:
            found[name] = tensor.detach().cpu()
    return found


def _align(mine: dict[str, Tensor], other: dict[str, Tensor], network: PreTrainedModel) -> None:
    """Give a ternary layer's effective weights where the other network has plain ones."""
    for name in [name for name in mine if name.endswith(".trits") and name not in other]:
        module = name.removesuffix(".trits")
        if f"{module}.weight" in other:
            layer = network.get_submodule(module)
            assert isinstance(layer, TernaryLinear)
            mine[f"{module}.weight"] = layer.weight.detach().cpu()
            del mine[name], mine[f"{module}.scale"]


def _part(name: str, network: PreTrainedModel) -> Part:
    if in_block(name):
        return "block"
    module = name.rpartition(".")[0]
    owners = {id(found): owner for owner, found in network.named_modules()}
    inputs, outputs = network.get_input_embeddings(), network.get_output_embeddings()
    if module == owners.get(id(inputs)):
        return "embedding"
    if module == owners.get(id(outputs)):
        return "unembedding"
    last = module.rpartition(".")[2]
    return "final norm" if "norm" in last or last.startswith("ln") else "other"
