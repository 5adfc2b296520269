"""Fast batched sampling and scoring of a `StoryModel`; names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.engine.sampling import Sampling, Story, sample
    from tinyalign.engine.score import ContinuationScores, TextScores, score_continuations, score_texts

_HOME = {
    "ContinuationScores": "score",
    "Sampling": "sampling",
    "Story": "sampling",
    "TextScores": "score",
    "sample": "sampling",
    "score_continuations": "score",
    "score_texts": "score",
}

__all__ = [
    "ContinuationScores",
    "Sampling",
    "Story",
    "TextScores",
    "sample",
    "score_continuations",
    "score_texts",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"tinyalign.engine.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tinyalign.engine' has no attribute {name!r}")
