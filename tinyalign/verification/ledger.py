"""The ledger: every edited checkpoint held against a specification, in an append-only, chained file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from tinyalign.common.files import write_json
from tinyalign.statistics.multiplicity import attempt_alpha
from tinyalign.verification.canonical import TamperedError, chained_line, read_chain
from tinyalign.verification.locking import locked

LINES, HEAD = "ledger.jsonl", "head.json"


@dataclass(frozen=True)
class Attempt:
    """One entry: attempt number `number` to establish a specification on a base, with the error it may spend.

    `chain` is the ledger's hash after the entry, which a verdict keeps, so that an entry deleted later is
    missed by whoever checks that verdict.
    """

    number: int
    alpha: float
    chain: str

    def to_json(self) -> dict[str, Any]:
        """The three fields."""
        return {"number": self.number, "alpha": self.alpha, "chain": self.chain}


@dataclass(frozen=True)
class Ledger:
    """A folder with the chained lines and, beside them, how many there are and the last hash.

    A changed or deleted line breaks the chain; lines cut off at the end contradict the head; and where both
    were deleted, every verdict that rests on them fails its recheck.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path | None = None) -> Ledger:
        """The ledger in this folder; by default the user's own."""
        return cls(Path(folder or Path(platformdirs.user_data_dir("tinyalign")) / "ledger"))

    def attempt(self, claim: str, edited: str, alpha: float, about: str = "") -> Attempt:
        """Which attempt this is, entered if it is new.

        `claim` identifies what is to be established (specification and base), `edited` the checkpoint. The
        same checkpoint again is the same attempt: its sealed stream is the same too, so there is nothing to
        gain by it. Attempt j may spend alpha / (j (j + 1)). Raises `TamperedError` for a ledger that was
        changed, `InputError` where it cannot be written.
        """
        with locked(self.folder, "ledger", wait=True):
            entries, chain, size = self._read()
            own = [entry for entry in entries if entry["claim"] == claim]
            for entry in own:
                if entry["edited"] == edited:
                    return Attempt(entry["attempt"], attempt_alpha(entry["attempt"], alpha), entry["after"])
            number = len(own) + 1
            value = {
                "attempt": number,
                "claim": claim,
                "edited": edited,
                "about": about,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            line, after = chained_line(chain, value)
            path = self.folder / LINES
            with path.open("r+b" if path.exists() else "wb") as opened:
                opened.truncate(size)
                opened.seek(size)
                opened.write(line.encode())
                opened.flush()
                os.fsync(opened.fileno())
            write_json(self.folder / HEAD, {"lines": len(entries) + 1, "chain": after})
            return Attempt(number, attempt_alpha(number, alpha), after)

    def check(self, claim: str, edited: str, attempt: Attempt) -> None:
        """Raise `TamperedError` unless the ledger is whole and holds this attempt's entry."""
        entries, _, _ = self._read()
        for entry in entries:
            if entry["claim"] == claim and entry["edited"] == edited:
                if entry["after"] == attempt.chain and entry["attempt"] == attempt.number:
                    return
                break
        raise TamperedError(
            f"{self.folder / LINES}: the line of attempt {attempt.number} on this claim (chain "
            f"{attempt.chain[:12]}) is not there any more: the ledger was cut or replaced."
        )

    def _read(self) -> tuple[list[dict[str, Any]], str, int]:
        """The entries with the chain's hash `after` each, the last hash, and the bytes of the whole lines."""
        path, head = self.folder / LINES, self.folder / HEAD
        values, chain, size = read_chain(path)
        raw = path.read_bytes()[:size].decode() if size else ""
        hashes = [json.loads(line)["chain"] for line in raw.splitlines()]
        if head.exists():
            try:
                known = json.loads(head.read_text(encoding="utf-8"))
                lines, last = int(known["lines"]), str(known["chain"])
            except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise TamperedError(f"{head}: this is no head of a ledger.") from error
            # One line more than the head knows: the process died between the two.
            if len(values) < lines or (lines and hashes[lines - 1] != last) or len(values) > lines + 1:
                raise TamperedError(
                    f"{path}: the head counts {lines} lines, but the file has {len(values)}: line "
                    f"{min(len(values), lines) + 1} or one near it was deleted or added."
                )
        elif len(values) > 1:
            raise TamperedError(f"{head} is missing beside {len(values)} lines: it was deleted.")
        return [{**value, "after": hash_} for value, hash_ in zip(values, hashes, strict=True)], chain, size
