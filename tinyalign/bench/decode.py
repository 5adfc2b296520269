"""End-to-end decoding: tinyalign's sampler against Hugging Face's `generate`, same model, same prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tinyalign.bench.timing import Timed, contest
from tinyalign.common.errors import CheckpointError
from tinyalign.engine import sample
from tinyalign.models import StoryModel

PROMPT = "Once upon a time"


@dataclass(frozen=True)
class DecodeResult:
    """Timings of decoding `stories` x `tokens` greedy tokens, and tokens a second of processor time."""

    model: str
    stories: int
    tokens: int
    timed: tuple[Timed, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict, tokens a second added."""
        work = self.stories * self.tokens
        rows = [{**t.to_json(), "tokens_per_cpu_second": work / t.cpu_median} for t in self.timed]
        return {"model": self.model, "stories": self.stories, "tokens": self.tokens, "contestants": rows}


def bench_decode(model: StoryModel, *, stories: int = 64, tokens: int = 64, rounds: int = 3) -> DecodeResult:
    """Time greedy decoding of `stories` copies of one prompt, `tokens` new tokens each.

    Greedy, so that every contestant must give the same tokens; stories that end early are not compared past
    their end. Raises `CheckpointError` when the contestants disagree.
    """
    ids = torch.tensor([model.encode(PROMPT)] * stories, device=model.device)
    results: dict[str, list[list[int]]] = {}
    network: Any = model.network

    def ours() -> None:
        drawn = sample(model, PROMPT, n=stories, max_new_tokens=tokens, temperature=0.0, batch_size=stories)
        results["tinyalign, torch"] = [list(story.tokens) for story in drawn]

    def hugging_face() -> None:
        with torch.no_grad():
            new = network.generate(
                ids, max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        results["Hugging Face generate"] = new[:, ids.shape[1] :].tolist()

    timed = contest(
        {"Hugging Face generate": hugging_face, "tinyalign, torch": ours},
        baseline="Hugging Face generate",
        rounds=rounds,
    )
    for theirs, mine in zip(*results.values(), strict=True):
        if theirs[: len(mine)] != mine:
            raise CheckpointError("Greedy decoding disagrees between the sampler and Hugging Face.")
    return DecodeResult(model.name, stories, tokens, timed)
