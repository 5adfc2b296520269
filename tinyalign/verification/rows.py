"""Results on disk: one append-only file of chained lines a leaf, which a killed run goes on from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyalign.common.errors import InputError
from tinyalign.verification.canonical import START, TamperedError, chained_line, read_chain
from tinyalign.verification.results import Row


class RowFile:
    """The rows of one leaf in `results/<leaf id>.jsonl`.

    The first line names the run (leaf, specification, seed), every later one holds `i` and `row`; each
    carries the chain's hash. Rows are appended in order and synced; nothing is ever rewritten but a last
    line that a dying process left half written, which is cut off. Raises `TamperedError` on reading lines
    that were changed, `InputError` for a file of another run.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.path = folder / "results" / f"{header['leaf']}.jsonl"
        values, self._chain, self._size = read_chain(self.path)
        if values and values[0] != header:
            raise InputError(
                f"{self.path}, line 1: these results belong to another run (other argument, models or seed): "
                "name another folder."
            )
        for number, value in enumerate(values[1:]):
            if value.get("i") != number or "row" not in value:
                raise TamperedError(f"{self.path}, line {number + 2}: expected row {number} of the leaf.")
        self._header = header
        self.rows: list[Row] = [value["row"] for value in values[1:]]

    @property
    def chain(self) -> str:
        """The hash after the last row: the identity of everything measured for the leaf."""
        return self._chain

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows after the last one and sync them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        chain = self._chain
        if chain == START:
            line, chain = chained_line(chain, self._header)
            lines.append(line)
        for number, row in enumerate(rows, start=len(self.rows)):
            line, chain = chained_line(chain, {"i": number, "row": row})
            lines.append(line)
        raw = "".join(lines).encode()
        with self.path.open("r+b" if self.path.exists() else "wb") as opened:
            opened.truncate(self._size)
            opened.seek(self._size)
            opened.write(raw)
            opened.flush()
            os.fsync(opened.fileno())
        self._chain, self._size = chain, self._size + len(raw)
        self.rows += rows
