"""Executors on one machine: this process, or several of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Protocol, runtime_checkable

from tinyalign.common.arguments import whole
from tinyalign.common.errors import InputError
from tinyalign.engine.executors.task import Task


@runtime_checkable
class Executor(Protocol):
    """Computes shards somewhere."""

    def shards(self, task: Task, shards: Sequence[range]) -> Iterator[tuple[range, bytes]]:
        """Each of `shards` with its bytes (`task.shard`), once, in any order.

        Raises `InputError` when the place cannot compute (its workers keep dying), and what the task raises.
        """
        ...


class InProcess:
    """One shard after the other, here."""

    def shards(self, task: Task, shards: Sequence[range]) -> Iterator[tuple[range, bytes]]:
        """Shards in order."""
        for indices in shards:
            yield indices, task.shard(indices)


def _remembering(started: list[SpawnProcess]) -> SpawnContext:
    """A context whose processes are also put into `started`.

    They are started fresh: a forked copy of a process with threads (torch's, a notebook's) can lock up.
    """

    def process(*arguments: Any, **named: Any) -> SpawnProcess:
        started.append(SpawnProcess(*arguments, **named))
        return started[-1]

    context = SpawnContext()
    vars(context)["Process"] = process
    return context


def _end_with_parent() -> None:
    """In a worker: ends it when the process that started it is gone, killed without a word to its workers."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Processes:
    """`workers` processes of one thread each, started fresh for a run.

    A process that dies (killed, out of memory) is replaced, with a warning, and the shards that were lost
    with it are computed again; `InputError` once `attempts` processes in a row died without a shard done.
    """

    def __init__(self, workers: int, *, attempts: int = 3) -> None:
        if whole("workers", workers) < 1 or whole("attempts", attempts) < 1:
            raise InputError(f"{workers} workers, {attempts} attempts: expected 1 or more.")
        self.workers, self.attempts = workers, attempts

    def shards(self, task: Task, shards: Sequence[range]) -> Iterator[tuple[range, bytes]]:
        """Shards as they are done."""
        left = set(shards)
        deaths = 0
        while left:
            started: list[SpawnProcess] = []
            pool = ProcessPoolExecutor(
                min(self.workers, len(left)), mp_context=_remembering(started), initializer=_end_with_parent
            )
            futures: dict[Future[bytes], range] = {}
            try:
                for indices in sorted(left, key=lambda shard: shard.start):
                    futures[pool.submit(task.shard, indices)] = indices
                for future in as_completed(futures):
                    result = future.result()
                    left.discard(futures[future])
                    deaths = 0
                    yield futures[future], result
            except BrokenProcessPool as error:
                deaths += 1
                if deaths >= self.attempts:
                    raise InputError(
                        f"Worker processes died {deaths} times without a shard done: use fewer than "
                        f"{self.workers} workers, or free memory."
                    ) from error
                warnings.warn(f"A worker process died; {len(left)} shards are computed again.", stacklevel=2)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                # One that was killed while it held the queue's lock would leave the others, and this
                # process's end, waiting for it.
                for process in started:
                    if process.is_alive():
                        process.kill()
