"""Shards: the same bytes in this process, in several and on a cluster, also when one is killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.engine.executors.sharded import PROMPTS, Counted, Gated
from tests.models.tiny import story_model
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine import sample
from tinyalign.engine.backend import made_for
from tinyalign.engine.executors import (
    ContinuationTask,
    Dask,
    Processes,
    SampleTask,
    Source,
    TextTask,
    publish,
    run_task,
)
from tinyalign.engine.executors.driver import run_shards
from tinyalign.engine.score import score_continuations, score_texts
from tinyalign.models import StoryModel, dequantize


@pytest.mark.parametrize("shard_size", [1, 7, 512])
def test_shards_are_the_whole_run(model: StoryModel, task: SampleTask, shard_size: int) -> None:
    whole = list(sample(model, PROMPTS, n=20, max_new_tokens=30, seed=4))
    assert list(run_task(task, shard_size=shard_size)) == whole
    assert list(run_task(task, shard_size=shard_size, executor=Counted())) == whole


def test_scores_in_shards(model: StoryModel, task: SampleTask) -> None:
    source = task.source
    texts = tuple(f"Lily had {i} red balls and a dog." for i in range(7))
    for shard_size in (2, 7):
        found = list(run_task(TextTask(source, texts), shard_size=shard_size))
        for one, other in zip(found, score_texts(model, texts).log_probs, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
    alternatives = ((" sad.", " happy."),) * 7
    found = list(run_task(ContinuationTask(source, texts, alternatives), shard_size=3))
    for one, other in zip(found, score_continuations(model, texts, alternatives).log_probs, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


@pytest.fixture
def gated(task: SampleTask, tmp_path: Path) -> Gated:
    return Gated(
        task.source, task.prompts, task.n, task.max_new_tokens, seed=task.seed, gate=str(tmp_path / "gate")
    )


def worker_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_processes_give_the_same_bytes_though_one_is_killed(gated: Gated, expected: list[bytes]) -> None:
    shards = run_shards(gated, shard_size=5, executor=Processes(2))
    with pytest.warns(UserWarning, match="A worker process died"):
        found = [next(shards)]
        children = worker_processes()
        assert len(children) == 2
        children[0].kill()
        Path(gated.gate).touch()
        found += shards
    assert found == expected


@pytest.mark.slow
def test_processes_that_hang_do_not_hold_up_the_end_of_a_run(task: SampleTask) -> None:
    shards = [range(start, start + 5) for start in range(0, task.size, 5)]
    run = Processes(2).shards(task, shards)
    found = [next(run) for _ in shards]
    workers = worker_processes()
    assert len(workers) == 2
    for worker in workers:
        worker.suspend()
    try:
        assert next(run, None) is None
        assert not psutil.wait_procs(workers, timeout=30)[1]
    finally:
        for worker in workers:
            if worker.is_running():
                worker.kill()
    assert {indices for indices, _ in found} == set(shards)


class Deadly(SampleTask):
    """Ends the process that computes it."""

    def items(self, indices: range) -> list[Any]:
        os._exit(1)


@pytest.mark.slow
def test_processes_that_keep_dying_are_given_up(task: SampleTask) -> None:
    with pytest.warns(UserWarning, match="died"), pytest.raises(InputError, match="died 2 times"):
        list(run_task(Deadly(task.source, PROMPTS), executor=Processes(1, attempts=2)))


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bytes_though_a_worker_is_killed(
    gated: Gated, expected: list[bytes]
) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        shards = run_shards(gated, shard_size=5, executor=Dask(client))
        found = [next(shards)]
        killed = next(iter(client.run(os.getpid).values()))
        assert killed != os.getpid()
        os.kill(killed, signal.SIGKILL)
        Path(gated.gate).touch()
        found += shards
        assert found == expected
        assert killed not in client.run(os.getpid).values()


def test_a_cluster_that_is_not_there() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="No Dask scheduler answers"):
        Dask("tcp:/nowhere")


def test_the_models_identity_is_checked(task: SampleTask) -> None:
    with pytest.raises(CheckpointError, match="has the identity"):
        list(run_task(SampleTask(Source("ternary", "0" * 64), PROMPTS)))


def test_a_published_model_is_the_one_that_was_published(model: StoryModel, tmp_path: Path) -> None:
    edited = dequantize(model)
    source = publish(edited, tmp_path / "edited")
    assert source.model().sha256 == edited.sha256 != model.sha256
    edited = SampleTask(source, PROMPTS, max_new_tokens=12)
    assert len(list(run_task(edited))) == 3


def test_auto_is_what_is_made_for_the_model() -> None:
    assert made_for(story_model("neo")) == "cpu"
    hooked: Any = story_model("llama")
    hooked.network.to(torch.bfloat16)
    assert made_for(hooked) == "static"
    hooked.network.model.register_forward_hook(lambda *_: None)
    assert made_for(hooked) == "torch"


DRIVER = """
import sys
from tinyalign.engine.executors import *
from tests.engine.executors.sharded import Gated
if __name__ == "__main__":
    task = Gated(Source("ternary", sys.argv[1]), {prompts!r}, n=20, max_new_tokens=30, gate=sys.argv[2])
    run = run_task(task, shard_size=5, executor=Processes(2))
    next(run)
    print("begun", flush=True)
    list(run)
"""


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(task: SampleTask, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(prompts=PROMPTS), encoding="utf-8")
    root = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, str(script), task.source.sha256, str(tmp_path / "never")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "begun\n"
        workers = [
            child
            for child in psutil.Process(driver.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        assert len(workers) == 2
        driver.kill()
    assert not psutil.wait_procs(workers, timeout=30)[1]


@pytest.mark.slow
def test_a_dask_cluster_runs_a_task_again_and_says_when_it_is_gone(
    task: SampleTask, expected: list[bytes]
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None
    ) as cluster:
        client = distributed.Client(cluster)
        executor = Dask(client)
        for _ in range(6):
            assert list(run_shards(task, shard_size=5, executor=executor)) == expected
        left = run_shards(task, shard_size=5, executor=executor)
        assert next(left) == expected[0]
        left.close()
        assert list(run_shards(task, shard_size=5, executor=executor)) == expected
        client.close()
        with pytest.raises(InputError, match="connection to the Dask scheduler was closed"):
            list(run_shards(task, shard_size=5, executor=executor))


def test_bad_input_is_one_sentence(task: SampleTask) -> None:
    source = task.source
    cases: list[tuple[Any, str]] = [
        (lambda: SampleTask(source, ()), "at least one"),
        (lambda: SampleTask(source, ("a",), n=0), "n 0"),
        (lambda: SampleTask(source, ("a",), temperature=-1), "Temperature"),
        (lambda: ContinuationTask(source, ("a",), ()), "1 prompts but 0"),
        (lambda: Processes(0), "0 workers"),
        (lambda: list(run_task(task, shard_size=0)), "shard size"),
        (lambda: list(run_task(SampleTask(source, ("word " * 600,)))), "the model reads 512 at most"),
    ]
    for call, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            call()
