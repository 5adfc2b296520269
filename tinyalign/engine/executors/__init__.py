"""Sampling and scoring in shards: in this process, in several, or on a Dask cluster, with the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.engine.executors.cluster import Dask
    from tinyalign.engine.executors.driver import run_task
    from tinyalign.engine.executors.local import Executor, InProcess, Processes
    from tinyalign.engine.executors.store import ShardStore
    from tinyalign.engine.executors.task import ContinuationTask, SampleTask, Source, TextTask, publish

_HOME = {
    "ContinuationTask": "task",
    "Dask": "cluster",
    "Executor": "local",
    "InProcess": "local",
    "Processes": "local",
    "SampleTask": "task",
    "ShardStore": "store",
    "Source": "task",
    "TextTask": "task",
    "publish": "task",
    "run_task": "driver",
}

__all__ = [
    "ContinuationTask",
    "Dask",
    "Executor",
    "InProcess",
    "Processes",
    "SampleTask",
    "ShardStore",
    "Source",
    "TextTask",
    "publish",
    "run_task",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"tinyalign.engine.executors.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tinyalign.engine.executors' has no attribute {name!r}")
