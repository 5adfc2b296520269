"""Fixtures every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported anywhere: two contending OpenMP pools are ten times slower than one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tinyalign.common.resources import shared_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped, saying so, where there is no CUDA device."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting:
        import torch

        if not torch.cuda.is_available():
            for item in wanting:
                item.add_marker(pytest.mark.skip(reason="no CUDA device is visible"))


@pytest.fixture(autouse=True)
def no_device_unless_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that are not marked `gpu` run as where there is no GPU, which models would be loaded onto."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        # The variable is for processes that a test starts; this one may know its devices already.
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder with a real model (stories260K); skips, saying so, where it is absent."""
    folder = shared_folder("models")
    if folder is None:
        pytest.skip("the folder with real models (../shared/models or TINYALIGN_SHARED) is absent")
    return folder


@pytest.fixture(scope="session")
def shared_stories() -> Path:
    """The folder with real stories; skips, saying so, where it is absent."""
    folder = shared_folder("tinystories")
    if folder is None:
        pytest.skip("the folder with real stories (../shared/tinystories or TINYALIGN_SHARED) is absent")
    return folder
