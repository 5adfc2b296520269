"""What a fit minimises: the decision made well where the antecedent stands, and nothing else moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from torch.nn.functional import softplus

from tinyalign.edits.batches import NeutralText, OtherPrompts, PromptBatch, TrainingPrompts
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
    still  (change of log p)^2 of each word of the pair where it must not move, prompt by prompt: on the sides
           but clean and corrupted (which counts `corrupted`), and on prompts of other properties
    keep   KL(base || edited) of the whole next-token distribution there
    words  (mean change of each such word's log-probability)^2, over neutral and other prompts, and text
    text   KL(base || edited) a token of neutral text
    Running text counts once more, for `still` and `words`, where a word of the pair might begin.
    """

    margin: float = 4.5
    gap: float = 3.5
    hold: float = 1.0
    apart: float = 0.5
    still: float = 1.5
    keep: float = 1.5
    words: float = 15.0
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
    others: Tail
    others_base: Float[torch.Tensor, "others d_vocab"]
    text: Tail
    text_base: Float[torch.Tensor, "stories pos d_vocab"]
    text_mask: Float[torch.Tensor, "stories pos"]
    begins: Bool[torch.Tensor, "stories pos"]


@dataclass(frozen=True, eq=False)
class Material:
    """Where a fit's occasions come from, and how much of each goes into one."""

    base: nn.Module
    prompts: TrainingPrompts
    others: OtherPrompts
    text: NeutralText
    start: int

    @torch.no_grad()
    def occasion(self, number: int, prompts: int, stories: int) -> Occasion:
        """Occasion `number`: `prompts` training prompts on five sides, twice as many of other properties, and
        `stories` neutral stories, read with the base network."""
        batch = self.prompts.batch(number, prompts)
        here = tail_of(self.base, batch.ids, self.start, batch.last)
        other_ids, other_last = self.others.batch(number, 2 * prompts)
        others = tail_of(self.base, other_ids, self.start, other_last)
        ids, mask = self.text.batch(number, stories)
        told = tail_of(self.base, ids, self.start)
        return Occasion(
            batch,
            here,
            here.log_probs(self.base),
            others,
            others.log_probs(self.base),
            told,
            told.log_probs(self.base),
            mask,
            self._begins(ids, mask, batch),
        )

    def _begins(
        self, ids: Int[torch.Tensor, "stories pos"], mask: torch.Tensor, batch: PromptBatch
    ) -> Bool[torch.Tensor, "stories pos"]:
        """Where in running text a word of the pair might come next.

        After an opening quotation mark, if that is where the prompts stop; otherwise after any token.
        """
        if self.prompts.speaks:
            marks = batch.ids[torch.arange(len(batch.ids)), batch.last].unique()
            return torch.isin(ids, marks) & mask.bool()
        return mask.bool()


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
    words = seen.batch.watched
    moved = (now - before)[:, words].view(len(SIDES), n, len(words))
    elsewhere, elsewhere_base = seen.others.log_probs(network), seen.others_base
    moved_elsewhere = (elsewhere - elsewhere_base)[:, words]
    still = (moved[kept] ** 2).mean() + terms.corrupted * (moved[corrupted] ** 2).mean()
    still = still + (moved_elsewhere**2).mean()
    keep = divergence[kept].mean() + terms.corrupted * divergence[corrupted].mean()
    keep = keep + (elsewhere_base.exp() * (elsewhere_base - elsewhere)).sum(-1).mean()
    told = seen.text.log_probs(network)
    weight = seen.text_mask / seen.text_mask.sum()
    text = ((seen.text_base.exp() * (seen.text_base - told)).sum(-1) * weight).sum()
    shifts = (told - seen.text_base)[..., words]
    begins = seen.begins.to(shifts.dtype)
    at_begins = (shifts * begins[..., None]).sum((0, 1)) / begins.sum().clamp(min=1)
    in_text = (shifts * weight[..., None]).sum((0, 1))
    means = torch.stack([moved[side["neutral"]].mean(0), moved_elsewhere.mean(0), in_text, at_begins])
    drift = (means**2).mean(1).sum()
    still = still + terms.corrupted * ((shifts**2).mean(-1) * begins).sum() / begins.sum().clamp(min=1)
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
