"""The decoder's draw against the rule in numpy: where it falls, ties, and the ends of the range."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float32, Float64

from tinyalign.engine import Sampling
from tinyalign.engine.cpu import build, native
from tinyalign.engine.sampling_torch import _filtered

DRAWS = (
    Sampling(),
    Sampling(0.6),
    Sampling(top_k=1),
    Sampling(1.3, top_k=40),
    Sampling(top_p=0.9),
    Sampling(0.8, top_p=1e-9),
    Sampling(2.0, top_p=1.0),
    Sampling(0.9, 25, 0.6),
)


def choose(
    logits: Float32[np.ndarray, "lanes vocab"], draw: Sampling, u: Float64[np.ndarray, " lanes"]
) -> list[int]:
    lanes, uniforms = np.ascontiguousarray(logits.T), np.ascontiguousarray(u)
    out = np.full(32, -7, dtype=np.int32)
    drawn = native.Draw(draw.temperature, draw.top_p or 0.0, draw.top_k or 0, 0)
    places = [native.address(array) for array in (lanes, uniforms, out)]
    code = native.bound("scoring").ta_choose(places[0], lanes.shape[0], ctypes.byref(drawn), *places[1:])
    assert code == 0
    return out.tolist()


def allowed(logits: Float32[np.ndarray, " vocab"], draw: Sampling, u: float) -> set[int]:
    """The tokens that the rule gives for `u` and `top_p`, or for numbers as near as float32 can tell."""
    scores = logits.astype(np.float64)
    weights = np.exp((scores - scores.max()) / draw.temperature)
    found: set[int] = set()
    for off in (-3e-6, 0.0, 3e-6):
        top_p = None if draw.top_p is None else min(draw.top_p * (1 + off), 1.0)
        kept = _filtered(weights[None], Sampling(draw.temperature, draw.top_k, top_p))[0]
        after = kept.cumsum() / kept.sum()
        near = (after - kept / kept.sum() <= u + 3e-6) & (after >= u - 3e-6)
        found |= set(np.flatnonzero(near & (kept > 0)).tolist())
    return found


def some_logits(seed: int, vocab: int, spread: float) -> Float32[np.ndarray, "lanes vocab"]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(32, vocab)) * spread
    # A few values only in some lanes, so that the likeliest tokens are tied.
    logits[::3] = np.round(logits[::3] / spread) * spread
    return logits.astype(np.float32)


@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 31, 32, 33, 64, 97, 512, 2051]),
    st.sampled_from(DRAWS),
    st.sampled_from([0.01, 1.0, 4.0, 60.0]),
)
@settings(max_examples=120, deadline=None)
def test_a_draw_falls_where_the_rule_says(seed: int, vocab: int, draw: Sampling, spread: float) -> None:
    logits = some_logits(seed, vocab, spread)
    u = np.random.default_rng(seed + 1).random(32)
    u[:4] = (0.5 / 2**32, (2**32 - 0.5) / 2**32, 0.5, 0.25)
    for lane, token in enumerate(choose(logits, draw, u)):
        assert token in allowed(logits[lane], draw, float(u[lane]))


@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3", "x86-64-v4", "native"])
def test_every_instruction_set_draws_alike(march: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not build.supports(march):
        with pytest.raises(Exception, match="this processor"):
            monkeypatch.setenv(build.MARCH_VARIABLE, march)
            build.library("float32")
        return
    monkeypatch.setenv(build.MARCH_VARIABLE, march)
    logits, u = some_logits(5, 700, 3.0), np.random.default_rng(2).random(32)
    for draw in DRAWS:
        for lane, token in enumerate(choose(logits, draw, u)):
            assert token in allowed(logits[lane], draw, float(u[lane]))


@pytest.mark.parametrize("draw", DRAWS)
def test_a_lane_does_not_depend_on_the_others(draw: Sampling) -> None:
    logits, u = some_logits(3, 1000, 3.0), np.random.default_rng(1).random(32)
    order = np.random.default_rng(2).permutation(32)
    together = np.array(choose(logits, draw, u))
    assert choose(logits[order], draw, u[order]) == together[order].tolist()
    for lane in (0, 17, 31):
        alone = choose(np.repeat(logits[lane][None], 32, axis=0), draw, np.full(32, u[lane]))
        assert alone == [together[lane]] * 32


def test_a_token_without_weight_is_never_drawn() -> None:
    """Only tokens 40 and 70 of 100 have weight: the blocks before, between and behind are empty."""
    logits = np.full((32, 100), -1e4, dtype=np.float32)
    logits[:, 40], logits[:, 70] = 1.0, 1.0
    u = (np.arange(32) + 0.5) / 32
    u[0], u[31] = 0.0, np.nextafter(1.0, 0)
    for draw in (Sampling(), Sampling(top_k=2), Sampling(top_k=90), Sampling(top_p=1.0)):
        assert choose(logits, draw, u) == [40] * 16 + [70] * 16
    # Of tied tokens the one with the smaller id is the likelier.
    assert choose(logits, Sampling(top_k=1), u) == [40] * 32
    assert choose(logits, Sampling(top_p=0.4), u) == [40] * 32


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-6, 1e30, 1e300])
def test_temperatures_at_the_ends(temperature: float) -> None:
    logits = some_logits(9, 300, 1.0)
    u = np.random.default_rng(4).random(32)
    for draw in (Sampling(temperature), Sampling(temperature, top_p=0.5), Sampling(temperature, top_k=3)):
        found = choose(logits, draw, u)
        if temperature < 1:
            ties = [np.flatnonzero(row == row.max()).tolist() for row in logits]
            assert all(token in tied for token, tied in zip(found, ties, strict=True))
        elif draw.top_k is None and draw.top_p is None:
            assert found == np.floor(u * 300).astype(int).tolist()


def test_thousands_of_equal_logits_keep_the_rule() -> None:
    """Nothing for halving to tell apart, and a vocabulary of GPT-2's size."""
    logits = np.zeros((32, 50_257), dtype=np.float32)
    u = (np.arange(32) + 0.5) / 32
    assert choose(logits, Sampling(top_k=8), u) == (np.arange(32) // 4).tolist()
    assert choose(logits, Sampling(), u) == np.floor(u * 50_257).astype(int).tolist()
    half = np.ceil(0.5 * 50_257)
    assert choose(logits, Sampling(top_p=0.5), u) == np.floor(u * half).astype(int).tolist()


def test_logits_that_cannot_be_used_draw_nothing() -> None:
    logits = some_logits(1, 50, 1.0)
    logits[3, 7], logits[9] = np.nan, -np.inf
    found = choose(logits, Sampling(), np.full(32, 0.5))
    assert [lane for lane, token in enumerate(found) if token == -1] == [3, 9]
