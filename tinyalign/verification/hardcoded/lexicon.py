"""Check 4, held-out lexicon: the edit works on words and wordings that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from tinyalign.common.errors import DataError, InputError
from tinyalign.stories.grammar import PromptGrammar, PromptSpace, Split
from tinyalign.stories.grammar.prompts import FRAMES
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.clauses import Clause, conclude_all, mean_at_least
from tinyalign.verification.hardcoded.drawing import DIGITS, altered, draw, effect, enough
from tinyalign.verification.hardcoded.figures import histogram
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row

GROUPS = ("people", "words", "frames")


@register_leaf
@dataclass(frozen=True, kw_only=True)
class HeldOutLexicon(Leaf):
    """Effect on held-out words over effect on training words >= `margin`, group by group.

    Groups: "people" (names and relations), "words" (activities, things, whatever else fills a slot),
    "frames" (the sentences themselves). For each, training prompts with that group alone drawn from the test
    part are compared with training prompts as they are. Tested in the linear form, which needs no ratio of
    means: E[held out - margin x training] > 0; and E[held out] >= `least` nats, without which an edit that
    does nothing, or works on the few names it was fitted on, would pass by its weakness everywhere. What
    is averaged is cut to +-`clip` nats (exact betting bounds).

    Training prompts draw from all training words; where the artifact says that it was fitted on the first few
    names only (`edit.prompts["names"]`), from those names. Raises `DataError` for a margin outside
    (0, 1], `least` outside (0, clip), unknown groups or too few samples.
    """

    margin: float
    least: float
    samples: int
    groups: tuple[str, ...] = GROUPS
    clip: float = 5.0

    kind: ClassVar[str] = "held-out-lexicon"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.margin <= 1 or not 0 < self.least < self.clip or self.samples < 2:
            raise DataError(
                f"margin {self.margin} must be a share up to 1, least {self.least} between 0 and the clip, "
                f"samples {self.samples} at least 2."
            )
        if not self.groups or set(self.groups) - set(GROUPS):
            raise DataError(f"groups are {list(self.groups)}: name some of {', '.join(GROUPS)}.")

    def planned(self, context: Context) -> int:
        """`samples`; each row has one training prompt and one of every group.

        Raises `InputError` beyond the size of the smallest space.
        """
        return enough(self, self.samples, min(map(len, self._spaces(context).values())))

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The edit's effect (nats) on training prompt i and on prompt i of each group."""
        effects = {
            group: effect(context, draw(context, space, indices, f"lexicon-{group}"), "clean")
            for group, space in self._spaces(context).items()
        }
        return [
            {group: round(float(effects[group][row]), DIGITS) for group in effects}
            for row in range(len(indices))
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Established when every group passes both parts."""
        effects = {group: np.array([row[group] for row in rows]) for group in rows[0]}
        training = effects.pop("training")
        clauses: list[Clause] = []
        for group, held in effects.items():
            share = f"held-out {group}: effect minus {self.margin:g} times the training effect"
            tests = 2 * len(effects)
            clauses.append(mean_at_least(share, held - self.margin * training, 0.0, self.clip, alpha, tests))
            clauses.append(
                mean_at_least(f"held-out {group}: effect", held, self.least, self.clip, alpha, tests)
            )
        details = {
            "training": float(training.mean()),
            **{group: float(held.mean()) for group, held in effects.items()},
            "effect_histogram": histogram(
                {"training": training, **effects}, "Effect of the edit, prompt by prompt"
            ),
        }
        listed = ", ".join(f"{held.mean():+.2f} on held-out {group}" for group, held in effects.items())
        remark = f"Effect {training.mean():+.2f} nats on training prompts, {listed}."
        return conclude_all(self, clauses, n=len(rows), alpha=alpha, details=details, remark=remark)

    def _spaces(self, context: Context) -> dict[str, PromptSpace]:
        """Training prompts, and for every group those with the group drawn from the test part."""
        grammar, decision = fitted(context), context.pair.decision
        spaces = {"training": grammar.space("train", decision)}
        for group in self.groups:
            mixed = self._slots(grammar, group)
            # A property whose prompts hold nothing but people has no other words to hold out.
            if mixed:
                spaces[group] = grammar.space("train", decision, **mixed)
        return spaces

    @staticmethod
    def _slots(grammar: PromptGrammar, group: str) -> dict[str, Split]:
        if group == "frames":
            return {FRAMES: "test"}
        return {slot: "test" for slot in grammar.slots if (slot in grammar.people) == (group == "people")}


def fitted(context: Context) -> PromptGrammar:
    """The property's grammar; its training names cut to those the artifact was fitted on, if it counts them.

    Raises `InputError` for a number of names that the lexicon does not have.
    """
    grammar = context.prop.prompts
    names = None if context.edit is None else context.edit.prompts.get("names")
    if names is None:
        return grammar
    lexicon = grammar.slots["child"]
    training = lexicon.parts["train"]
    if not isinstance(names, int) or not 1 <= names <= len(training):
        raise InputError(
            f"The edit says that it was fitted on {names!r} names, but {grammar.id} has {len(training)} "
            "training names: fit it again."
        )
    cut = replace(lexicon, parts={**lexicon.parts, "train": training[:names]})
    return altered(grammar, "names of the fit only", slots={**grammar.slots, "child": cut})
