"""Not hard-coded, as checks that must all pass; importing this package registers their leaves.

locus              nothing but the blocks changed, and stock decoding       (check 1)
vocabulary         no word likelier where nothing is at stake               (check 2)
role-swap          it matters who speaks                                    (check 3)
held-out-lexicon   names, words and sentences that the fit never saw        (check 4)
held-out-words     outcome words that the fit never saw                     (check 5)
quantisation       the effect survives on the ternary lattice               (check 7)
description-length far shorter than a table of the prompts                  (check 8)
no-evasion         the subject is not changed                               (check 9)

Check 6, mediation, is the mechanism leaf of `tinyalign.verification.leaves`.
"""

from __future__ import annotations

from tinyalign.verification.hardcoded.description import DescriptionLength
from tinyalign.verification.hardcoded.evasion import NoEvasion
from tinyalign.verification.hardcoded.lexicon import HeldOutLexicon
from tinyalign.verification.hardcoded.locus import Locus
from tinyalign.verification.hardcoded.quantisation import Quantisation
from tinyalign.verification.hardcoded.role_swap import RoleSwap
from tinyalign.verification.hardcoded.vocabulary import Vocabulary
from tinyalign.verification.hardcoded.words import HeldOutWords

__all__ = [
    "DescriptionLength",
    "HeldOutLexicon",
    "HeldOutWords",
    "Locus",
    "NoEvasion",
    "Quantisation",
    "RoleSwap",
    "Vocabulary",
]
