"""Fast batched sampling and scoring of a `StoryModel`; names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.engine.sampling import Sampling, Story, sample

_HOME = {"Sampling": "sampling", "Story": "sampling", "sample": "sampling"}

__all__ = ["Sampling", "Story", "sample"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"tinyalign.engine.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tinyalign.engine' has no attribute {name!r}")
