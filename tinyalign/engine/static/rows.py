"""The fixed tensors that stories live in, one row each, and the step that takes every row a token further."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from tinyalign.engine.sampling import Sampling
from tinyalign.engine.static.blocks import Blocks
from tinyalign.engine.static.drawing import draw

# Steps between two looks from the host, at most. More than `graphs` takes to warm up.
LONGEST_CHUNK = 32
# Attended lengths are multiples of this, so that one graph serves many positions.
_BUCKET = 64


class Rows:
    """`rows` stories of at most `capacity` tokens side by side; nobody reads what a row without one draws.

    Attributes:
        tokens: the last token of each row, int64 [rows]; its keys and values are not in the cache yet.
        positions: where that token stands, int64 [rows].
        keys, values: the caches, [layers rows kv_heads capacity d_head]; slots that no token has filled
            are 0, never NaN, which no mask could hide.
        uniforms: the number that a row draws with after reading a position, float64 [rows capacity].
        drawn: tokens drawn since the last look, int64 [steps rows]; `count` of them, int64 [1].
        table: rotary cosines and sines, or None.
    """

    def __init__(self, blocks: Blocks, rows: int, capacity: int) -> None:
        c, device = blocks.config, blocks.device
        self.rows = rows
        self.capacity = rounded(capacity)
        self.context = c.n_ctx
        cache = (c.n_layers, rows, c.n_kv_heads, self.capacity, c.d_head)
        self.keys = torch.zeros(cache, dtype=blocks.dtype, device=device)
        self.values = torch.zeros(cache, dtype=blocks.dtype, device=device)
        self.tokens = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions = torch.zeros(rows, dtype=torch.int64, device=device)
        self.uniforms = torch.zeros(rows, self.capacity, dtype=torch.float64, device=device)
        self.drawn = torch.zeros(LONGEST_CHUNK, rows, dtype=torch.int64, device=device)
        self.count = torch.zeros(1, dtype=torch.int64, device=device)
        self.table = blocks.rotary_table(self.capacity)
        self.heads = torch.arange(rows * c.n_kv_heads, device=device).view(rows, c.n_kv_heads)

    def refresh(self, blocks: Blocks) -> None:
        """Read the rotary angles again, the one thing here that is computed from the network."""
        table = blocks.rotary_table(self.capacity)
        if self.table is not None and table is not None:
            self.table.copy_(table)

    def begin(
        self,
        rows: Int[np.ndarray, " k"],
        tokens: Int[np.ndarray, " k"],
        positions: Int[np.ndarray, " k"],
        uniforms: Float64[np.ndarray, "k capacity"],
    ) -> None:
        """Set the last prompt token of `rows`, where it stands, and the numbers that they draw with."""
        where = torch.from_numpy(rows).to(self.tokens.device)
        self.tokens[where] = torch.from_numpy(tokens).to(where.device)
        self.positions[where] = torch.from_numpy(positions).to(where.device)
        self.uniforms[where] = torch.from_numpy(uniforms).to(where.device)

    def changing(self) -> tuple[Tensor, ...]:
        """What a step changes beyond the caches, where it only writes at each row's own position."""
        return self.tokens, self.positions, self.drawn, self.count

    @torch.no_grad()
    def step(self, blocks: Blocks, how: Sampling, attended: int) -> None:
        """Read every row's token, draw the next and put it in its place.

        `attended` is how many of the cache's positions are looked at: more than any story's position. Rows
        without a story stay at the last of them.
        """
        at = self.positions.clamp(max=min(attended, self.context) - 1)
        places = (self.heads * self.capacity + at[:, None]).flatten()
        masks = {window: self._mask(blocks, at, attended, window) for window in dict.fromkeys(blocks.windows)}

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.keys[layer].view(-1, k.shape[-1]).index_copy_(0, places, k.flatten(0, 1))
            self.values[layer].view(-1, v.shape[-1]).index_copy_(0, places, v.flatten(0, 1))
            keys, values = self.keys[layer, :, :, :attended], self.values[layer, :, :, :attended]
            # The queries that share a key are the rows of one product, as if they were positions.
            grouped = q.unflatten(1, (k.shape[1], -1))
            z = attention(grouped, keys, values, masks[blocks.windows[layer]], blocks.scale)
            return z.flatten(1, 2)

        logits = blocks.unembedding(blocks.hidden(self.tokens, at, self.table, attend))
        tokens = draw(logits, self.uniforms.gather(1, at[:, None])[:, 0], how)
        self.drawn.index_copy_(0, self.count, tokens[None])
        self.tokens.copy_(tokens.clamp_(min=0))
        self.positions.add_(1)
        self.count.add_(1)

    def _mask(self, blocks: Blocks, at: Tensor, attended: int, window: int) -> Float[Tensor, "rows 1 1 pos"]:
        """0 where a row at `at` sees a position, -infinity elsewhere."""
        behind = at[:, None] - torch.arange(attended, device=at.device)
        hidden = (behind < 0) | (behind >= window) if window else behind < 0
        mask = torch.zeros(hidden.shape, dtype=blocks.dtype, device=at.device)
        return mask.masked_fill_(hidden, float("-inf"))[:, None, None]


def attention(
    q: Float[Tensor, "rows kv_heads group d_head"],
    k: Float[Tensor, "rows kv_heads pos d_head"],
    v: Float[Tensor, "rows kv_heads pos d_head"],
    mask: Float[Tensor, "rows 1 1 pos"],
    scale: float,
) -> Float[Tensor, "rows kv_heads group d_head"]:
    """softmax(q k^T scale + mask) v, as two products on a CPU in float32, elsewhere as one kernel."""
    if q.device.type != "cpu" or q.dtype != torch.float32:
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    # For a single query torch's fused kernel on a CPU is slower than this.
    scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scale).add_(mask)
    return torch.matmul(scores.softmax(dim=-1), v)


def rounded(length: int) -> int:
    """The attended length that serves `length`: 64, 128, 192, 256, 384, 512, 768 and so on.

    Few lengths mean few graphs; at most half of what is attended is in vain.
    """
    size = _BUCKET
    while size < length:
        power = 1 << (size // _BUCKET).bit_length() - 1
        size += _BUCKET * max(1, power // 2)
    return size
