"""The model that most contests of the benchmark's tests run on."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinyalign
from tinyalign.models import StoryModel


@pytest.fixture(scope="module")
def model(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")
