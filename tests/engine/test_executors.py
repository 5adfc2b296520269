"""Shards: the same bytes in this process, in several and on a cluster, also when one is killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyalign
from tests.models.tiny import story_model
from tinyalign.common.errors import CheckpointError, DataError, InputError
from tinyalign.engine import sample
from tinyalign.engine.backend import made_for
from tinyalign.engine.executors import (
    ContinuationTask,
    Dask,
    InProcess,
    Processes,
    SampleTask,
    Source,
    TextTask,
    publish,
    run_task,
)
from tinyalign.engine.executors.driver import run_shards
from tinyalign.engine.executors.store import ShardStore
from tinyalign.engine.executors.task import Task
from tinyalign.engine.score import score_continuations, score_texts
from tinyalign.models import StoryModel, dequantize

PROMPTS = ("Once upon a time", "The dog", "Tom and his mom went to the park. Tom said")


@pytest.fixture(scope="module")
def model() -> StoryModel:
    return tinyalign.load("ternary", device="cpu")


@pytest.fixture(scope="module")
def task(model: StoryModel) -> SampleTask:
    return SampleTask(Source("ternary", model.sha256), PROMPTS, n=20, max_new_tokens=30, seed=4)


@pytest.fixture(scope="module")
def expected(task: SampleTask) -> list[bytes]:
    return list(run_shards(task, shard_size=5))


class Counted:
    """In this process, keeping count of the shards that were computed."""

    def __init__(self) -> None:
        self.computed: list[range] = []

    def shards(self, task: Task, shards: Sequence[range]) -> Iterator[tuple[range, bytes]]:
        # Backwards: results must come in order all the same.
        for indices, shard in InProcess().shards(task, list(reversed(shards))):
            self.computed.append(indices)
            yield indices, shard


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


@dataclass(frozen=True)
class Gated(SampleTask):
    """Its first shard comes at once, the others when the file `gate` is there: workers die half-way."""

    gate: str = ""

    def items(self, indices: range) -> list[Any]:
        patience = time.monotonic() + 120
        while indices.start > 0 and not Path(self.gate).exists():
            assert time.monotonic() < patience, "nobody opened the gate"
            time.sleep(0.01)
        return super().items(indices)


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


@pytest.fixture(scope="module")
def whole_store(task: SampleTask, expected: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = tmp_path_factory.mktemp("whole") / "shards"
    assert list(run_shards(task, shard_size=5, store=store)) == expected
    return store.read_bytes()


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_a_run_goes_on_from_wherever_it_was_cut(
    task: SampleTask, expected: list[bytes], whole_store: bytes, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, content = Path(folder) / "shards", whole_store
        cut = data.draw(st.integers(0, len(content)))
        store.write_bytes(content[:cut])
        left = max(0, content[:cut].count(b"\n") - 1)
        counted = Counted()
        assert list(run_shards(task, shard_size=5, store=store, executor=counted)) == expected
        assert len(counted.computed) == len(expected) - left
        again = Counted()
        assert list(run_shards(task, shard_size=5, store=store, executor=again)) == expected
        assert again.computed == []


def test_a_run_left_early_keeps_what_it_did(task: SampleTask, expected: list[bytes], tmp_path: Path) -> None:
    store = tmp_path / "shards"
    begun = run_shards(task, shard_size=5, store=store)
    assert [next(begun) for _ in range(3)] == expected[:3]
    begun.close()
    counted = Counted()
    assert list(run_shards(task, shard_size=5, store=store, executor=counted)) == expected
    assert len(counted.computed) == len(expected) - 3


RUN = """
import sys
from tinyalign.engine.executors import *
task = SampleTask(Source("ternary", sys.argv[1]), {prompts!r}, n=20, max_new_tokens=30, seed=4)
for _ in run_task(task, shard_size=5, store=sys.argv[2]):
    import time
    time.sleep(0.2)
"""


@pytest.mark.slow
def test_a_process_killed_in_its_run_is_resumed(
    task: SampleTask, expected: list[bytes], tmp_path: Path
) -> None:
    store = tmp_path / "shards"
    script = RUN.format(prompts=PROMPTS)
    run = subprocess.Popen([sys.executable, "-c", script, task.source.sha256, str(store)])
    for _ in range(1200):
        if store.is_file() and store.read_bytes().count(b"\n") >= 4:
            break
        assert run.poll() is None
        time.sleep(0.1)
    run.kill()
    run.wait()
    lines = store.read_bytes().count(b"\n")
    assert 4 <= lines <= len(expected)
    counted = Counted()
    assert list(run_shards(task, shard_size=5, store=store, executor=counted)) == expected
    assert len(counted.computed) == len(expected) + 1 - lines


def test_a_store_of_something_else_or_damaged_is_refused(task: SampleTask, tmp_path: Path) -> None:
    store = tmp_path / "shards"
    list(run_shards(task, shard_size=30, store=store))
    other = SampleTask(task.source, PROMPTS, n=20, max_new_tokens=30, seed=5)
    store.write_bytes(store.read_bytes() + b"half a line")
    before = store.read_bytes()
    for changed, size in ((other, 30), (task, 29)):
        with pytest.raises(InputError, match="another task"):
            list(run_shards(changed, shard_size=size, store=store))
    assert store.read_bytes() == before
    with ShardStore(store), pytest.raises(InputError, match="Another run is writing"):
        list(run_shards(task, shard_size=30, store=store))
    content = store.read_bytes()
    store.write_bytes(content.replace(b"upon", b"Upon", 1))
    with pytest.raises(DataError, match=r"Line 2 .* damaged"):
        list(run_shards(task, shard_size=30, store=store))
    with pytest.raises(InputError, match="Cannot write"):
        list(run_shards(task, store=store / "below" / "a-file"))


@pytest.mark.parametrize("content", [b'{"precious": true}', b"line one\nline two", b"\n", b"0123abc def"])
def test_a_file_that_is_no_store_is_left_as_it_is(task: SampleTask, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine"
    file.write_bytes(content)
    with pytest.raises(InputError, match="does not begin like a store of shards: name another file"):
        list(run_shards(task, store=file))
    assert file.read_bytes() == content


def test_a_machine_without_a_compiler_does_not_mix_another_backends_results_in(
    task: SampleTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "shards"
    begun = run_shards(task, shard_size=30, store=store)
    next(begun)
    begun.close()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="no-such-compiler"):
        list(run_shards(task, shard_size=30, store=store))
    texts = TextTask(task.source, ("Once upon a time",))
    with pytest.raises(InputError, match="no-such-compiler"):
        list(run_task(texts))
    assert len(list(run_task(TextTask(task.source, texts.texts, backend="torch")))) == 1


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
from tests.engine.test_executors import Gated
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
    root = str(Path(__file__).resolve().parents[2])
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
