"""An independent forward pass of llama2.c's Llama in plain numpy, float64: interleaved rotary, unbatched."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


def parse_v0(raw: bytes) -> dict[str, Any]:
    """Header and float64 weights of a version-0 file, read in file order."""
    dim, hidden, layers, heads, kv, vocab, context = struct.unpack_from("<7i", raw)
    numbers = np.frombuffer(raw, "<f4", offset=28).astype(np.float64)
    taken = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal taken
        size = int(np.prod(shape))
        taken += size
        return numbers[taken - size : taken].reshape(shape)

    d_head = dim // heads
    weights: dict[str, Any] = {"header": (dim, hidden, layers, heads, kv, abs(vocab), context)}
    weights["tok_embeddings"] = take(abs(vocab), dim)
    weights["attention_norm"] = take(layers, dim)
    weights["wq"] = take(layers, dim, dim)
    weights["wk"] = take(layers, kv * d_head, dim)
    weights["wv"] = take(layers, kv * d_head, dim)
    weights["wo"] = take(layers, dim, dim)
    weights["ffn_norm"] = take(layers, dim)
    weights["w1"] = take(layers, hidden, dim)
    weights["w2"] = take(layers, dim, hidden)
    weights["w3"] = take(layers, hidden, dim)
    weights["norm"] = take(dim)
    take(2, context, d_head // 2)
    weights["output"] = weights["tok_embeddings"] if vocab > 0 else take(abs(vocab), dim)
    assert taken == len(numbers)
    return weights


def logits(w: dict[str, Any], ids: list[int]) -> np.ndarray:
    """Logits [pos, d_vocab] of token ids, one position after another with growing keys and values."""
    dim, _, layers, heads, kv, _, _ = w["header"]
    d_head = dim // heads
    keys: list[list[np.ndarray]] = [[] for _ in range(layers)]
    values: list[list[np.ndarray]] = [[] for _ in range(layers)]
    out = []
    for position, token in enumerate(ids):
        x = w["tok_embeddings"][token].copy()
        for layer in range(layers):
            normed = _norm(x, w["attention_norm"][layer])
            q = _rotate((w["wq"][layer] @ normed).reshape(heads, d_head), position)
            keys[layer].append(_rotate((w["wk"][layer] @ normed).reshape(kv, d_head), position))
            values[layer].append((w["wv"][layer] @ normed).reshape(kv, d_head))
            mixed = np.empty((heads, d_head))
            for head in range(heads):
                group = head // (heads // kv)
                scores = np.array([q[head] @ key[group] for key in keys[layer]]) / np.sqrt(d_head)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                mixed[head] = sum(p * v[group] for p, v in zip(weights, values[layer], strict=True))
            x = x + w["wo"][layer] @ mixed.reshape(dim)
            normed = _norm(x, w["ffn_norm"][layer])
            gate = w["w1"][layer] @ normed
            x = x + w["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (w["w3"][layer] @ normed))
        out.append(w["output"] @ _norm(x, w["norm"]))
    return np.array(out)


def _norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean() + 1e-5) * gain


def _rotate(x: np.ndarray, position: int) -> np.ndarray:
    d_head = x.shape[1]
    angle = position * 10000.0 ** (-np.arange(0, d_head, 2) / d_head)
    first, second = x[:, 0::2], x[:, 1::2]
    turned = np.empty_like(x)
    turned[:, 0::2] = first * np.cos(angle) - second * np.sin(angle)
    turned[:, 1::2] = first * np.sin(angle) + second * np.cos(angle)
    return turned
