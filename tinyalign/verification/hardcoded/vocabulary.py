"""Check 2, vocabulary neutrality: the edit makes no word likelier where the property is not at stake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import logsumexp

from tinyalign.common.errors import DataError, InputError
from tinyalign.verification.context import Context, Which
from tinyalign.verification.hardcoded.clauses import Clause, conclude_all, mean_near_zero
from tinyalign.verification.hardcoded.drawing import (
    DIGITS,
    Drawing,
    enough,
    openings,
    stories,
    story_position,
    word_log_probs,
)
from tinyalign.verification.hardcoded.figures import bars
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row

Contexts = Literal["neutral", "stories"]

# A position is drawn in the first tokens of a story; enough for a few sentences.
_STORY_TOKENS = 90
_TRIES = 24


@register_leaf
@dataclass(frozen=True, kw_only=True)
class Vocabulary(Leaf):
    """For each word of the pair |E[change of log p(word)]| <= `margin` nats in each of the `contexts`.

    "neutral": the decision points of the grammar's neutral prompts; "stories": one word boundary each of
    stories that the base model tells freely. And the effect on clean prompts is at least `ratio` times the
    effect's size in each of the contexts (effect: change of log p(S) - log p(V)), tested in the linear form
    E[clean -+ ratio x there] > 0. All by one-sided t-tests, every one of which must reject.
    Raises `DataError` for margins that are not positive, a ratio below 1, no contexts or too few samples.
    """

    margin: float
    ratio: float
    samples: int
    contexts: tuple[str, ...] = ("neutral", "stories")

    kind: ClassVar[str] = "vocabulary"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin <= 0 or self.ratio < 1 or self.samples < 2:
            raise DataError(
                f"margin {self.margin} must be positive, ratio {self.ratio} at least 1, "
                f"samples {self.samples} at least 2."
            )
        if not self.contexts or set(self.contexts) - {"neutral", "stories"}:
            raise DataError(f"contexts are {list(self.contexts)}: name neutral, stories or both.")

    def planned(self, context: Context) -> int:
        """`samples`; raises `InputError` beyond the grammar's size."""
        return enough(self, self.samples, context.space_size())

    def measure(self, context: Context, indices: range) -> list[Row]:
        """Change of log p of each word (nats): after clean prompt i, and in context i of each sort."""
        prompts = context.prompts(indices)
        texts = {"clean": [prompt.clean for prompt in prompts]}
        if "neutral" in self.contexts:
            texts["neutral"] = [prompt.neutral for prompt in prompts]
        if "stories" in self.contexts:
            told = _told(context, indices, prompts[0].continuation_prefix)
            texts["stories"] = told
        words = [*context.pair.satisfying, *context.pair.violating]
        changed: dict[str, Any] = {}
        for place, own in texts.items():
            scores: dict[Which, np.ndarray] = {
                "base": word_log_probs(context.base, context.pair, prompts, own),
                "edited": word_log_probs(context.edited, context.pair, prompts, own),
            }
            changed[place] = (scores["edited"] - scores["base"], _moved(context, scores))
        return [
            {
                place: {
                    "words": dict(zip(words, moved[row].round(DIGITS).tolist(), strict=True)),
                    "effect": round(float(effects[row]), DIGITS),
                }
                for place, (moved, effects) in changed.items()
            }
            for row in range(len(prompts))
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Established when every word stays within the margin and the effect outweighs the neutral one."""
        words = list(rows[0]["clean"]["words"])
        tests = len(self.contexts) * (len(words) + 2)
        clean = np.array([row["clean"]["effect"] for row in rows])
        clauses: list[Clause] = []
        table: dict[str, Any] = {"effect on clean prompts": float(clean.mean())}
        for place in self.contexts:
            where = "neutral prompts" if place == "neutral" else "stories"
            moved = {word: [row[place]["words"][word] for row in rows] for word in words}
            clauses += [
                mean_near_zero(
                    f'change of log p("{word}") in {where}', moved[word], self.margin, alpha, tests, "nats"
                )
                for word in words
            ]
            there = np.array([row[place]["effect"] for row in rows])
            clauses.append(self._outweighs(where, clean, there, alpha, tests))
            table[f"effect in {where}"] = float(there.mean())
            means = {word: float(np.mean(moved[word])) for word in words}
            table[f"{place}_bars"] = bars(means, f"Mean change of log p in {where}", "nats")
        remark = f"On clean prompts the effect is {clean.mean():+.2f} nats."
        return conclude_all(self, clauses, n=len(rows), alpha=alpha, details=table, remark=remark)

    def _outweighs(
        self, where: str, clean: np.ndarray, there: np.ndarray, alpha: float, tests: int
    ) -> Clause:
        """E[clean] >= ratio x |E[there]|, as two linear clauses of which the tighter one is given."""
        name = f"effect on clean prompts minus {self.ratio:g} times that in {where}"
        both = [
            mean_near_zero(
                name, -(clean - sign * self.ratio * there), 0.0, alpha, tests, "nats", one_sided=True
            )
            for sign in (1, -1)
        ]
        tight = max(both, key=lambda one: one.high)
        return Clause(
            name=name,
            estimate=-tight.estimate,
            low=-tight.high,
            high=-tight.low,
            margin=0.0,
            direction=">=",
            unit="nats",
            holds=all(one.holds for one in both),
            fails=any(one.fails for one in both),
            p_value=max(one.p_value or 0.0 for one in both),
        )


def _told(context: Context, indices: range, prefix: str) -> list[str]:
    """Beginnings of stories that the base tells, each cut where a word could begin.

    A story without such a place is replaced by the next of its own stream, up to `_TRIES` times.
    """
    found: dict[int, str] = {}
    for attempt in range(_TRIES):
        missing = [index for index in indices if index not in found]
        if not missing:
            break
        stream = f"neutral-{attempt}"
        drawing = Drawing(stream, _STORY_TOKENS)
        begun = openings(context, indices, stream)
        for index, story in zip(
            indices, stories(context, "base", begun, drawing, indices.start), strict=True
        ):
            seed = context.seed_for(stream, "position", index)
            if index in found:
                continue
            try:
                found[index] = story_position(story.prompt + story.text, prefix, seed)
            except InputError:
                continue
    if len(found) < len(indices):
        raise InputError(
            f"{context.base.name} tells stories without a place where a word of the pair could begin: leave "
            "stories out of the leaf's contexts."
        )
    return [found[index] for index in indices]


def _moved(context: Context, scores: dict[Which, np.ndarray]) -> np.ndarray:
    """Change of log p(S) - log p(V), nats [n], from word scores [n, words]."""
    cut = len(context.pair.satisfying)
    preference = {
        which: logsumexp(table[:, :cut], axis=1) - logsumexp(table[:, cut:], axis=1)
        for which, table in scores.items()
    }
    return preference["edited"] - preference["base"]
