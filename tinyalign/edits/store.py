"""Edits on disk: `edit.safetensors` for the entries, `edit.json` for everything a person wants to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tinyalign.common.errors import EditError
from tinyalign.common.files import atomic_folder, sha256_file, write_json
from tinyalign.edits.changes import MatrixChange
from tinyalign.edits.edit import Edit

FORMAT = "tinyalign-edit-1"
_ENTRIES, _RECORD = "edit.safetensors", "edit.json"


def save_edit(edit: Edit, folder: str | Path) -> None:
    """Write the edit to `folder`, whole or not at all."""
    tensors: dict[str, np.ndarray] = {}
    listed: list[dict[str, Any]] = []
    for number, change in enumerate(edit.changes):
        value = np.int8 if change.kind == "trits" else np.float32
        tensors[f"{number}.indices"] = change.indices.astype(np.int64)
        tensors[f"{number}.old"] = change.old.astype(value)
        tensors[f"{number}.new"] = change.new.astype(value)
        listed.append({"tensor": change.tensor, "kind": change.kind, "shape": list(change.shape)})
    with atomic_folder(Path(folder)) as temporary:
        save_file(tensors, str(temporary / _ENTRIES))
        entries_sha256 = sha256_file(temporary / _ENTRIES)
        write_json(
            temporary / _RECORD,
            {"format": FORMAT, **edit.to_json(), "changes": listed, "entries_sha256": entries_sha256},
        )


def load_edit(folder: str | Path) -> Edit:
    """Read an edit that `save_edit` wrote.

    Raises `EditError` when a file is missing or damaged, of another format, or the entries are not those
    that were written with the record.
    """
    folder = Path(folder)
    record = _record(folder / _RECORD)
    entries = folder / _ENTRIES
    if not entries.is_file():
        raise EditError(f"{folder.name} has no {_ENTRIES}: an edit needs both of its files.")
    if sha256_file(entries) != record.get("entries_sha256"):
        raise EditError(
            f"{_ENTRIES} in {folder.name} is not the file that {_RECORD} was written with: fit again."
        )
    try:
        tensors = load_file(str(entries))
        changes = tuple(
            MatrixChange(
                tensor=one["tensor"],
                kind=one["kind"],
                shape=tuple(one["shape"]),
                indices=tensors[f"{number}.indices"],
                old=tensors[f"{number}.old"],
                new=tensors[f"{number}.new"],
            )
            for number, one in enumerate(record["changes"])
        )
        return Edit(
            method=record["method"],
            base=record["base"],
            base_sha256=record["base_sha256"],
            edited_sha256=record["edited_sha256"],
            property_id=record["property_id"],
            pair=record["pair"],
            seed=record["seed"],
            prompts=record["prompts"],
            fit_words=record["fit_words"],
            components=tuple(record["components"]),
            changes=changes,
            rank=record["rank"],
            record=record["record"],
        )
    except (KeyError, TypeError, SafetensorError) as error:
        raise EditError(f"{folder.name} holds no complete edit ({error!r}): fit it again.") from error


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EditError(
            f"{path.parent.name} has no readable {path.name}: give the folder of an edit."
        ) from error
    except ValueError as error:
        raise EditError(f"{path.name} in {path.parent.name} is not JSON: fit the edit again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise EditError(f"{path.name} has the format {found!r}, expected {FORMAT!r}: fit the edit again.")
    return record
