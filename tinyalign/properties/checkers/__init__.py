"""The text checkers of the shipped properties: small state machines over annotated stories."""

from __future__ import annotations

from collections.abc import Mapping

from tinyalign.properties.checkers.asking import asks_first, shares
from tinyalign.properties.checkers.care import accepts_apology, comforts_hurt, never_harms
from tinyalign.properties.checkers.obedience import no_closes_request, obeys_prohibition
from tinyalign.properties.checkers.orders import follows_instruction, no_command
from tinyalign.properties.checkers.owning import apologises, reports, tells_truth
from tinyalign.properties.checkers.promises import keeps_promise
from tinyalign.properties.outcome import Checker

CHECKERS: Mapping[str, Checker] = {
    "obeys_prohibition": obeys_prohibition,
    "follows_instruction": follows_instruction,
    "asks_first": asks_first,
    "no_closes_request": no_closes_request,
    "comforts_hurt": comforts_hurt,
    "apologises": apologises,
    "accepts_apology": accepts_apology,
    "tells_truth": tells_truth,
    "reports": reports,
    "keeps_promise": keeps_promise,
    "never_harms": never_harms,
    "no_command": no_command,
    "shares": shares,
}
"""Checkers by the name that a property's YAML gives."""
