"""Edits: fitted on training prompts, frozen as an artifact, applied, undone and told in words.

edit = fit_edit(model, prop, method="trits", pair="reply")   # the first line takes a minute
edited = edit.apply(model)                                    # a new model; the base stays
with edit.applied(model): ...                                 # in place, undone at the end
edit.save("edit/"); load_edit("edit/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.edits.batches import FitWords
    from tinyalign.edits.changes import MatrixChange, difference
    from tinyalign.edits.edit import Edit
    from tinyalign.edits.fitting import METHODS, FitSettings, as_edit, fit_edit
    from tinyalign.edits.store import load_edit

_HOME = {
    "METHODS": "fitting",
    "Edit": "edit",
    "FitSettings": "fitting",
    "FitWords": "batches",
    "MatrixChange": "changes",
    "as_edit": "fitting",
    "difference": "changes",
    "fit_edit": "fitting",
    "load_edit": "store",
}

__all__ = [
    "METHODS",
    "Edit",
    "FitSettings",
    "FitWords",
    "MatrixChange",
    "as_edit",
    "difference",
    "fit_edit",
    "load_edit",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"tinyalign.edits.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tinyalign.edits' has no attribute {name!r}")
