"""One process at a time in a folder; the lock dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tinyalign.common.errors import InputError


@contextlib.contextmanager
def locked(folder: Path, what: str, *, wait: bool) -> Iterator[None]:
    """Hold the folder (made if it isn't there) for this process; `what` it is, in the error's words.

    Waits for another holder, or with `wait` False raises `InputError`; so too where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"The {what} {folder} cannot be used ({error.strerror}): name another.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"Another run works in the {what} {folder}: wait for it, or name another."
            ) from error
        yield
    finally:
        os.close(handle)
