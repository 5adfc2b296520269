"""Files that are whole or not there: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyalign.common.errors import InputError


@contextlib.contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is renamed to `target`, on failure removed.

    Raises `InputError` when the disk refuses (full, read-only), with the path and the system's reason.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror}; choose another place.") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror}; nothing was left behind.") from error
    finally:
        temporary.unlink(missing_ok=True)


class _UnwrittenError(Exception):
    """Leaves `atomic_path` before anything is written."""


def check_writable(target: str | Path) -> None:
    """Raises `InputError` where no file can be written at `target`: before work whose result goes there."""
    with contextlib.suppress(_UnwrittenError), atomic_path(target):
        raise _UnwrittenError


@contextlib.contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that replaces `target` as a whole on success.

    An existing `target` is replaced only if it is a folder; raises `InputError` otherwise or when the
    disk refuses.
    """
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise InputError(f"Cannot write the folder {target}: a file of that name is there.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror}; choose another place.") from error
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        for written in temporary.rglob("*"):
            # Some writers make files that only their owner may read.
            written.chmod((0o777 if written.is_dir() else 0o666) & ~umask)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.replace(old / "old")
            temporary.replace(target)
            shutil.rmtree(old)
        else:
            temporary.replace(target)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror}; nothing was left behind.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(target: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | Path, value: Any) -> None:
    """Write `value` as JSON (sorted keys, indented, NaN refused) atomically."""
    write_text(
        target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    )


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
