"""A model's weights in the device's memory, as the kernel reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from tinyalign.engine.cpu.serving import LLAMA, epsilon_of
from tinyalign.engine.cuda.fragments import float_fragments, one_bit_words, ternary_words
from tinyalign.engine.cuda.layout import FLOAT, ONE_BIT, PARTS, TERNARY, model_type
from tinyalign.engine.rotary import network_tables
from tinyalign.models import StoryModel
from tinyalign.ternary import TernaryLinear


class DeviceWeights:
    """The weights of `model`, copied now to the model's device.

    `fields(resident)` gives the fields of `Model` of csrc/shape.cuh; the tensors live as long as the object.
    """

    def __init__(self, model: StoryModel) -> None:
        network: Any = model.network
        config = model.config
        self.device, self.layers = model.device, config.n_layers
        self._kept: list[torch.Tensor] = []
        self._packed: list[np.ndarray] = []
        self._floats: list[np.ndarray] = []
        base = LLAMA.base_of(network)
        theta = float(network.config.rope_parameters["rope_theta"])
        tables = network_tables(base.rotary_emb, theta, config.d_head, config.n_ctx)
        matrices: dict[tuple[int, int], Any] = {
            (layer, place): self._matrix(module) for layer, place, _, module in LLAMA.linears_of(network)
        }
        unembedding = self._matrix(network.lm_head)
        layers = np.zeros(config.n_layers, dtype=model_type(config.n_layers)["layers"].base)
        for number, block in enumerate(LLAMA.blocks_of(network)):
            for place, part in enumerate(PARTS):
                layers[number][part] = matrices[number, place]
            layers[number]["attention_gain"] = self._vector(block.input_layernorm.weight)
            layers[number]["mlp_gain"] = self._vector(block.post_attention_layernorm.weight)
        packed = np.concatenate([np.zeros(0, dtype=np.uint32), *(words.ravel() for words in self._packed)])
        floats = np.concatenate([np.zeros(0, dtype=np.float32), *(values.ravel() for values in self._floats)])
        self.packed_bytes = packed.nbytes
        self._fields: dict[str, Any] = {
            "embedding": self._vector(base.embed_tokens.weight),
            "cosines": self._vector(torch.from_numpy(tables[0])),
            "sines": self._vector(torch.from_numpy(tables[1])),
            "last_gain": self._vector(base.norm.weight),
            # An empty tensor has no address.
            "floats": self._vector(torch.from_numpy(np.append(floats, np.float32(0)))),
            "packed": self._keep(torch.from_numpy(np.append(packed, np.uint32(0)).view(np.int32))),
            "unembedding": unembedding,
            "layers": layers,
            "epsilon": epsilon_of(base.norm),
        }

    def fields(self, resident: int) -> dict[str, Any]:
        """The fields of `Model` where `resident` bytes of packed weights stay in shared memory."""
        return {**self._fields, "resident": min(resident, self.packed_bytes) // 4 * 4}

    def _matrix(self, linear: nn.Linear) -> tuple[int, int, float, int, int, int]:
        """A record of `MATRIX`; the weights are laid behind those that came before."""
        bias = 0 if linear.bias is None else self._vector(linear.bias)
        sizes = (linear.out_features, linear.in_features)
        if isinstance(linear, TernaryLinear) and linear.activation_bits == 8:
            offset = sum(words.nbytes for words in self._packed)
            trits = linear.trits.cpu().numpy()
            one_bit = linear.bits == 1
            self._packed.append(one_bit_words(trits) if one_bit else ternary_words(trits))
            return (offset, bias, float(linear.scale), ONE_BIT if one_bit else TERNARY, *sizes)
        offset = sum(values.size for values in self._floats)
        weight = linear.weight.detach().cpu().float().numpy()
        self._floats.append(float_fragments(weight))
        return (offset, bias, 1.0, FLOAT, *sizes)

    def _vector(self, values: torch.Tensor) -> int:
        return self._keep(values.detach().float())

    def _keep(self, values: torch.Tensor) -> int:
        """The address of the values on the device."""
        kept = values.to(self.device).contiguous().clone()
        self._kept.append(kept)
        return kept.data_ptr()
