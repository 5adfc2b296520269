"""Running a task in shards: what is stored is not computed again, results come in order."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from tinyalign.common.errors import InputError
from tinyalign.engine.executors.local import Executor, InProcess
from tinyalign.engine.executors.store import ShardStore
from tinyalign.engine.executors.task import Task


def run_task(
    task: Task,
    *,
    executor: Executor | None = None,
    shard_size: int = 256,
    store: str | Path | None = None,
) -> Iterator[Any]:
    """Yield the results of `task` in order, the same to the byte whichever executor (default: this process).

    Shards are `shard_size` items each, however many workers there are, since the last bits of a score
    depend on what it is computed beside. With `store`, a file, shards are kept there as they are done: the
    same call after a kill goes on. Raises `InputError` for a shard size below 1, and what task, executor and
    store raise.
    """
    for shard in run_shards(task, executor=executor, shard_size=shard_size, store=store):
        yield from task.results(shard)


def run_shards(
    task: Task,
    *,
    executor: Executor | None = None,
    shard_size: int = 256,
    store: str | Path | None = None,
) -> Generator[bytes, None, None]:
    """Yield the bytes of every shard in order; see `run_task`."""
    if shard_size < 1:
        raise InputError(f"A shard size of {shard_size} cannot be used: expected 1 or more.")
    wanted = [range(first, min(first + shard_size, task.size)) for first in range(0, task.size, shard_size)]
    kept = None if store is None else ShardStore(store)
    with kept or nullcontext():
        done = {} if kept is None else kept.open(task, shard_size)
        missing = [indices for indices in wanted if indices not in done]
        due = 0
        # Closed when the caller stops early too, so that no worker goes on for nobody.
        with closing(_stream(executor or InProcess(), task, missing)) as computed:
            while due < len(wanted):
                while due < len(wanted) and wanted[due] in done:
                    yield done.pop(wanted[due])
                    due += 1
                if due < len(wanted):
                    indices, shard = next(computed)
                    if kept is not None:
                        kept.add(indices, shard)
                    done[indices] = shard


def _stream(
    executor: Executor, task: Task, missing: list[range]
) -> Generator[tuple[range, bytes], None, None]:
    if missing:
        yield from executor.shards(task, missing)
