"""The structures of csrc/shape.cuh as numpy types, and the numbers that are compiled into the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinyalign.models import StoryModel

FLOAT, ONE_BIT, TERNARY = 0, 1, 2
# Stories of a block.
SMALLEST_BLOCK, LARGEST_BLOCK = 8, 16

MATRIX = np.dtype(
    [
        ("offset", "u8"),
        ("bias", "u8"),
        ("scale", "f4"),
        ("kind", "i4"),
        ("outputs", "i4"),
        ("inputs", "i4"),
    ],
    align=True,
)
PARTS = ("q", "k", "v", "o", "gate", "up", "down")
LAYER = np.dtype(
    [*((part, MATRIX) for part in PARTS), ("attention_gain", "u8"), ("mlp_gain", "u8")], align=True
)
SLOT = np.dtype([(name, "i4") for name in ("story", "token", "position", "prefix", "prompt")], align=True)
_POINTERS = (
    "prompts",
    "offsets",
    "prompt_of",
    "tokens",
    "lengths",
    "status",
    "next",
    "broken",
    "slots",
    "own",
    "shared",
    "logits",
)
_NUMBERS = ("top_k", "count", "limit", "end", "capacity", "shared_capacity", "lanes", "reading", "steps")
JOB = np.dtype(
    [
        *((name, "u8") for name in _POINTERS),
        ("temperature", "f8"),
        ("top_p", "f8"),
        ("seed", "u8"),
        ("first", "i8"),
        *((name, "i4") for name in _NUMBERS),
    ],
    align=True,
)


def model_type(layers: int) -> np.dtype[Any]:
    """`Model`, whose size depends on the number of layers."""
    pointers = ("embedding", "cosines", "sines", "last_gain", "floats", "packed", "resident")
    return np.dtype(
        [
            *((name, "u8") for name in pointers),
            ("unembedding", MATRIX),
            ("layers", LAYER, (layers,)),
            ("epsilon", "f4"),
        ],
        align=True,
    )


@dataclass(frozen=True)
class Shape:
    """What the kernel is compiled for; `stories` a block (8 or 16), `int8` for keys and values as int8."""

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    d_head: int
    d_mlp: int
    vocab: int
    context: int
    stories: int
    int8: bool

    @classmethod
    def of(cls, model: StoryModel, stories: int, int8: bool) -> Shape:
        """The shape of a model."""
        c = model.config
        sizes = (c.n_layers, c.d_model, c.n_heads, c.n_kv_heads, c.d_head, c.d_mlp, c.d_vocab, c.n_ctx)
        return cls(*sizes, stories=stories, int8=int8)

    @property
    def macros(self) -> dict[str, int]:
        """The macros that csrc/shape.cuh reads."""
        return {
            "TA_LAYERS": self.layers,
            "TA_D_MODEL": self.d_model,
            "TA_HEADS": self.heads,
            "TA_KV_HEADS": self.kv_heads,
            "TA_D_HEAD": self.d_head,
            "TA_D_MLP": self.d_mlp,
            "TA_VOCAB": self.vocab,
            "TA_CONTEXT": self.context,
            "TA_STORIES": self.stories,
            "TA_BYTES": int(self.int8),
        }

    @property
    def scratch(self) -> int:
        """Bytes of shared memory that a block takes before resident weights: `kScratch`."""
        q, kv = self.heads * self.d_head, self.kv_heads * self.d_head
        widest = max(self.d_model, q, self.d_mlp)
        out = max(q + 2 * kv, 2 * self.d_mlp, self.d_model)
        rows = [_padded(self.d_model, 4) + 4, _padded(widest, 8) + 4, _padded(out, 4) + 4]
        a_story = 4 * sum(rows) + _padded(widest, 64) + 16 + 4 + 4 + SLOT.itemsize
        return _padded(a_story * self.stories + 4, 16)

    def cache_words(self, places: int, capacity: int) -> int:
        """32-bit words of the keys and values of `places` stories of up to `capacity` tokens."""
        words = -(-self.d_head // 4) if self.int8 else self.d_head
        each = _padded(capacity, 32) * (2 * words + (2 if self.int8 else 0))
        return places * self.layers * self.kv_heads * each


def _padded(size: int, to: int) -> int:
    return -(-size // to) * to


def structure(kind: np.dtype[Any], fields: Mapping[str, Any], device: torch.device) -> torch.Tensor:
    """One structure in the device's memory, uint8 [bytes]; tensors become their addresses."""
    record = np.zeros((), dtype=kind)
    for name, value in fields.items():
        record[name] = value.data_ptr() if isinstance(value, torch.Tensor) else value
    return torch.from_numpy(np.frombuffer(record.tobytes(), dtype=np.uint8).copy()).to(device)
