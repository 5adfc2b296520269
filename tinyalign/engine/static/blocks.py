"""A Llama or GPT-Neo network as a function of tokens and positions, with attention left to the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tinyalign.engine.cpu.serving import GPT_NEO, LLAMA, family_of, windows_of
from tinyalign.models import StoryModel

# (layer, q [*at heads d_head], k and v [*at kv_heads d_head]) -> z [*at heads d_head].
Attend: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Blocks:
    """The parts of a served `model`, called as the network calls them: nothing is copied or joined.

    Attributes:
        windows: tokens that attention sees in each layer, the token itself included; 0 for all.
        scale: what scores are multiplied by before the softmax.
    """

    def __init__(self, model: StoryModel) -> None:
        network: Any = model.network
        family = family_of(model) or LLAMA
        base = family.base_of(network)
        self.neo = family is GPT_NEO
        self.model = model
        self.config = model.config
        self.windows = windows_of(model)
        self.scale = 1.0 if self.neo else self.config.d_head**-0.5
        self.embedding = base.get_submodule(family.embedding)
        self.positions = base.wpe if self.neo else None
        self.rotary = None if self.neo else base.rotary_emb
        self.blocks = family.blocks_of(network)
        self.norm = base.get_submodule(family.norm)
        self.unembedding = network.lm_head

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of keys and values."""
        return self.embedding.weight.dtype

    def rotary_table(self, size: int) -> Float[Tensor, "2 size d_head"] | None:
        """Cosines and sines of `size` positions, as the network gives them; None for GPT-Neo.

        The first half of the sines is negated: what is turned by them needs no sign then.
        """
        if self.rotary is None:
            return None
        at = torch.arange(size, device=self.device)
        with torch.no_grad():
            cosines, sines = self.rotary(self.embedding.weight, at[None])
        half = sines.shape[-1] // 2
        return torch.stack([cosines[0], torch.cat([-sines[0, :, :half], sines[0, :, half:]], dim=-1)])

    def hidden(
        self,
        tokens: Int[Tensor, "*at"],
        positions: Int[Tensor, "*at"],
        table: Float[Tensor, "2 size d_head"] | None,
        attend: Attend,
    ) -> Float[Tensor, "*at d_model"]:
        """The residual stream after the last norm, of tokens at `positions`; `attend` sees every layer."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions(positions)
        turn = None if table is None else table[:, positions].unsqueeze(-2)
        for layer, block in enumerate(self.blocks):
            x = self._neo(layer, block, x, attend) if self.neo else self._llama(layer, block, x, turn, attend)
        return self.norm(x)

    def _llama(self, layer: int, block: Any, x: Tensor, turn: Tensor | None, attend: Attend) -> Tensor:
        q, k, v = self._heads(block.self_attn, block.input_layernorm(x))
        if turn is not None:
            # Queries and keys are turned together: a small step is the sum of its launches.
            both = torch.cat([q, k], dim=-2)
            both = both * turn[0] + both.roll(both.shape[-1] // 2, dims=-1) * turn[1]
            q, k = both.split([q.shape[-2], k.shape[-2]], dim=-2)
        x = x + block.self_attn.o_proj(attend(layer, q, k, v).flatten(-2))
        return x + block.mlp(block.post_attention_layernorm(x))

    def _neo(self, layer: int, block: Any, x: Tensor, attend: Attend) -> Tensor:
        attention = block.attn.attention
        x = x + attention.out_proj(attend(layer, *self._heads(attention, block.ln_1(x))).flatten(-2))
        return x + block.mlp(block.ln_2(x))

    def _heads(self, attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = self.config
        return (
            attention.q_proj(x).unflatten(-1, (c.n_heads, c.d_head)),
            attention.k_proj(x).unflatten(-1, (c.n_kv_heads, c.d_head)),
            attention.v_proj(x).unflatten(-1, (c.n_kv_heads, c.d_head)),
        )
