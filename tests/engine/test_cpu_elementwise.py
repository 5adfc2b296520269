"""The decoder's exponential and quotient against float64 and the processor's own division."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.test_cpu_instructions import PATHS
from tinyalign.engine.cpu import build, native

# Beyond these the exponential stays at e^87, or is exactly 0.
HIGHEST, LOWEST = 87.0, -87.0


def elementwise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """e^x and x / (e^x + 1) as the decoder has them."""
    powers, quotients = np.full_like(x, np.nan), np.full_like(x, np.nan)
    native.bound("scoring").ta_elementwise(
        native.address(x), len(x), native.address(powers), native.address(quotients)
    )
    return powers, quotients


@pytest.mark.parametrize("march", PATHS)
def test_powers_and_quotients(march: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not build.supports(march):
        pytest.skip(f"this processor does not have the instructions of {march}")
    monkeypatch.setenv(build.MARCH_VARIABLE, march)
    draws = np.random.default_rng(1)
    x = np.concatenate([draws.uniform(LOWEST, HIGHEST, 1 << 16), draws.normal(0, 1e-3, 1 << 14)])
    x = x.astype(np.float32)
    powers, quotients = elementwise(x)
    exact = np.exp(x.astype(np.float64))
    assert np.max(np.abs(powers - exact) / exact) < 2.0**-22
    divided = x / (powers + np.float32(1))
    assert np.all(np.abs(quotients - divided) <= np.spacing(np.abs(divided)))


@pytest.mark.parametrize("march", PATHS)
def test_the_ends_of_the_range(march: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not build.supports(march):
        pytest.skip(f"this processor does not have the instructions of {march}")
    monkeypatch.setenv(build.MARCH_VARIABLE, march)
    ends = [-np.inf, -1e30, -1e4, -87.01, np.nan, 87.0, 87.01, 100.0, 1e30, 0.0, -0.0]
    x = np.array([*ends, *[0.0] * (32 - len(ends))], dtype=np.float32)
    powers, _ = elementwise(x)
    assert powers[:4].tolist() == [0, 0, 0, 0]
    assert np.isnan(powers[4])
    np.testing.assert_allclose(powers[5:9], np.exp(87.0), rtol=2.0**-22)
    assert powers[9:11].tolist() == [1, 1]
    everything = powers[np.isfinite(x)]
    assert np.all(np.isfinite(everything))
    assert np.all(everything >= 0)
