"""Arguments: trees of claims whose leaves are re-run as tests on the weights; names load on first use.

verdict = tinyalign.verification.verify(base, edited, prop)   # the argument `standard`
verdict.status, verdict.exit_code, verdict.sentence
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.verification.argument import Argument, load_argument
    from tinyalign.verification.rechecking import recheck
    from tinyalign.verification.running import Budget
    from tinyalign.verification.verdict import Verdict
    from tinyalign.verification.verifying import verify

_HOME = {
    "Argument": "argument",
    "Budget": "running",
    "Verdict": "verdict",
    "load_argument": "argument",
    "recheck": "rechecking",
    "verify": "verifying",
}

__all__ = ["Argument", "Budget", "Verdict", "load_argument", "recheck", "verify"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"tinyalign.verification.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tinyalign.verification' has no attribute {name!r}")
