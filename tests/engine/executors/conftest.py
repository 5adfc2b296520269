"""One task in shards, and the bytes that every executor must give."""

from __future__ import annotations

import pytest

import tinyalign
from tests.engine.executors.sharded import PROMPTS
from tinyalign.engine.executors import SampleTask, Source
from tinyalign.engine.executors.driver import run_shards
from tinyalign.models import StoryModel


@pytest.fixture(scope="module")
def model() -> StoryModel:
    return tinyalign.load("ternary", device="cpu")


@pytest.fixture(scope="module")
def task(model: StoryModel) -> SampleTask:
    return SampleTask(Source("ternary", model.sha256), PROMPTS, n=20, max_new_tokens=30, seed=4)


@pytest.fixture(scope="module")
def expected(task: SampleTask) -> list[bytes]:
    return list(run_shards(task, shard_size=5))
