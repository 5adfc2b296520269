"""Neutral damage: what the edit costs on stories at large, in loss and in total variation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import ttest_1samp

from tinyalign.common.errors import CheckpointError, DataError, InputError
from tinyalign.engine import sample
from tinyalign.models.story_model import StoryModel
from tinyalign.statistics.location import cluster_mean_interval
from tinyalign.stories.grammar import StoryGenerator, plot_ids
from tinyalign.stories.grammar.permutation import SeededPermutation
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.leaves.concluding import conclude_mean, no_rows, status_of
from tinyalign.verification.results import LeafResult, Row

BLOCK = 16
OWN_TRIES = 20
"""How many of the project's own stories are drawn for a row before giving up on finding one long enough."""


@dataclass(frozen=True, kw_only=True)
class WholeStories(Leaf):
    """What the damage leaves share: each row is a fresh story, cut to its first `tokens` predicted tokens.

    Shorter stories are passed over, so that every row weighs the same. Leaves with one `stream` and one
    number of tokens measure each story once.
    """

    margin: float
    samples: int
    tokens: int = 64
    stream: str = "whole stories"

    block: ClassVar[int] = BLOCK

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin <= 0 or self.samples < 2 or self.tokens < 1:
            raise DataError(
                f"margin {self.margin} must be positive, samples {self.samples} at least 2 and tokens "
                f"{self.tokens} at least 1."
            )

    def planned(self, context: Context) -> int:
        """`samples`; raises `InputError` where there are fewer stories, or the models read less."""
        if self.tokens >= context.base.context:
            raise InputError(
                f"The leaf {self.id!r} reads {self.tokens} tokens, the model at most {context.base.context}."
            )
        there = len(_long_enough(context, self.tokens)) if context.stories.real else self.samples
        if self.samples > there:
            raise InputError(
                f"The leaf {self.id!r} needs {self.samples} stories of more than {self.tokens} tokens, but "
                f"{context.stories.name} are {there}."
            )
        return self.samples

    def measure(self, context: Context, indices: range) -> list[Row]:
        """Mean nats a token `before` and `after`, and the mean total variation `tv` between the two."""
        key = ("whole stories", self.stream, self.tokens, indices)
        return context.remembered(key, lambda: self._measure(context, indices))

    def _measure(self, context: Context, indices: range) -> list[Row]:
        texts = [_story(context, self.stream, index, self.tokens) for index in indices]
        ids = [context.base.encode(text)[: self.tokens + 1] for text in texts]
        before, after = (log_probs(model, ids) for model in (context.base, context.edited))
        target = torch.tensor([row[1:] for row in ids], device=before.device)[..., None]
        losses = [-values.gather(-1, target)[..., 0].mean(dim=1) for values in (before, after)]
        tv = (before.exp() - after.exp()).abs().sum(dim=-1).mul(0.5).mean(dim=1)
        return [
            {
                "story": text[:80],
                "before": round(float(losses[0][i]), 8),
                "after": round(float(losses[1][i]), 8),
                "tv": round(float(tv[i]), 8),
            }
            for i, text in enumerate(texts)
        ]


@register_leaf
@dataclass(frozen=True, kw_only=True)
class NeutralDamage(WholeStories):
    """The loss on held-out stories rises by at most `margin` nats a token: one-sided t over stories."""

    kind: ClassVar[str] = "neutral-damage"

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """t interval over stories (a loss has no bound, so no exact one): approximate, from dozens on."""
        unit = "nats a token"
        if len(rows) < 2:
            return no_rows(self, self.margin, "<=", unit, alpha)
        rises = np.array([row["after"] - row["before"] for row in rows])
        interval = cluster_mean_interval(rises, np.arange(len(rows)), 1 - 2 * alpha)
        spread = float(rises.std())
        p = float(ttest_1samp(rises, self.margin, alternative="less").pvalue) if spread > 0 else None
        if p is None:
            p = 0.0 if interval.estimate < self.margin else 1.0
        return LeafResult(
            id=self.id,
            kind=self.kind,
            claim=self.claim,
            status=status_of(interval.low, interval.high, self.margin, "<="),
            summary=f"Loss rises by {interval.estimate:+.4f} nats a token over {len(rows)} stories "
            f"({context.stories.name}); at most {interval.high:+.4f} at error {alpha:.3g}, claimed at most "
            f"{self.margin:g}.",
            estimate=interval.estimate,
            low=interval.low,
            high=interval.high,
            margin=self.margin,
            direction="<=",
            unit=unit,
            alpha=alpha,
            n=len(rows),
            p_value=p,
            details={
                "test": "one-sided t over stories",
                "stories": context.stories.to_json(),
                "tokens": self.tokens,
                "loss_before": float(np.mean([row["before"] for row in rows])),
                "loss_after": float(np.mean([row["after"] for row in rows])),
                "values": [round(float(value), 5) for value in rises],
            },
        )


@register_leaf
@dataclass(frozen=True, kw_only=True)
class TotalVariation(WholeStories):
    """The next-token distributions differ by at most `margin` in total variation, averaged over tokens.

    Between 0 and 1, so betting is exact. It is dear where the margin is small: even an edit that changes
    nothing needs about log(1 / alpha) / (.75 margin) stories.
    """

    kind: ClassVar[str] = "total-variation"

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Upper betting bound of the mean of the stories' means."""
        return conclude_mean(
            self,
            [row["tv"] for row in rows],
            (0.0, 1.0),
            self.margin,
            "<=",
            alpha,
            what="Total variation a token between the two models",
            unit="total variation",
            details={"stories": context.stories.to_json(), "tokens": self.tokens},
        )


@torch.no_grad()
def log_probs(model: StoryModel, ids: Sequence[Sequence[int]]) -> Float[torch.Tensor, "batch pos d_vocab"]:
    """log p(next token) in nats, float64, after each token but the last of equally long sequences.

    Raises `CheckpointError` when they are not numbers.
    """
    tokens = torch.tensor([row[:-1] for row in ids], device=model.device)
    found = model.network(tokens, use_cache=False).logits.double().log_softmax(dim=-1)
    if torch.isnan(found).any():
        raise CheckpointError(f"{model.name} gives logits that are not numbers: its weights are damaged.")
    return found


def _long_enough(context: Context, tokens: int) -> list[str]:
    def make() -> list[str]:
        # Nobody's tokens are sixteen characters long on average: the rest of a long story need not be read.
        begun = [text[: 16 * tokens] for text in context.stories.texts]
        return [text for text in begun if len(context.base.encode(text)) > tokens]

    return context.remembered(("long enough", context.stories.sha256, tokens), make)


def _story(context: Context, stream: str, index: int, tokens: int) -> str:
    """Story `index` of the sealed stream, of more than `tokens` tokens."""
    if context.stories.real:
        texts = _long_enough(context, tokens)
        return texts[SeededPermutation(len(texts), context.seed_for(stream, "stories"))[index]]
    others = tuple(one for one in plot_ids() if one != context.prop.id)
    for attempt in range(OWN_TRIES):
        seed = context.seed_for(stream, "story", index, attempt)
        if index % 2:
            text = StoryGenerator(others, split="test").story(seed, 0).text
        else:
            limit = min(tokens + 32, context.base.context - 8)
            drawn = next(iter(sample(context.base, "Once upon a time", max_new_tokens=limit, seed=seed)))
            text = drawn.prompt + drawn.text
        if len(context.base.encode(text)) > tokens:
            return text
    raise InputError(
        f"None of {OWN_TRIES} stories was longer than {tokens} tokens: lower `tokens` in the argument, or "
        "give real stories."
    )
