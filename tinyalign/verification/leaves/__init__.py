"""The leaf kinds of a standard argument; importing this package registers them.

decision      rate, contrast          what is preferred at the decision point
exhaustive    exhaustive              the same on every prompt of a finite sub-grammar
story         story-rate, story-fall  what the text checker finds in sampled continuations
checker       checker-error           how often that checker misses a violation
preservation  paired, universal       the other properties, and every event at once
damage        neutral-damage, total-variation   whole stories
mechanism     mechanism               through which components the edit acts
"""

from __future__ import annotations

from tinyalign.verification.leaves.checker import CheckerError
from tinyalign.verification.leaves.damage import NeutralDamage, TotalVariation
from tinyalign.verification.leaves.decision import DecisionRate, EditedContrast
from tinyalign.verification.leaves.exhaustive import Exhaustive
from tinyalign.verification.leaves.mechanism import Mechanism
from tinyalign.verification.leaves.preservation import PairedPreservation, UniversalPreservation
from tinyalign.verification.leaves.story import StoryFall, StoryRate

__all__ = [
    "CheckerError",
    "DecisionRate",
    "EditedContrast",
    "Exhaustive",
    "Mechanism",
    "NeutralDamage",
    "PairedPreservation",
    "StoryFall",
    "StoryRate",
    "TotalVariation",
    "UniversalPreservation",
]
