"""A Llama decoder in plain PyTorch with preallocated caches: what careful users write, as a peer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.nn import functional

from tinyalign.common.errors import InputError
from tinyalign.engine.rotary import default_frequencies, rotary_tables
from tinyalign.engine.static.graphs import capture
from tinyalign.models import StoryModel

How = Literal["eager", "compiled", "graph"]


class StaticLlama:
    """Decodes `stories` texts side by side, up to `length` tokens each; key/value caches are reused.

    "eager": attention reads the part of the cache that is filled; "compiled" by torch, or as a CUDA "graph":
    all of it under a mask, so that every step has one shape. `network` stands in for the model's own, in
    another dtype or quantised. Raises `InputError` for a model that isn't a Llama, or a graph without CUDA.
    """

    def __init__(
        self,
        model: StoryModel,
        stories: int,
        length: int,
        *,
        how: How,
        network: Any = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        c, device = model.config, model.device
        if c.architecture != "LlamaForCausalLM":
            raise InputError(f"The static decoder runs LlamaForCausalLM, not {c.architecture}.")
        if how == "graph" and device.type != "cuda":
            raise InputError(f"A CUDA graph was asked for on {device.type}: move the model to cuda.")
        chosen: Any = model.network if network is None else network
        self.base, self.unembed, self.config = chosen.model, chosen.lm_head, c
        theta = float(chosen.config.rope_parameters["rope_theta"])
        tables = rotary_tables(default_frequencies(theta, c.d_head), length)
        # Both halves of a head turn by the same angles.
        self.cosines, self.sines = (
            torch.from_numpy(table).repeat(1, 2).to(device, dtype) for table in tables
        )
        shape = (c.n_layers, stories, c.n_kv_heads, length, c.d_head)
        self.keys, self.values = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        self.places = torch.arange(length, device=device)
        self.stories, self.masked, self.device = stories, how != "eager", device
        self._next: Any = torch.compile(self._step) if how == "compiled" else self._step
        if how == "graph":
            self._next = self._captured()

    @torch.no_grad()
    def greedy(self, prompt: tuple[int, ...], tokens: int) -> torch.Tensor:
        """The likeliest continuation, int64 [stories, tokens], on the CPU."""
        found = torch.empty(self.stories, tokens, dtype=torch.long, device=self.device)
        ids = torch.empty(self.stories, dtype=torch.long, device=self.device)
        for place in range(len(prompt) + tokens - 1):
            if place < len(prompt):
                ids = torch.full((self.stories,), prompt[place], device=self.device)
            upto = self.places.numel() if self.masked else place + 1
            following = self._next(ids, self.places[place : place + 1], upto)
            if place >= len(prompt) - 1:
                found[:, place - len(prompt) + 1] = following
                ids = following
        return found.cpu()

    @torch.no_grad()
    def _captured(self) -> Any:
        """A step that replays a CUDA graph of `_step`; its answer is overwritten by the next."""
        ids = torch.zeros(self.stories, dtype=torch.long, device=self.device)
        place = torch.zeros(1, dtype=torch.long, device=self.device)
        upto = self.places.numel()
        given: list[torch.Tensor] = []
        captured = capture(lambda: given.append(self._step(ids, place, upto)), self.device, None)
        following = given[-1]

        def step(new_ids: torch.Tensor, new_place: torch.Tensor, _: int) -> torch.Tensor:
            ids.copy_(new_ids)
            place.copy_(new_place)
            captured.replay()
            return following

        return step

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
