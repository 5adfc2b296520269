"""A lean Llama for training: the arithmetic of `LlamaForCausalLM`, with ternary or 1-bit linears in the loop.

No padding, no cache, no biases. The attention is written out: on a CPU in bfloat16 it is about twice as
fast as PyTorch's fused one at these sizes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from tinyalign.common.errors import InputError
from tinyalign.ternary.quantize import SMALLEST_SCALE
from tinyalign.training.recipe import Shape

NORM_EPS = 1e-5
ROPE_THETA = 10000.0
LINEARS = ("q", "k", "v", "o", "gate", "up", "down")


class QuantizedLinear(torch.autograd.Function):
    """`x @ W.T` with int8 activations a token and trits or signs a matrix, straight through both.

    The product is taken on the integers, which bfloat16 holds exactly, and scaled afterwards. Several
    matrices that read the same input are done at once, each with a scale of its own. Numerics as in
    `tinyalign.ternary.quantize` (BitNet b1.58, arXiv:2402.17764).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "tokens d_in"], bits: float, *weights: Tensor
    ) -> Float[Tensor, "tokens d_out"]:
        """[tokens d_out], the outputs of the matrices side by side."""
        scales = [weight.abs().mean().clamp_min(SMALLEST_SCALE) for weight in weights]
        if bits == 1:
            levels = [torch.where(weight < 0, -1.0, 1.0) for weight in weights]
        else:
            levels = [(w / s).round().clamp(-1, 1) for w, s in zip(weights, scales, strict=True)]
        trits = torch.cat(levels).to(x.dtype)
        row_scale = torch.cat([s.expand(w.shape[0]) for w, s in zip(weights, scales, strict=True)])
        largest = x.abs().amax(-1, keepdim=True).float().clamp_min(SMALLEST_SCALE)
        values = (x * 127.0 / largest).round().to(x.dtype)
        token_scale = (largest / 127.0).to(x.dtype)
        ctx.save_for_backward(values, token_scale, trits, row_scale)
        ctx.rows = [weight.shape[0] for weight in weights]
        return functional.linear(values, trits) * token_scale * row_scale.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients as if `q * s` were the weights and the activations themselves; scales are constants."""
        (grad,) = grad_outputs
        values, token_scale, trits, row_scale = ctx.saved_tensors
        grad_x = (grad * row_scale.to(grad.dtype)) @ trits
        grad_weight = (grad * token_scale).t() @ values
        return (grad_x, None, *(part.float() for part in grad_weight.split(ctx.rows)))


class CausalAttention(torch.autograd.Function):
    """Softmax attention over [batch*head pos d_head], with `mask` [pos pos] added to the scores."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Float[Tensor, "rows pos d_head"]:
        """The mixed values."""
        scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        pattern = torch.softmax(scores, -1)
        ctx.save_for_backward(q, k, v, pattern)
        return torch.bmm(pattern, v)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of q, k and v."""
        (grad,) = grad_outputs
        q, k, v, pattern = ctx.saved_tensors
        grad_pattern = torch.bmm(grad, v.transpose(1, 2))
        # The gradient of a softmax: p * (g - sum(p * g)).
        weighted = pattern * grad_pattern
        grad_scores = (weighted - pattern * weighted.sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
        grad_v = torch.bmm(pattern.transpose(1, 2), grad)
        return torch.bmm(grad_scores, k), torch.bmm(grad_scores.transpose(1, 2), q), grad_v, None


class Block(nn.Module):
    """The weights of one transformer block, in float32: for 1.58 or 1 bit the latent ones."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, m = shape.d_model, shape.d_mlp
        residual = 1 / math.sqrt(2 * shape.n_layers)
        sizes = {
            "q": (d, d),
            "k": (d, d),
            "v": (d, d),
            "o": (d, d),
            "gate": (m, d),
            "up": (m, d),
            "down": (d, m),
        }
        for name, (d_out, d_in) in sizes.items():
            spread = d_in**-0.5 * (residual if name in ("o", "down") else 1.0)
            self.register_parameter(name, nn.Parameter(torch.randn(d_out, d_in) * spread))
        self.attn_norm = nn.Parameter(torch.ones(d))
        self.mlp_norm = nn.Parameter(torch.ones(d))

    def matrix(self, name: str) -> Tensor:
        """One of `LINEARS`, [d_out d_in]."""
        return self.get_parameter(name)


