"""One way to write a value as bytes, and chains of hashes over lines, so that a change anywhere shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyalign.common.errors import InputError

START = "0" * 64


class TamperedError(InputError):
    """A file of a verification is not what was written: the sentence names the file and the line."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks; NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def sha256_of(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def link(before: str, value: Mapping[str, Any]) -> str:
    """The chain's hash after a line: over the hash before it and the line's content."""
    return hashlib.sha256(f"{before}\n{canonical(value)}".encode()).hexdigest()


def chained_line(before: str, value: Mapping[str, Any]) -> tuple[str, str]:
    """(the line to append, its newline included; the chain's hash after it)."""
    after = link(before, value)
    return canonical({**value, "chain": after}) + "\n", after


def read_chain(path: Path) -> tuple[list[dict[str, Any]], str, int]:
    """Every whole line of a chained file, the chain's last hash, and how many bytes the whole lines take.

    A last line without its newline was being written when the process died: it is left out. Raises
    `TamperedError` with the number of the first line that is no JSON object or does not continue the chain.
    """
    raw = path.read_bytes() if path.exists() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    before, values = START, []
    for number, line in enumerate(whole.decode("utf-8", errors="replace").splitlines(), start=1):
        try:
            value = json.loads(line)
            claimed = value.pop("chain")
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise TamperedError(f"{path}, line {number}: this is no line of a verification.") from error
        if link(before, value) != claimed:
            raise TamperedError(
                f"{path}, line {number}: the hash does not continue the chain, so this line or one before it "
                "was changed, deleted or put in after it was written."
            )
        before = claimed
        values.append(value)
    return values, before, len(whole)
