"""A claim about every prompt of a finite sub-grammar: enumerated, so there is no sampling error at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tinyalign.common.errors import DataError
from tinyalign.stories.grammar import ContrastPrompt, Split
from tinyalign.stories.grammar.prompts import PromptSpace
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.leaves.concluding import SHOWN, no_rows
from tinyalign.verification.leaves.decision import DIGITS, preference_example
from tinyalign.verification.results import LeafResult, Row, Status


def sub_grammar(radices: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each choice's options a sub-grammar of at most `most` prompts takes.

    Grows the choices in turn, each by one while it has more and the product stays within `most`: a cube as
    even as the grammar allows, and the same for everyone who asks. Raises `DataError` for most < 1.
    """
    if most < 1:
        raise DataError(f"most is {most}; a sub-grammar holds at least one prompt.")
    taken = dict.fromkeys(radices, 1)
    size, growing = 1, True
    while growing:
        growing = False
        for choice, there in radices.items():
            grown = size // taken[choice] * (taken[choice] + 1)
            if taken[choice] < there and grown <= most:
                size, growing = grown, True
                taken[choice] += 1
    return taken


@register_leaf
@dataclass(frozen=True, kw_only=True)
class Exhaustive(Leaf):
    """The edited model prefers the satisfying words on at least the share `share` of *all* these prompts.

    The prompts are the sub-grammar of `split` that takes the first options of every choice (see
    `sub_grammar`), at most `most`. With share 1 it is a "for all", and one counterexample defeats it.
    """

    share: float
    most: int
    split: Split = "test"

    kind: ClassVar[str] = "exhaustive"
    block: ClassVar[int] = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1 or self.most < 1:
            raise DataError(f"share {self.share} must lie in (0, 1] and most {self.most} be at least 1.")

    def planned(self, context: Context) -> int:
        """The size of the sub-grammar."""
        size = 1
        for count in self._taken(context).values():
            size *= count
        return size

    def measure(self, context: Context, indices: range) -> list[Row]:
        """`after`: log p(S) - log p(V) of the edited model after the clean prompt, in nats."""
        prompts = [self._prompt(context, index) for index in indices]
        values = context.preferences("edited", prompts, "clean")
        return [
            {"prompt": prompt.clean, "after": round(float(value), DIGITS)}
            for prompt, value in zip(prompts, values, strict=True)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """A share without an interval: nothing was sampled."""
        if not rows:
            return no_rows(self, self.share, ">=", "share of all prompts", alpha)
        bad = [row for row in rows if row["after"] <= 0]
        share = 1 - len(bad) / len(rows)
        status: Status = "established" if share >= self.share else "defeated"
        return LeafResult(
            id=self.id,
            kind=self.kind,
            claim=self.claim,
            status=status,
            summary=f"Satisfying words are preferred on {len(rows) - len(bad)} of all {len(rows)} prompts "
            f"({share:.2%}), claimed {self.share:.2%}; enumerated, no sampling error.",
            estimate=share,
            low=share,
            high=share,
            margin=self.share,
            direction=">=",
            unit="share of all prompts",
            n=len(rows),
            details={
                "sub_grammar": self._taken(context),
                "split": self.split,
                "test": "enumeration",
                "counterexamples": len(bad),
                "least_nats": min(row["after"] for row in rows),
            },
            counterexamples=tuple(preference_example(row, context.pair.violating) for row in bad[:SHOWN]),
        )

    def _space(self, context: Context) -> PromptSpace:
        return context.prop.prompts.space(self.split, context.pair.decision)

    def _taken(self, context: Context) -> dict[str, int]:
        return sub_grammar(self._space(context).radices, self.most)

    def _prompt(self, context: Context, number: int) -> ContrastPrompt:
        space = self._space(context)
        index, place, rest = 0, 1, number
        for choice, count in reversed(self._taken(context).items()):
            rest, digit = divmod(rest, count)
            index += digit * place
            place *= space.radices[choice]
        return space[index]
