"""Requests for models without a tokenizer, and what a story's tokens would be under the network itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tinyalign.engine import Sampling, Story
from tinyalign.engine.sampling import Request
from tinyalign.engine.sampling_torch import choose
from tinyalign.models import StoryModel

SEED = 3


def request(
    prompts: Sequence[Sequence[int]], draw: Sampling, *, each: int = 1, limit: int = 30, seed: int = SEED
) -> Request:
    """`each` stories of at most `limit` tokens after each prompt of token ids."""
    ids = [list(prompt) for prompt in prompts]
    return Request([""] * len(ids), ids, each, limit, draw, (), seed)


def of_texts(
    model: StoryModel,
    texts: Sequence[str],
    draw: Sampling,
    *,
    each: int,
    limit: int,
    stop: tuple[str, ...] = (),
) -> Request:
    """`each` stories after each text."""
    return Request(list(texts), [model.encode(text) for text in texts], each, limit, draw, stop, SEED)


def share_of_own_draws(model: StoryModel, asked: Request, stories: Sequence[Story]) -> float:
    """Share of tokens that the torch backend draws too, given the same tokens before them.

    A story parts from another backend's at one tie, or where a ternary layer rounds one last bit to
    another code, and is wholly different afterwards: so each token is judged by itself.
    """
    agreed = total = 0
    for story in stories:
        prompt = asked.encoded[story.index // asked.each]
        with torch.no_grad():
            ids = torch.tensor([[*prompt, *story.tokens]], device=model.device)
            logits = model.network(input_ids=ids, use_cache=False).logits[0]
        for number, token in enumerate(story.tokens):
            at = len(prompt) + number
            drawn = choose(logits[at - 1 : at], asked.draw, asked.seed, [story.index], at)
            agreed += int(drawn[0] == token)
            total += 1
    return agreed / total


def lengths(seed: int, count: int, longest: int, vocab: int) -> list[list[int]]:
    """Random prompts of 1 to `longest` token ids."""
    generator = np.random.default_rng(seed)
    return [
        generator.integers(0, vocab, int(generator.integers(1, longest + 1))).tolist() for _ in range(count)
    ]
