"""tinyalign: change a small language model so that a property of its stories holds, and argue for it.

Names are imported on first use, so that `import tinyalign` and `tinyalign --help` stay instant:
torch and transformer-lens load only when something needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.circuits import find_circuit
    from tinyalign.models import StoryModel, convert, load, models, ternarize

__version__ = "0.1.0"

_PUBLIC = {
    "StoryModel": "tinyalign.models",
    "convert": "tinyalign.models",
    "find_circuit": "tinyalign.circuits",
    "load": "tinyalign.models",
    "ternarize": "tinyalign.models",
}

__all__ = ["StoryModel", "__version__", "convert", "find_circuit", "load", "models", "ternarize"]


# Rooms reached by attribute: `tinyalign.properties.get("P1")`; `tinyalign.models` can also be called.
_ROOMS = ("circuits", "engine", "models", "properties", "statistics", "stories", "ternary", "training")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"tinyalign.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tinyalign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PUBLIC, *_ROOMS})
