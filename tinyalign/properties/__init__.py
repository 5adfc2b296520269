"""Properties: what a story owes its reader in alignment terms, measured in logits and checked in text.

prop = tinyalign.properties.get("obeys-prohibition")
prop.contrast(model).mean              # nats, positive = the behaviour is there
prop.outcome(annotate(text)).verdict   # satisfied, violated, unknown or not applicable
"""

from __future__ import annotations

from tinyalign.properties.definition import LogitPair, Property
from tinyalign.properties.outcome import VERDICTS, Checker, Outcome, Verdict, story_outcome
from tinyalign.properties.registry import all_properties, get, load_property

all = all_properties

__all__ = [
    "VERDICTS",
    "Checker",
    "LogitPair",
    "Outcome",
    "Property",
    "Verdict",
    "all",
    "all_properties",
    "get",
    "load_property",
    "story_outcome",
]
