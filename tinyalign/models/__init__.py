"""One loader for every format, hooks that are live, saving; names load on first use."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.models.catalogue import ModelInfo, models
    from tinyalign.models.config import ModelConfig
    from tinyalign.models.conversion import convert
    from tinyalign.models.loading import load
    from tinyalign.models.story_model import Conversion, StoryModel
    from tinyalign.models.ternarizing import dequantize, ternarize

_HOME = {
    "Conversion": "story_model",
    "ModelConfig": "config",
    "ModelInfo": "catalogue",
    "StoryModel": "story_model",
    "convert": "conversion",
    "dequantize": "ternarizing",
    "load": "loading",
    "models": "catalogue",
    "ternarize": "ternarizing",
}

__all__ = [
    "Conversion",
    "ModelConfig",
    "ModelInfo",
    "StoryModel",
    "convert",
    "dequantize",
    "load",
    "models",
    "ternarize",
]


class _CallablePackage(ModuleType):
    """`tinyalign.models` is this room and, called, the list of models: both are public names."""

    def __call__(self) -> list[ModelInfo]:
        from tinyalign.models.catalogue import models

        return models()


sys.modules[__name__].__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"tinyalign.models.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tinyalign.models' has no attribute {name!r}")
