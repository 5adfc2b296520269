"""`StoryModel.sample` and `.score`: token ids, progress, interruption, the numbers that two models share."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import tinyalign
from tests.models.tiny import D_VOCAB, story_model, token_ids
from tinyalign.common.errors import InputError
from tinyalign.engine import sample
from tinyalign.engine.philox import uniforms
from tinyalign.engine.score import score_continuations, score_texts
from tinyalign.models import StoryModel

BACKENDS = ("torch", "cpu")


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


def test_the_methods_are_the_functions(stories260k: StoryModel) -> None:
    arguments = {"n": 2, "max_new_tokens": 12, "seed": 4, "top_k": 9, "stop": ["."]}
    assert list(stories260k.sample("Once", **arguments)) == list(sample(stories260k, "Once", **arguments))
    texts = ["Tom saw a dog.", "Lily was sad."]
    assert stories260k.score(texts) == score_texts(stories260k, texts)
    words = [[" He", " She"]] * 2
    assert stories260k.score(texts, words) == score_continuations(stories260k, texts, words)


@pytest.mark.parametrize("backend", BACKENDS)
def test_token_ids_stand_for_their_text(stories260k: StoryModel, backend: str) -> None:
    ids = stories260k.encode("Tom saw a dog.")
    story = next(stories260k.sample([ids], temperature=0, max_new_tokens=9, backend=backend))
    assert story == next(
        stories260k.sample("Tom saw a dog.", temperature=0, max_new_tokens=9, backend=backend)
    )
    assert stories260k.score([ids, "Tom"], backend=backend).tokens[0] == tuple(ids)
    for unknown in ([1, 512], [1, -1]):
        with pytest.raises(InputError, match="unknown to stories260K: expected 0 to 511"):
            stories260k.sample([unknown], backend=backend)
        with pytest.raises(InputError, match="unknown to stories260K: expected 0 to 511"):
            stories260k.score([unknown], backend=backend)
    with pytest.raises(InputError, match="prompt is empty"):
        stories260k.sample([[]], backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_models_turn_the_same_numbers_into_tokens(backend: str) -> None:
    """Inverse transform of one uniform a story under each model's exact distribution, coupled or not."""
    one, two = story_model("llama-gqa", 1), story_model("llama-gqa", 2)
    prompt = token_ids(5, batch=1)[0].tolist()
    n = 400
    u = uniforms(9, np.arange(n), np.full(n, len(prompt)))
    for model in (one, two):
        drawn = first_tokens(model, prompt, n, backend, coupled=True)
        assert np.mean(drawn == expected_tokens(model, prompt, u)) >= 0.995
        alone = first_tokens(model, prompt, n, backend, coupled=False)
        assert np.mean(alone == drawn) < 0.5
        assert np.array_equal(alone, first_tokens(model, prompt, n, backend, coupled=False))


def first_tokens(model: StoryModel, prompt: list[int], n: int, backend: str, *, coupled: bool) -> np.ndarray:
    drawn = model.sample([prompt], n=n, max_new_tokens=1, seed=9, coupled=coupled, backend=backend)
    return np.array([story.tokens[0] for story in drawn])


def expected_tokens(model: StoryModel, prompt: list[int], u: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits = model.network(torch.tensor([prompt])).logits[0, -1].double()
    return np.searchsorted(logits.softmax(0).cumsum(0).numpy(), u, side="right").clip(max=D_VOCAB - 1)


def test_equal_models_tell_equal_stories_only_when_coupled() -> None:
    one, twin, other = story_model("llama", 1), story_model("llama", 1), story_model("llama", 2)
    prompt = [token_ids(5, batch=1)[0].tolist()]

    def told(model: StoryModel, coupled: bool) -> list[tuple[int, ...]]:
        return [s.tokens for s in model.sample(prompt, n=20, max_new_tokens=10, seed=1, coupled=coupled)]

    assert told(one, True) == told(twin, True)
    # Uncoupled, the identity of the weights enters the key: equal weights are one model.
    assert told(one, False) == told(twin, False) != told(one, True)
    assert told(other, True) != told(one, True)


def test_progress_is_told_after_every_story(stories260k: StoryModel) -> None:
    seen: list[tuple[int, int]] = []
    list(stories260k.sample("Once", n=5, max_new_tokens=3, progress=lambda *told: seen.append(told)))
    assert seen == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_stops_a_long_run_soon(stories260k: StoryModel, threads: int) -> None:
    texts = [f"Tom saw {i} dogs. " * 30 for i in range(700)]
    runs: list[Callable[[], object]] = [
        lambda: list(stories260k.sample("Once", n=10**5, max_new_tokens=400, backend="cpu", threads=threads)),
        lambda: stories260k.score([stories260k.encode(t)[:500] for t in texts] * 3, threads=threads),
    ]
    for run in runs:
        timer = threading.Timer(0.7, _thread.interrupt_main)
        begun = time.perf_counter()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            while True:
                run()
        timer.join()
        assert time.perf_counter() - begun < 15
    assert len(list(stories260k.sample("Once", n=3, max_new_tokens=3, backend="cpu"))) == 3
