"""A model's weights inside the C++ decoder: copied once, and copied again as soon as one of them differs."""

from __future__ import annotations

import ctypes
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.cpu import native
from tinyalign.engine.cpu.build import SOURCES, Use
from tinyalign.engine.cpu.serving import (
    GPT_NEO,
    LLAMA,
    Family,
    check_served,
    epsilon_of,
    family_of,
    windows_of,
)
from tinyalign.engine.cpu.serving import refusal as refusal
from tinyalign.engine.rotary import network_tables
from tinyalign.models import StoryModel
from tinyalign.ternary import TernaryLinear

# Models whose copies are kept for each use: a base, an edited one, and some for comparison.
_KEPT = 4


class CpuModel:
    """The weights of `model`, copied now into a library: later changes are not seen (see `current`).

    Its `lib` has the functions of `use`.

    Raises `InputError` for a model that is not served (see `serving.refusal`) or when the decoder cannot
    be built, `CheckpointError` when memory runs out.
    """

    def __init__(self, model: StoryModel, use: Use) -> None:
        check_served(model)
        self.lib = native.bound(use)
        self.vocab, self.context = model.config.d_vocab, model.config.n_ctx
        network: Any = model.network
        family = family_of(model) or LLAMA
        shape = native.Shape(
            model.config.n_layers,
            model.config.d_model,
            model.config.n_heads,
            model.config.n_kv_heads,
            model.config.d_head,
            model.config.d_mlp,
            self.vocab,
            self.context,
            int(family is GPT_NEO),
            epsilon_of(family.base_of(network).get_submodule(family.norm)),
        )
        self.handle = self.lib.ta_model(ctypes.byref(shape))
        if not self.handle:
            raise memory_error()
        self._fill(network, family)
        for layer, window in enumerate(windows_of(model)):
            self.lib.ta_set_window(self.handle, layer, window)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.lib.ta_model_free(self.handle)
            self.handle = None

    @property
    def instructions(self) -> str:
        """The instruction set that the decoder was compiled for."""
        return self.lib.ta_instructions().decode()

    def logits(self, tokens: list[int]) -> Float32[np.ndarray, "pos d_vocab"]:
        """Logits after every token of a text; only with the library for scoring.

        Raises `InputError` where the text is empty, too long or has unknown tokens.
        """
        if not 0 < len(tokens) <= self.context or not all(0 <= t < self.vocab for t in tokens):
            raise InputError(
                f"{len(tokens)} token ids cannot be read: expected 1 to {self.context} ids below "
                f"{self.vocab}."
            )
        ids = np.array(tokens, dtype=np.int32)
        out = np.empty((len(tokens), self.vocab), dtype=np.float32)
        checked(self.lib.ta_logits(self.handle, native.address(ids), len(ids), native.address(out)))
        return out

    def _fill(self, network: Any, family: Family) -> None:
        base = family.base_of(network)
        self._vector(native.EMBEDDING, 0, base.get_submodule(family.embedding).weight)
        self._norm(native.LAST_NORM, 0, base.get_submodule(family.norm))
        if family is GPT_NEO:
            self._vector(native.POSITIONS, 0, base.wpe.weight)
        else:
            theta = float(network.config.rope_parameters["rope_theta"])
            tables = network_tables(base.rotary_emb, theta, network.config.head_dim, self.context)
            self._vector(native.COSINES, 0, torch.from_numpy(tables[0]))
            self._vector(native.SINES, 0, torch.from_numpy(tables[1]))
        for number, block in enumerate(family.blocks_of(network)):
            for name, path in zip((native.ATTENTION_NORM, native.MLP_NORM), family.block_norms, strict=True):
                self._norm(name, number, block.get_submodule(path))
        for layer, place, _, module in family.linears_of(network):
            self._matrix(layer, place, module)
        self._matrix(0, native.UNEMBEDDING, network.lm_head)

    def _norm(self, name: int, layer: int, norm: Any) -> None:
        self._vector(name, layer, norm.weight)
        if isinstance(norm, nn.LayerNorm):
            self._vector(name + native.BIAS, layer, norm.bias)

    def _vector(self, name: int, layer: int, values: torch.Tensor) -> None:
        array = np.ascontiguousarray(values.detach().numpy(), dtype=np.float32)
        checked(self.lib.ta_set_vector(self.handle, name, layer, native.address(array), array.size))

    def _matrix(self, layer: int, part: int, linear: nn.Linear) -> None:
        rows, columns = linear.out_features, linear.in_features
        if linear.bias is not None:
            bias = np.ascontiguousarray(linear.bias.detach().numpy(), dtype=np.float32)
            checked(self.lib.ta_set_bias(self.handle, layer, part, native.address(bias), rows))
        if isinstance(linear, TernaryLinear) and linear.activation_bits == 8:
            trits = np.ascontiguousarray(linear.trits.numpy())
            at = (native.address(trits), float(linear.scale), rows, columns)
            checked(self.lib.ta_set_ternary(self.handle, layer, part, *at))
            return
        weight = np.ascontiguousarray(linear.weight.detach().numpy(), dtype=np.float32)
        checked(self.lib.ta_set_float(self.handle, layer, part, native.address(weight), rows, columns))


