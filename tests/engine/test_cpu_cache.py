"""The caches of keys and values: step by step equals reading at once, and int8 costs little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinyalign
from tests.engine.test_cpu import from_ids
from tests.models.tiny import story_model, token_ids
from tinyalign.common.errors import InputError
from tinyalign.engine import Sampling, sample
from tinyalign.engine.cpu import build
from tinyalign.engine.cpu.cache_cost import cache_cost, stepwise
from tinyalign.engine.cpu.score import score_sequences
from tinyalign.models import StoryModel

FLOATS = ("llama", "llama-gqa", "neo")


def sequences(count: int = 70) -> list[tuple[int, ...]]:
    return [tuple(token_ids(2 + i % 60, batch=1, seed=i)[0].tolist()) for i in range(count)]


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


@pytest.mark.parametrize("kind", FLOATS)
def test_step_by_step_equals_reading_at_once(kind: str) -> None:
    model = story_model(kind)
    at_once = score_sequences(model, sequences(), 1)
    for ids, found in zip(sequences(), stepwise(model, sequences(), "float32"), strict=True):
        assert np.abs(found - at_once[ids]).max() <= 1e-5


@pytest.mark.parametrize("kind", FLOATS)
def test_int8_is_near_and_worse_than_float(kind: str) -> None:
    cost = cache_cost(story_model(kind), sequences())
    assert 0 < cost.spread < 0.02
    assert cost.worst < 0.3
    assert abs(cost.cost) < 0.005
    assert cost.to_json()["cost"] == pytest.approx(cost.int8 - cost.float32)


@pytest.mark.parametrize("kind", ["llama-gqa", "neo", "llama-ternary"])
def test_an_int8_story_is_the_same_for_any_batch_size_and_threads(kind: str) -> None:
    """Prompts of many lengths and more stories than lanes: the ring of slots, odd and even, goes round."""
    model = story_model(kind)
    for limit in (44, 45):
        prompts = [token_ids(1 + i % 17, batch=1, seed=i)[0].tolist() for i in range(70)]
        alone = list(from_ids(model, prompts, Sampling(), batch_size=1, limit=limit, cache="int8"))
        assert alone == list(
            from_ids(model, prompts, Sampling(), batch_size=64, threads=2, limit=limit, cache="int8")
        )
        assert alone[:9] == list(from_ids(model, prompts[:9], Sampling(), limit=limit, cache="int8"))


@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_every_instruction_set_has_the_same_int8_cache(march: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not build.supports(march):
        return
    models = [story_model(kind) for kind in ("llama-gqa", "neo")]
    here = [stepwise(model, sequences(40), "int8") for model in models]
    monkeypatch.setenv(build.MARCH_VARIABLE, march)
    for kind, expected in zip(("llama-gqa", "neo"), here, strict=True):
        for own, other in zip(stepwise(story_model(kind), sequences(40), "int8"), expected, strict=True):
            # A code on an edge may fall to either side; one that overflowed would be far off.
            assert np.median(np.abs(own - other)) <= 1e-5
            assert np.abs(own - other).max() <= 0.1


def test_int8_stories_are_good_stories(stories260k: StoryModel) -> None:
    arguments = {"n": 200, "max_new_tokens": 60, "seed": 5, "backend": "cpu"}
    coarse = list(sample(stories260k, "Once upon a time", cache="int8", **arguments))
    exact = list(sample(stories260k, "Once upon a time", **arguments))
    assert coarse != exact
    # Coupled draws: most tokens are the same until the first one that falls to the other side.
    shared = [
        np.argmin([*(a == b for a, b in zip(x.tokens, y.tokens, strict=False)), False])
        for x, y in zip(coarse, exact, strict=True)
    ]
    assert np.mean(shared) > 14
    cost = cache_cost(stories260k, [[1, *story.tokens] for story in exact if len(story.tokens) > 10])
    assert -1e-3 < cost.cost < 8e-3


def test_the_torch_backend_has_no_int8_cache(stories260k: StoryModel) -> None:
    with pytest.raises(InputError, match="torch backend has no int8 cache"):
        sample(stories260k, "Once", cache="int8", backend="torch")
