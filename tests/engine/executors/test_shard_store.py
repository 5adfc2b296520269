"""The store of shards: runs that were cut or killed go on, and no other file is touched."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.executors.sharded import PROMPTS, Counted
from tinyalign.common.errors import DataError, InputError
from tinyalign.engine.executors import SampleTask, TextTask, run_task
from tinyalign.engine.executors.driver import run_shards
from tinyalign.engine.executors.store import ShardStore


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