@dataclass(frozen=True)
class _Copy:
    """A decoder's weights beside the tensors they were made from, as those stood then."""

    tensors: dict[str, torch.Tensor]
    settings: tuple[object, ...]
    cpu: CpuModel


_Copies = weakref.WeakKeyDictionary[nn.Module, _Copy]
_copies: dict[Use, _Copies] = {use: weakref.WeakKeyDictionary() for use in SOURCES}
_lock = threading.Lock()


def current(model: StoryModel, use: Use) -> CpuModel:
    """The library for `use` with the weights that `model` has at this moment; raises as `CpuModel` does.

    A copy made before is used again only where every weight still has the same bytes (a comparison of
    memory, a fraction of a millisecond for a million weights): edits in place are seen however they are
    made, also those that leave no trace in a tensor's version counter.
    """
    check_served(model)
    with _lock:
        kept = _copies[use]
        copy = kept.pop(model.network, None)
        tensors, settings = _tensors(model.network), _settings(model)
        if copy is None or copy.settings != settings or not _same(copy.tensors, tensors):
            before = {name: tensor.clone() for name, tensor in tensors.items()}
            copy = _Copy(before, settings, CpuModel(model, use))
        kept[model.network] = copy
        while len(kept) > _KEPT:
            del kept[next(iter(kept))]
    return copy.cpu


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """All weights; of buffers those that numbers come from (GPT-Neo's masks are held to its window)."""
    found = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return found | {name: b for name, b in network.named_buffers() if b.dtype != torch.bool}


def _settings(model: StoryModel) -> tuple[object, ...]:
    """What else the copy depends on."""
    network: Any = model.network
    layers = [m for m in network.modules() if isinstance(m, TernaryLinear)]
    family = family_of(model) or LLAMA
    rotary = getattr(network.model.rotary_emb, "attention_scaling", None) if family is LLAMA else None
    norm = family.base_of(network).get_submodule(family.norm)
    kinds = tuple((layer.packing, layer.activation_bits, layer.bits) for layer in layers)
    return (model.config, epsilon_of(norm), tuple(windows_of(model)), rotary, kinds)


def _same(before: dict[str, torch.Tensor], now: dict[str, torch.Tensor]) -> bool:
    return before.keys() == now.keys() and all(_equal(tensor, now[name]) for name, tensor in before.items())


def _equal(before: torch.Tensor, now: torch.Tensor) -> bool:
    if before.dtype != now.dtype or before.shape != now.shape:
        return False
    # As integers: a NaN is the same NaN, and -0 is not 0.
    return torch.equal(_bits(before), _bits(now))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int32) if tensor.dtype == torch.float32 else tensor


def memory_error() -> CheckpointError:
    """The sentence for a decoder that got no memory."""
    return CheckpointError(
        "The CPU backend got no memory: lower max_new_tokens or threads, or free some memory."
    )


def checked(code: int) -> int:
    """The code itself; raises `CheckpointError` where it says that memory ran out."""
    if code == -2:
        raise memory_error()
    return code
