"""Seeds derived from what they are for, never from batch size, thread count or order."""

from __future__ import annotations

import hashlib


def derive_seed(*purpose: str | int | bytes) -> int:
    """A 63-bit seed from the words that say what the draw is for.

    Every part is written with its type and length before hashing (SHA-256), so that
    `("ab", "c")` and `("a", "bc")`, or `1` and `"1"`, give different seeds.
    """
    digest = hashlib.sha256()
    for part in purpose:
        raw = part if isinstance(part, bytes) else str(part).encode()
        digest.update(f"{type(part).__name__}:{len(raw)}:".encode())
        digest.update(raw)
    return int.from_bytes(digest.digest()[:8], "little") >> 1
