"""What a fit minimises: the decision made well where the antecedent stands, and nothing else moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import nn
from torch.nn.functional import softplus

from tinyalign.edits.batches import NeutralText, PromptBatch
from tinyalign.edits.tail import Tail, tail_of
from tinyalign.properties.contrast import SIDES

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after each step of a fit with (steps done, steps in all, what the loss is made of)."""


@dataclass(frozen=True)
class Terms:
    """Weights of the terms of the loss, and the margins in nats.

    Writing p for log p(S) - log p(V) of the fitted words, d for its change from the base, side by side:

    hold   softplus(margin - p[clean]): the satisfying words are preferred, with a margin
    apart  softplus(gap - (d[clean] - d[other])), over the other sides: the change is about the antecedent
    still  (change of log p)^2 of each fitted word on the sides that must not move, prompt by prompt
    keep   KL(base || edited) of the whole next-token distribution there
    words  (mean change of each fitted word's log-probability)^2, over neutral prompts and over text
    text   KL(base || edited) a token of neutral text
    """

    margin: float = 4.0
    gap: float = 2.5
    hold: float = 1.0
    apart: float = 0.5
    still: float = 0.6
    keep: float = 1.0
    words: float = 30.0
    text: float = 8.0
    corrupted: float = 0.25

    def eased(self, share: float) -> Terms:
        """The same terms with `share` of the weight on what must not move: a search begins freely."""
        return replace(self, still=self.still * share, words=self.words * share)

    def to_json(self) -> dict[str, float]:
        """All weights and margins."""
        return asdict(self)


@dataclass(frozen=True)
class Loss:
    """A loss and what it is made of (unweighted, in nats or nats squared)."""

    total: torch.Tensor
    parts: dict[str, float]


@dataclass(frozen=True, eq=False)
class Occasion:
    """One batch of prompts and text, read by the base up to the first layer that may change."""

    batch: PromptBatch
    prompts: Tail
    prompts_base: Float[torch.Tensor, "rows d_vocab"]
    text: Tail
    text_base: Float[torch.Tensor, "rows pos d_vocab"]
    text_mask: Float[torch.Tensor, "rows pos"]


@torch.no_grad()
def occasion(
    base: nn.Module, batch: PromptBatch, text: NeutralText, number: int, size: int, start: int
) -> Occasion:
    """Read prompts and `size` neutral stories (batch `number`) with the base network."""
    prompts = tail_of(base, batch.ids, start, batch.last)
    ids, mask = text.batch(number, size)
    stories = tail_of(base, ids, start)
    return Occasion(
        batch, prompts, prompts.log_probs(base), stories, stories.log_probs(base), mask.to(ids.device)
    )


def preference(
    log_probs: Float[torch.Tensor, "rows d_vocab"], batch: PromptBatch
) -> Float[torch.Tensor, " rows"]:
    """log p(S) - log p(V) by the first tokens of the fitted words, in nats."""
    return _together(log_probs, batch.satisfying) - _together(log_probs, batch.violating)


def loss(network: nn.Module, seen: Occasion, terms: Terms) -> Loss:
    """The loss of `network` on one occasion; gradients flow to whatever in it takes them."""
    now, before = seen.prompts.log_probs(network), seen.prompts_base
    n = len(seen.batch.ids) // len(SIDES)
    prefer = preference(now, seen.batch).view(len(SIDES), n)
    change = prefer - preference(before, seen.batch).view(len(SIDES), n)
    divergence = (before.exp() * (before - now)).sum(-1).view(len(SIDES), n)
    side = {name: number for number, name in enumerate(SIDES)}
    clean, corrupted = side["clean"], side["corrupted"]
    kept = [number for name, number in side.items() if name not in ("clean", "corrupted")]
    hold = softplus(terms.margin - prefer[clean]).mean()
    gaps = softplus(terms.gap - (change[clean] - change)).mean(1)
    apart = (gaps[kept].sum() + terms.corrupted * gaps[corrupted]) / len(kept)
    words = torch.unique(torch.cat([seen.batch.satisfying, seen.batch.violating], dim=1))
    words = words[words >= 0]
    moved = (now - before)[:, words].view(len(SIDES), n, len(words))
    still = (moved[kept] ** 2).mean() + terms.corrupted * (moved[corrupted] ** 2).mean()
    keep = divergence[kept].mean() + terms.corrupted * divergence[corrupted].mean()
    told = seen.text.log_probs(network)
    weight = seen.text_mask / seen.text_mask.sum()
    text = ((seen.text_base.exp() * (seen.text_base - told)).sum(-1) * weight).sum()
    in_text = ((told - seen.text_base)[..., words] * weight[..., None]).sum((0, 1))
    drift = (moved[side["neutral"]].mean(0) ** 2).mean() + (in_text**2).mean()
    total = (
        terms.hold * hold
        + terms.apart * apart
        + terms.still * still
        + terms.keep * keep
        + terms.words * drift
        + terms.text * text
    )
    parts = {"hold": hold, "apart": apart, "still": still, "keep": keep, "words": drift, "text": text}
    return Loss(total, {name: float(part.detach()) for name, part in parts.items()})


def _together(log_probs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    picked = log_probs.gather(-1, tokens.clamp(min=0))
    return picked.masked_fill(tokens < 0, float("-inf")).logsumexp(-1)
