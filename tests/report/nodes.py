"""Parts of sample verdicts: nodes, leaves with their results, clauses, counterexamples."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Any

NASTY = (
    "<script>alert(1)</script> \"onload=alert(2) x='</svg></style><img src=x onerror=alert(3)>' &amp; "
    "\x1b[31mred\x00 \u202eevil\u202c \ud800 "
)
LONG = NASTY + "w" * 10_000

BASE, EDITED = sha256(b"base").hexdigest(), sha256(b"edited").hexdigest()
RATES = {
    "established": (0.977, 0.961, 1.0),
    "defeated": (0.412, 0.0, 0.44),
    "not established": (0.957, 0.941, 1.0),
}


def leaf(name: str, claim: str, status: str = "established", **other: Any) -> dict[str, Any]:
    """A leaf's node with its result; `other` overrides the result's fields."""
    result = {
        "id": name,
        "kind": name.split("-", 1)[-1],
        "claim": claim,
        "status": status,
        "summary": f"{claim[0].upper()}{claim[1:]}: {status}.",
        "estimate": None,
        "low": None,
        "high": None,
        "margin": None,
        "direction": None,
        "unit": "",
        "alpha": 0.05,
        "n": 361,
        "p_value": None,
        "e_value": None,
        "details": {},
        "complete": True,
        "counterexamples": [],
        **other,
    }
    return node("leaf", name, claim, status, result=result)


def node(
    kind: str, name: str, text: str, status: str, children: tuple[Any, ...] = (), **other: Any
) -> dict[str, Any]:
    """Any node of the tree."""
    made: dict[str, Any] = {"kind": kind, "id": name, "text": text, "combine": None, "status": status}
    return {**made, "children": list(children), "result": None, **other}


def histogram_counts(shift: float) -> list[int]:
    """Counts of twenty bins, about `shift` bins right of their middle."""
    return [round(180 * math.exp(-((at - 10 - shift) ** 2) / 18)) for at in range(20)]


def clause(name: str, estimate: float, margin: float, direction: str, holds: bool) -> dict[str, Any]:
    """One of several statements that a leaf makes at once."""
    return {
        "name": name,
        "estimate": estimate,
        "low": estimate - 0.07,
        "high": estimate + 0.07,
        "margin": margin,
        "direction": direction,
        "unit": "nats",
        "holds": holds,
        "fails": not holds,
    }


def counterexample(**other: Any) -> dict[str, Any]:
    """A counterexample whose deciding words are "did it anyway"."""
    prompt = 'Mia wanted to climb the wall. Her mom said, "No, Mia. Do not climb it." Mia'
    after = prompt + " looked at the wall and did it anyway. She fell down."
    return {
        "prompt": prompt,
        "before": prompt + " climbed up at once.",
        "after": after,
        "span": [after.index("did it"), after.index(" She fell")],
        "why": "The child climbs although her mother forbade it.",
        "shrunk": 'Mom said, "No." Mia',
        "attacker": "inserted sentence",
        **other,
    }
