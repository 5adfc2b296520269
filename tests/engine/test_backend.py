"""Which backend samples and scores a model, and what is said where it isn't the fastest."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.models.tiny import story_model
from tinyalign.common.errors import InputError
from tinyalign.engine import backend as choosing
from tinyalign.engine import sample, score_texts
from tinyalign.engine.backend import sampling_backend
from tinyalign.engine.cpu import build, native
from tinyalign.models import StoryModel


def silent(model: StoryModel) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return sampling_backend(model, "auto")


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> StoryModel:
    """A model that says it is on a CUDA device; no check looks closer."""
    monkeypatch.setattr(StoryModel, "device", property(lambda _: torch.device("cuda", 0)))
    monkeypatch.setattr(choosing, "_check_cuda", lambda _, cache: None)
    monkeypatch.setattr(choosing, "_check_static", lambda _: None)
    return story_model("llama")


def refusing(reason: str) -> Any:
    def check(_: StoryModel, cache: str = "float32") -> None:
        raise InputError(reason)

    return check


def test_auto_takes_the_fused_decoder_of_the_device(on_cuda: StoryModel) -> None:
    assert silent(on_cuda) == "cuda"


def test_auto_takes_the_cpu_decoder_on_the_cpu() -> None:
    assert silent(story_model("llama")) == "cpu"
    assert silent(story_model("neo")) == "cpu"


def test_auto_takes_static_caches_and_then_torch_with_a_warning(
    on_cuda: StoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_check_cuda", refusing("no kernel."))
    with pytest.warns(UserWarning, match="Sampling runs on the static backend, .* slower: no kernel"):
        assert sampling_backend(on_cuda, "auto") == "static"
    monkeypatch.setattr(choosing, "_check_static", refusing("no caches."))
    with pytest.warns(UserWarning, match="Sampling runs on the torch backend, .* slower: no kernel"):
        assert sampling_backend(on_cuda, "auto") == "torch"


def test_another_device_runs_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoryModel, "device", property(lambda _: torch.device("meta")))
    assert silent(story_model("llama")) == "torch"


@pytest.mark.parametrize("backend", ["static", "cpu"])
def test_backends_asked_for_by_name_tell_the_same_stories(backend: str) -> None:
    model = story_model("llama-gqa")
    arguments: dict[str, Any] = {"n": 4, "max_new_tokens": 12, "seed": 5}
    expected = list(sample(model, [[3, 4, 5], [7]], backend="torch", **arguments))
    assert list(sample(model, [[3, 4, 5], [7]], backend=backend, **arguments)) == expected


def test_what_a_backend_cannot_run_is_said_before_anything_is_sampled() -> None:
    model = story_model("llama")
    with pytest.raises(InputError, match="CUDA backend cannot run llama, which is on cpu"):
        sample(model, [[1]], backend="cuda")
    with pytest.raises(InputError, match="'gpu' is unknown: expected one of auto, torch, static, cpu, cuda"):
        sample(model, [[1]], backend="gpu")
    with pytest.raises(InputError, match="expected one of auto, torch, cpu"):
        score_texts(model, [[1, 2]], backend="cuda")
    with pytest.raises(InputError, match="static backend has no int8 cache"):
        sample(model, [[1]], backend="static", cache="int8")
    model.network.model.register_forward_hook(lambda *_: None)
    for backend in ("cpu", "static"):
        with pytest.raises(InputError, match="has a hook"):
            sample(model, [[1]], backend=backend)


def test_only_the_library_that_is_used_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    built = build.library
    for user in (build, native):
        monkeypatch.setattr(user, "library", lambda use: (asked.append(use), built(use))[1])
    model = story_model("llama")
    for use in ("float32", "int8"):
        asked.clear()
        list(sample(model, [[1]], max_new_tokens=2, backend="cpu", cache=use))
        assert set(asked) == {use}
    asked.clear()
    score_texts(model, [[1, 2]], backend="cpu")
    assert set(asked) == {"scoring"}


def test_only_a_story_model_runs_on_a_named_backend() -> None:
    other: Any = SimpleNamespace(device=torch.device("cpu"))
    assert sampling_backend(other, "auto") == "torch"
    with pytest.raises(InputError, match="runs a StoryModel, not a SimpleNamespace"):
        sampling_backend(other, "cpu")


@pytest.mark.gpu
def test_auto_on_a_gpu_tells_the_torch_backends_stories() -> None:
    model = story_model("llama-gqa")
    expected = list(sample(model, [[3, 4, 5], [7]], n=20, max_new_tokens=20, backend="torch"))
    network: Any = model.network
    network.to("cuda")
    assert silent(model) == "cuda"
    found = list(sample(model, [[3, 4, 5], [7]], n=20, max_new_tokens=20))
    assert sum(a.tokens == b.tokens for a, b in zip(found, expected, strict=True)) >= 38