class StoryNet(nn.Module):
    """`forward(ids)` gives the logits of every position, [batch*pos d_vocab].

    `bits` is 16 (float), 1.58 or 1; `dtype` what the arithmetic is done in (weights stay float32).
    """

    def __init__(
        self, shape: Shape, bits: float, *, dtype: torch.dtype = torch.float32, dropout: float = 0.0
    ):
        super().__init__()
        if bits not in (1, 1.58, 16):
            raise InputError(f"Cannot train at {bits} bits: expected 16 (float), 1.58 (ternary) or 1.")
        self.shape = shape
        self.bits = bits
        self.dtype = dtype
        self.dropout = dropout
        self.embed = nn.Parameter(torch.randn(shape.d_vocab, shape.d_model) * shape.d_model**-0.5)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.norm = nn.Parameter(torch.ones(shape.d_model))
        cos, sin = _rotary(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "tokens d_vocab"]:
        """Logits of the next token at each position, in `dtype`."""
        length = ids.shape[1]
        x = self._drop(functional.embedding(ids, self.embed).to(self.dtype))
        cos = self.get_buffer("cos")[:length].to(self.dtype)
        sin = self.get_buffer("sin")[:length].to(self.dtype)
        mask = torch.full((length, length), float("-inf"), dtype=self.dtype, device=ids.device).triu(1)
        for block in self.blocks:
            if not isinstance(block, Block):
                raise TypeError("a StoryNet's blocks are Blocks")
            x = x + self._drop(self._attend(block, _norm(x, block.attn_norm), cos, sin, mask))
            x = x + self._drop(self._think(block, _norm(x, block.mlp_norm)))
        x = _norm(x, self.norm).flatten(0, 1)
        return functional.linear(x, self.embed.to(self.dtype))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x

    def _linear(self, x: Tensor, block: Block, *names: str) -> Tensor:
        weights = [block.matrix(name) for name in names]
        if self.bits == 16:
            return functional.linear(x, torch.cat([weight.to(x.dtype) for weight in weights]))
        found = QuantizedLinear.apply(x, self.bits, *weights)
        if not isinstance(found, Tensor):
            raise TypeError("QuantizedLinear gives one tensor")
        return found

    def _attend(self, block: Block, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        batch, length, d = x.shape
        heads = self.shape.n_heads
        qkv = self._linear(x.flatten(0, 1), block, "q", "k", "v").view(batch, length, 3, heads, d // heads)
        q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))
        rows = [t.reshape(batch * heads, length, -1) for t in (_rotate(q, cos, sin), _rotate(k, cos, sin), v)]
        mixed = CausalAttention.apply(*rows, mask)
        if not isinstance(mixed, Tensor):
            raise TypeError("CausalAttention gives one tensor")
        mixed = mixed.view(batch, heads, length, -1).transpose(1, 2).reshape(batch * length, d)
        return self._linear(mixed, block, "o").view(batch, length, d)

    def _think(self, block: Block, x: Tensor) -> Tensor:
        gate, up = self._linear(x.flatten(0, 1), block, "gate", "up").chunk(2, -1)
        return self._linear(functional.silu(gate) * up, block, "down").view(x.shape)

    def matrices(self) -> list[tuple[str, nn.Parameter]]:
        """The linears of the blocks, by name: what is quantised."""
        return [(n, p) for n, p in self.named_parameters() if n.rpartition(".")[2] in LINEARS]


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), NORM_EPS)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _rotary(shape: Shape) -> tuple[Tensor, Tensor]:
    half = torch.arange(0, shape.d_model // shape.n_heads, 2) / (shape.d_model // shape.n_heads)
    angles = torch.outer(torch.arange(shape.n_ctx).float(), ROPE_THETA**-half)
    both = torch.cat((angles, angles), -1)
    return both.cos(), both.sin()
