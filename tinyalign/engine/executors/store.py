"""The append-only store of done shards: a run that was killed goes on where it stood."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tinyalign.common.errors import DataError, InputError
from tinyalign.engine.executors.task import Task


class ShardStore:
    """A file of JSON lines: what task it is of, then a line a shard, each with its own SHA-256.

    A line is on the disk (synced) before the next is written. Half a line at the end, from a run that was
    killed as it wrote, is cut off; damage anywhere else raises `DataError`. One process writes at a time.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self._lock = FileLock(f"{self.file}.lock", timeout=0)

    def __enter__(self) -> ShardStore:
        """Take the file; raises `InputError` when another run has it or it cannot be written."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise InputError(
                f"Another run is writing {self.file}: wait for it or name another file."
            ) from error
        except OSError as error:
            raise InputError(f"Cannot write {self.file}: {error.strerror}; choose another place.") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Give the file back."""
        self._lock.release()

    def open(self, task: Task, shard_size: int) -> dict[range, bytes]:
        """The shards that are done, of this task and shard size; begins the file where there is none.

        Raises `InputError`, and leaves the file as it is, when it is no store or holds another task's shards.
        """
        expected = {"task": task.digest, "shard_size": shard_size}
        content = self.file.read_bytes() if self.file.is_file() else b""
        whole = content.rfind(b"\n") + 1
        lines = list(self._lines(content[:whole]))
        # Half a line may be the end of a run that was killed as it wrote, or somebody's file.
        if not lines and not _line(expected).startswith(content):
            raise self._foreign()
        if lines and lines[0] != expected:
            raise InputError(
                f"{self.file} holds the shards of another task (prompts, model, settings, shard size): "
                "name another file."
            )
        if whole < len(content):
            os.truncate(self.file, whole)
        if not lines:
            self._append(expected)
        return {range(line["start"], line["stop"]): line["result"].encode() for line in lines[1:]}

    def add(self, indices: range, shard: bytes) -> None:
        """Append one shard."""
        self._append({"start": indices.start, "stop": indices.stop, "result": shard.decode()})

    def _lines(self, content: bytes) -> Iterator[dict[str, Any]]:
        """The values of whole lines, checked."""
        for number, line in enumerate(content.split(b"\n")[:-1], start=1):
            digest, _, body = line.partition(b" ")
            if hashlib.sha256(body).hexdigest().encode() != digest:
                if number == 1:
                    raise self._foreign()
                raise DataError(f"Line {number} of {self.file} is damaged: delete the file and run again.")
            yield json.loads(body)

    def _foreign(self) -> InputError:
        return InputError(f"{self.file} does not begin like a store of shards: name another file.")

    def _append(self, value: dict[str, Any]) -> None:
        try:
            with self.file.open("ab") as opened:
                opened.write(_line(value))
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            raise InputError(
                f"Cannot write {self.file}: {error.strerror}; make room and run again, done shards are kept."
            ) from error


def _line(value: dict[str, Any]) -> bytes:
    body = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(body).hexdigest().encode() + b" " + body + b"\n"
