"""Learning from a teacher: from its logits where vocabularies agree, from its samples where they do not."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.training.export import from_story_model, why_not_trainable
from tinyalign.training.sources import fold_newlines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tinyalign.models.story_model import StoryModel


class Teacher(nn.Module):
    """A frozen model that gives logits [tokens d_vocab] for ids [batch pos].

    Raises `InputError` when its vocabulary isn't the student's: distil from its samples instead
    (`teacher_stories` in the recipe's data).
    """

    def __init__(
        self, model: StoryModel, tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        theirs = model.tokenizer.get_vocab() if model.tokenizer is not None else {}
        if theirs != tokenizer.get_vocab():
            raise InputError(
                f"The teacher {model.name} has {len(theirs)} tokens, not the student's vocabulary: "
                "set distill_weight to 0 and teacher_stories to learn from stories that it samples."
            )
        # The lean network is faster, and can calculate in the student's dtype.
        self.lean = not why_not_trainable(model)
        if self.lean:
            network = from_story_model(model, 16 if model.bits > 2 else model.bits)
            network.dtype = dtype
            self.network: nn.Module = network
        else:
            self.network = copy.deepcopy(model.network)
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "tokens d_vocab"]:
        """The teacher's logits."""
        return self.network(ids) if self.lean else self.network(ids).logits.flatten(0, 1)


def language_loss(logits: Tensor, targets: Tensor) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats a token; `logits` [tokens d_vocab], `targets` [tokens]."""
    return functional.cross_entropy(logits.float(), targets)


def distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Float[Tensor, ""]:
    """Cross-entropy with the teacher's distribution, nats a token: forward KL up to a constant.

    Source: Hinton, Vinyals and Dean (2015), arXiv:1503.02531, at temperature 1.
    """
    return functional.cross_entropy(logits.float(), functional.softmax(teacher_logits.float(), -1))


def teacher_stories(model: StoryModel, n: int, seed: int) -> list[str]:
    """`n` stories that the teacher samples at temperature 1, newlines folded; empty ones are left out."""
    from tinyalign.engine import sample

    first = "" if model.bos_id is not None else "Once upon a time"
    room = min(model.context - 8, 400)
    drawn = sample(
        model, first, n=n, max_new_tokens=room, temperature=1.0, seed=derive_seed("teacher stories", seed)
    )
    return [text for story in drawn if (text := fold_newlines(story.prompt + story.text))]
