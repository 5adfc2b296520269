"""Tables of rotary angles, the same to the last bit whether a network or only its configuration is there."""

from __future__ import annotations

from typing import Any

import numpy as np


def default_frequencies(theta: float, d_head: int) -> np.ndarray:
    """Inverse frequencies float32 [d_head / 2] of plain rotary embeddings (Su et al. 2021, section 3.2.2)."""
    exponents = np.arange(0, d_head, 2).astype(np.float32) / np.float32(d_head)
    return np.float32(1) / (float(theta) ** exponents.astype(np.float64)).astype(np.float32)


def rotary_tables(
    frequencies: np.ndarray, context: int, scaling: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines, float32 [context, d_head / 2], of the float32 angles position * frequency.

    Each is the float64 value rounded once: vectorised float32 cosines differ between libraries in the last
    bits, and of a ternary model one last bit can turn an int8 code.
    """
    angles = np.arange(context, dtype=np.float32)[:, None] * frequencies.astype(np.float32)[None]
    wide = angles.astype(np.float64)
    return (
        np.ascontiguousarray((np.cos(wide) * scaling).astype(np.float32)),
        np.ascontiguousarray((np.sin(wide) * scaling).astype(np.float32)),
    )


def network_tables(rotary: Any, theta: float, d_head: int, context: int) -> tuple[np.ndarray, np.ndarray]:
    """The tables of a network's rotary module (`inv_freq`, `attention_scaling`).

    Frequencies that are the default ones up to their last bits become exactly those.
    """
    found = rotary.inv_freq.detach().cpu().float().numpy()
    plain = default_frequencies(theta, d_head)
    same = found.shape == plain.shape and np.allclose(found, plain, rtol=1e-6, atol=0)
    return rotary_tables(plain if same else found, context, float(rotary.attention_scaling))
