"""The sealed stream: a seed that nobody can choose, since it follows from what is claimed and of what."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyalign.properties.definition import LogitPair, Property
from tinyalign.verification.argument import Argument
from tinyalign.verification.canonical import sha256_of
from tinyalign.verification.texts import StorySource

if TYPE_CHECKING:
    from tinyalign.circuits import Localization

FORMAT = 1
"""Part of every specification: raise it when rows are measured in another way."""


@dataclass(frozen=True)
class Seal:
    """What a run is sealed with: identities, the attempt's number and its error, and the seed."""

    specification_sha256: str
    base_sha256: str
    edited_sha256: str
    seed: int
    attempt: int
    alpha: float
    ledger_chain: str

    def to_json(self) -> dict[str, Any]:
        """The fields; the seed as text, since JSON readers round numbers this large."""
        return {
            "specification_sha256": self.specification_sha256,
            "seed": str(self.seed),
            "attempt": self.attempt,
            "alpha": self.alpha,
            "ledger_chain": self.ledger_chain,
        }


def specification(
    argument: Argument,
    prop: Property,
    pair: LogitPair,
    preserved: Sequence[tuple[Property, LogitPair]],
    stories: StorySource,
    localization: Localization | None,
) -> dict[str, Any]:
    """Everything that says what is claimed and on which data, as JSON values."""

    def identity(one: Property, its: LogitPair) -> dict[str, Any]:
        return {"property": one.to_json(), "pair": its.name, "grammar_sha256": one.prompts.sha256}

    return {
        "format": FORMAT,
        "argument": argument.to_json(),
        **identity(prop, pair),
        "preserved": [identity(one, its) for one, its in preserved],
        "stories": stories.to_json(),
        "localization": None if localization is None else localization.to_json(),
    }


def sealed_seed(specification_sha256: str, base_sha256: str, edited_sha256: str) -> int:
    """The 63-bit root seed: SHA-256 of specification, base and edited checkpoint."""
    text = f"tinyalign sealed stream\n{specification_sha256}\n{base_sha256}\n{edited_sha256}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def specification_sha256(value: dict[str, Any]) -> str:
    """Its identity."""
    return sha256_of(value)
