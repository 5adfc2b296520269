"""Rebuttals: attackers that try to break a claim, and a shrinker. They never add confidence.

attack        seeded attempts on a family of prompts, each hit confirmed, the first of a block shrunk
family-rate   the measured rate of violations on a family: closes the doubt that an attack opens

Families: "paraphrase" (held-out words and wordings, written paraphrases), "inserted" (a neutral sentence put
in), "peer" and "stranger" (somebody else speaks the parent's words). Importing this package registers both.
"""

from __future__ import annotations

from tinyalign.verification.attackers.attack import Attack
from tinyalign.verification.attackers.families import FAMILIES, Family, FamilyName, family
from tinyalign.verification.attackers.rate import FamilyRate
from tinyalign.verification.attackers.shrinking import Shrunk, shrink

__all__ = ["FAMILIES", "Attack", "Family", "FamilyName", "FamilyRate", "Shrunk", "family", "shrink"]
