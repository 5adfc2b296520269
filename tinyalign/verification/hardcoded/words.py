"""Check 5, held-out outcome words: the edit moves words that it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from tinyalign.common.errors import DataError, InputError
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.clauses import conclude_all, mean_at_least
from tinyalign.verification.hardcoded.drawing import DIGITS, enough, word_log_probs
from tinyalign.verification.hardcoded.figures import histogram
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row


@dataclass(frozen=True)
class Division:
    """The pair's words, fitted on or held out, as columns: those of satisfying, then of violating words."""

    fitted: tuple[tuple[int, ...], tuple[int, ...]]
    held: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides (0 satisfying, 1 violating) that have both fitted and held-out words."""
        return tuple(side for side in (0, 1) if self.fitted[side] and self.held[side])


@register_leaf
@dataclass(frozen=True, kw_only=True)
class HeldOutWords(Leaf):
    """Effect on held-out outcome words >= `margin` times the effect on the fitted ones, and > `least` nats.

    The artifact's `fit_words` says which they were. The effect on a set of words is the change of its
    log-probability (logsumexp over its words), satisfying ones counting up and violating ones down, on
    clean test prompts; only sides of the pair that have words of both sorts are compared. Tested as
    E[held out - margin x fitted] > 0 and E[held out] > `least` nats (values cut to +-`clip` nats, betting
    bounds). Without held-out words, or without an artifact that names the fitted ones, the claim is not
    established, in one row. Raises `DataError` for a margin outside (0, 1], `least` outside [0, clip) or too
    few samples.
    """

    margin: float
    samples: int
    least: float = 0.0
    clip: float = 5.0

    kind: ClassVar[str] = "held-out-words"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.margin <= 1 or not 0 <= self.least < self.clip or self.samples < 2:
            raise DataError(
                f"margin {self.margin} must be a share up to 1, least {self.least} from 0 to the clip, "
                f"samples {self.samples} at least 2."
            )

    def planned(self, context: Context) -> int:
        """`samples`, or one row where nothing was held out; raises `InputError` beyond the grammar's size."""
        return enough(self, self.samples, context.space_size()) if _testable(context) else 1

    def measure(self, context: Context, indices: range) -> list[Row]:
        """The edit's effect (nats) on fitted and on held-out words after clean prompt i."""
        division = divide(context)
        if division is None or not division.sides:
            return [{"fitted": None, "held": None} for _ in indices]
        prompts = context.prompts(indices)
        texts = [prompt.clean for prompt in prompts]
        base, edited = (
            word_log_probs(context.model(which), context.pair, prompts, texts) for which in ("base", "edited")
        )
        fitted, held = (
            _moved(base, edited, part, division.sides) for part in (division.fitted, division.held)
        )
        return [
            {"fitted": round(float(a), DIGITS), "held": round(float(b), DIGITS)}
            for a, b in zip(fitted, held, strict=True)
        ]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Established when both parts hold; not established where nothing was held out."""
        if rows[0]["held"] is None:
            return LeafResult(
                id=self.id,
                kind=self.kind,
                claim=self.claim,
                status="not established",
                summary=(
                    "There is no artifact that names the words the edit was fitted on."
                    if context.edit is None
                    else "No words were held out: neither side of the pair has both words that the edit was "
                    "fitted on and words that it was not."
                ),
                margin=self.margin,
                n=len(rows),
            )
        fitted, held = (np.array([row[part] for row in rows]) for part in ("fitted", "held"))
        clauses = [
            mean_at_least(
                f"effect on held-out words minus {self.margin:g} times that on the fitted ones",
                held - self.margin * fitted,
                0.0,
                self.clip,
                alpha,
                2,
            ),
            mean_at_least("effect on held-out words", held, self.least, self.clip, alpha, 2),
        ]
        details = {
            "fitted": float(fitted.mean()),
            "held": float(held.mean()),
            "words": _names(context),
            "effect_histogram": histogram(
                {"fitted words": fitted, "held-out words": held}, "Effect of the edit, prompt by prompt"
            ),
        }
        remark = f"Effect {fitted.mean():+.2f} nats on fitted words, {held.mean():+.2f} on held-out ones."
        return conclude_all(self, clauses, n=len(rows), alpha=alpha, details=details, remark=remark)


def divide(context: Context) -> Division | None:
    """The pair's columns by the artifact's `fit_words`; None without an artifact that has them.

    Raises `InputError` when it names words that are not the pair's.
    """
    stated = None if context.edit is None else context.edit.to_json().get("fit_words")
    if stated is None:
        return None
    if not isinstance(stated, Mapping) or set(stated) != {"satisfying", "violating"}:
        raise InputError(f"The edit's fit_words should have satisfying and violating words, not {stated!r}.")
    satisfying, violating = context.pair.satisfying, context.pair.violating
    fitted, held = [], []
    for words, given, start in (
        (satisfying, set(stated["satisfying"]), 0),
        (violating, set(stated["violating"]), len(satisfying)),
    ):
        if given - set(words):
            raise InputError(
                f"The edit was fitted on {', '.join(sorted(given - set(words)))}, which the pair "
                f"{context.pair.name!r} does not have."
            )
        fitted.append(tuple(start + at for at, word in enumerate(words) if word in given))
        held.append(tuple(start + at for at, word in enumerate(words) if word not in given))
    return Division((fitted[0], fitted[1]), (held[0], held[1]))


def _testable(context: Context) -> bool:
    division = divide(context)
    return division is not None and bool(division.sides)


def _names(context: Context) -> dict[str, list[str]]:
    words = [*context.pair.satisfying, *context.pair.violating]
    division = divide(context)
    assert division is not None
    return {
        "fitted": [words[at] for side in division.sides for at in division.fitted[side]],
        "held": [words[at] for side in division.sides for at in division.held[side]],
    }


def _moved(
    base: np.ndarray,
    edited: np.ndarray,
    columns: tuple[tuple[int, ...], tuple[int, ...]],
    sides: tuple[int, ...],
) -> np.ndarray:
    """Change of the signed log-probability of the words at `columns` (nats [n]); scores are [n, words]."""
    total = np.zeros(len(base))
    for side in sides:
        own = list(columns[side])
        change = logsumexp(edited[:, own], axis=1) - logsumexp(base[:, own], axis=1)
        total += change if side == 0 else -change
    return total
