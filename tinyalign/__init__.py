"""tinyalign: change a small language model so that a property of its stories holds, and argue for it.

Names are imported on first use, so that `import tinyalign` and `tinyalign --help` stay instant:
torch and transformer-lens load only when something needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.circuits import find_circuit
    from tinyalign.edits import Edit, fit_edit, load_edit
    from tinyalign.models import StoryModel, convert, load, models, ternarize
    from tinyalign.verification import Verdict, verify

__version__ = "0.1.0"

_PUBLIC = {
    "Edit": "tinyalign.edits",
    "StoryModel": "tinyalign.models",
    "Verdict": "tinyalign.verification",
    "convert": "tinyalign.models",
    "find_circuit": "tinyalign.circuits",
    "fit_edit": "tinyalign.edits",
    "load": "tinyalign.models",
    "load_edit": "tinyalign.edits",
    "ternarize": "tinyalign.models",
    "verify": "tinyalign.verification",
}

__all__ = [
    "Edit",
    "StoryModel",
    "Verdict",
    "__version__",
    "convert",
    "find_circuit",
    "fit_edit",
    "load",
    "load_edit",
    "models",
    "ternarize",
    "verify",
]


# Rooms reached by attribute: `tinyalign.properties.get("P1")`; `tinyalign.models` can also be called.
_ROOMS = (
    "circuits",
    "edits",
    "engine",
    "models",
    "properties",
    "report",
    "statistics",
    "stories",
    "ternary",
    "training",
    "verification",
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"tinyalign.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tinyalign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PUBLIC, *_ROOMS})
