"""Stories packed end to end into rows without padding; what step k reads is a function of (seed, k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int64

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed


@dataclass(frozen=True)
class Batch:
    """`inputs[i, t]` is to predict `targets[i, t]`, the token that follows it in the stream."""

    inputs: Int64[torch.Tensor, "rows pos"]
    targets: Int64[torch.Tensor, "rows pos"]


class TokenStream:
    """Encoded stories (each beginning with end-of-text), in a new order every epoch.

    Raises `InputError` when all the stories together do not fill one step.
    """

    def __init__(self, stories: Sequence[np.ndarray], tokens_per_step: int, seed: int, first_epoch: int = 0):
        self._stories = list(stories)
        self.tokens = sum(map(len, self._stories))
        self.tokens_per_step = tokens_per_step
        self._seed = seed
        self._first_epoch = first_epoch
        self.steps_per_epoch = self.tokens // tokens_per_step
        if not self.steps_per_epoch:
            raise InputError(
                f"The stories have {self.tokens} tokens, fewer than the {tokens_per_step} of one step: "
                "read more stories, or make rows, length or accumulation smaller."
            )
        self._end = self._stories[0][:1]
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> np.ndarray:
        order = np.random.default_rng(derive_seed("data order", self._seed, epoch))
        picked = [self._stories[i] for i in order.permutation(len(self._stories))]
        return np.concatenate([*picked, self._end])

    def batch(self, step: int, length: int) -> Batch:
        """The rows of `step`, each `length` tokens long; contiguous in the epoch's stream."""
        epoch, within = divmod(step, self.steps_per_epoch)
        begin = within * self.tokens_per_step
        stream = self._epoch(self._first_epoch + epoch)
        piece = torch.from_numpy(stream[begin : begin + self.tokens_per_step + 1].astype(np.int64))
        return Batch(piece[:-1].view(-1, length), piece[1:].view(-1, length))
