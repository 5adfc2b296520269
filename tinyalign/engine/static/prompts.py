"""Prompts read once: their keys and values, kept until the stories that begin with them have begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tinyalign.engine.static.blocks import Blocks
from tinyalign.engine.static.rows import Rows

# Prompts read in one forward pass, and their tokens with padding: a bound on the memory it takes.
_AT_ONCE = 64
_TOKENS_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class _Read:
    """Keys and values [layers prompts kv_heads width d_head] of prompts, 0 beyond each one's length."""

    which: range
    keys: Float[Tensor, "layers prompts kv_heads width d_head"]
    values: Float[Tensor, "layers prompts kv_heads width d_head"]


class Prompts:
    """Reads prompts (token ids) in their order, each up to its last token: a row reads that one itself.

    Only what was read last is kept: stories begin in order, prompt by prompt.
    """

    def __init__(self, blocks: Blocks, encoded: Sequence[Sequence[int]]) -> None:
        self.blocks, self.encoded = blocks, encoded
        self.read: _Read | None = None

    def copy(self, prompts: Int[np.ndarray, " k"], to: Int[np.ndarray, " k"], rows: Rows) -> None:
        """Give row `to[i]` the keys and values of prompt `prompts[i]`, and zeros after them.

        `prompts` ascend, and begin where an earlier call ended or later.
        """
        while len(prompts):
            if self.read is None or prompts[0] not in self.read.which:
                self.read = self._read(int(prompts[0]))
            read = self.read
            here = int(np.searchsorted(prompts, read.which.stop))
            where = torch.from_numpy(to[:here]).to(rows.keys.device)
            from_ = torch.from_numpy(prompts[:here] - read.which.start).to(rows.keys.device)
            for cache, own in ((rows.keys, read.keys), (rows.values, read.values)):
                cache[:, where, :, : own.shape[3]] = own[:, from_]
                # A story before may have left what is no number, and that times a weight of 0 is none either.
                cache[:, where, :, own.shape[3] :] = 0.0
            prompts, to = prompts[here:], to[here:]

    @torch.no_grad()
    def _read(self, first: int) -> _Read:
        """The prompts from `first` on that fit one pass, padded on the right, where no token looks."""
        width, last = len(self.encoded[first]) - 1, first + 1
        for ids in self.encoded[last : first + _AT_ONCE]:
            wider = max(width, len(ids) - 1)
            if wider * (last + 1 - first) > _TOKENS_AT_ONCE:
                break
            width, last = wider, last + 1
        chosen = self.encoded[first:last]
        device, c = self.blocks.device, self.blocks.config
        lengths = torch.tensor([len(ids) - 1 for ids in chosen], device=device)
        ids = torch.tensor([[*ids[:-1], *[0] * (width + 1 - len(ids))] for ids in chosen], device=device)
        shape = (c.n_layers, len(chosen), c.n_kv_heads, width, c.d_head)
        keys = torch.zeros(shape, dtype=self.blocks.dtype, device=device)
        values = torch.zeros_like(keys)
        if width:
            with torch.autocast(device.type, enabled=False):
                self._fill(ids, keys, values)
            padding = torch.arange(width, device=device) >= lengths[:, None]
            keys.masked_fill_(padding[:, None, :, None], 0.0)
            values.masked_fill_(padding[:, None, :, None], 0.0)
        return _Read(range(first, last), keys, values)

    def _fill(self, ids: Tensor, keys: Tensor, values: Tensor) -> None:
        blocks, width = self.blocks, ids.shape[1]
        at = torch.arange(width, device=ids.device)
        behind = at[:, None] - at
        masks = {window: (behind >= 0) & (behind < (window or width)) for window in set(blocks.windows)}

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            keys[layer], values[layer] = k, v
            group = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
            z = nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=masks[blocks.windows[layer]], scale=blocks.scale
            )
            return z.transpose(1, 2)

        blocks.hidden(ids, at.expand_as(ids), blocks.rotary_table(width), attend)
