"""A Llama decoder in plain PyTorch with preallocated caches: what careful users write, as a peer."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from tinyalign.common.errors import InputError
from tinyalign.engine.rotary import default_frequencies, rotary_tables
from tinyalign.models import StoryModel


class StaticLlama:
    """Decodes `stories` texts side by side, up to `length` tokens each; key/value caches are reused.

    Eagerly, attention reads the part of the cache that is filled; compiled, all of it under a mask, so that
    every step has one shape. Raises `InputError` for a model that isn't a Llama.
    """

    def __init__(self, model: StoryModel, stories: int, length: int, *, compiled: bool) -> None:
        c = model.config
        if c.architecture != "LlamaForCausalLM":
            raise InputError(f"The static decoder runs LlamaForCausalLM, not {c.architecture}.")
        network: Any = model.network
        self.base, self.unembed, self.config = network.model, network.lm_head, c
        theta = float(network.config.rope_parameters["rope_theta"])
        tables = rotary_tables(default_frequencies(theta, c.d_head), length)
        # Both halves of a head turn by the same angles.
        self.cosines, self.sines = (torch.from_numpy(table).repeat(1, 2) for table in tables)
        shape = (c.n_layers, stories, c.n_kv_heads, length, c.d_head)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.places = torch.arange(length)
        self.stories, self.masked = stories, compiled
        self._next: Any = torch.compile(self._step) if compiled else self._step

    @torch.no_grad()
    def greedy(self, prompt: tuple[int, ...], tokens: int) -> torch.Tensor:
        """The likeliest continuation, int64 [stories, tokens]."""
        found = torch.empty(self.stories, tokens, dtype=torch.long)
        ids = torch.empty(self.stories, dtype=torch.long)
        for place in range(len(prompt) + tokens - 1):
            if place < len(prompt):
                ids = torch.full((self.stories,), prompt[place])
            upto = self.places.numel() if self.masked else place + 1
            following = self._next(ids, self.places[place : place + 1], upto)
            if place >= len(prompt) - 1:
                found[:, place - len(prompt) + 1] = following
                ids = following
        return found

    def _step(self, ids: torch.Tensor, place: torch.Tensor, upto: int) -> torch.Tensor:
        """The likeliest next token after `ids` [stories] at position `place` [1]; fills the caches there."""
        c, n = self.config, self.stories
        cosine, sine = self.cosines[place], self.sines[place]
        mask = (self.places <= place)[None, None, None] if self.masked else None
        x = self.base.embed_tokens(ids)
        for number, layer in enumerate(self.base.layers):
            normed, attention = layer.input_layernorm(x), layer.self_attn
            q = _turned(attention.q_proj(normed).view(n, c.n_heads, c.d_head), cosine, sine)
            k = _turned(attention.k_proj(normed).view(n, c.n_kv_heads, c.d_head), cosine, sine)
            v = attention.v_proj(normed).view(n, c.n_kv_heads, c.d_head)
            self.keys[number].index_copy_(2, place, k[:, :, None])
            self.values[number].index_copy_(2, place, v[:, :, None])
            # The queries of one key/value head stand where positions usually do.
            z = functional.scaled_dot_product_attention(
                q.view(n, c.n_kv_heads, c.n_heads // c.n_kv_heads, c.d_head),
                self.keys[number][:, :, :upto],
                self.values[number][:, :, :upto],
                attn_mask=mask,
            )
            x = x + attention.o_proj(z.reshape(n, c.n_heads * c.d_head))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.unembed(self.base.norm(x)).argmax(-1)


def _turned(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine
