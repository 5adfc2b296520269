"""Where data lies: what ships with tinyalign, and the stories and models that may lie beside it."""

from __future__ import annotations

import os
from pathlib import Path

from tinyalign.common.errors import DataError

_PACKAGE = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """The folder with embedded checkpoints, grammars and property definitions.

    In a checkout it is `data/` beside the package; in an installed wheel `tinyalign/data`.
    Raises `DataError` when neither is there.
    """
    for candidate in (_PACKAGE / "data", _PACKAGE.parent / "data"):
        if candidate.is_dir():
            return candidate
    raise DataError(f"tinyalign's data folder is missing beside {_PACKAGE}: install the package again.")


def shared_folder(kind: str) -> Path | None:
    """A folder of material that is never copied into the project: `tinystories` or `models`.

    `TINYALIGN_SHARED` names its parent; without it, `../shared` beside a checkout is looked at.
    Returns None when it is absent.
    """
    named = os.environ.get("TINYALIGN_SHARED")
    parent = Path(named) if named else _PACKAGE.parent.parent / "shared"
    folder = parent / kind
    return folder if folder.is_dir() else None
