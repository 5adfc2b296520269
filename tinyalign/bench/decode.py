"""End-to-end decoding: tinyalign's sampler against Hugging Face's `generate`, same model, same prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tinyalign.bench.timing import Timed, contest
from tinyalign.common.errors import CheckpointError
from tinyalign.engine import sample
from tinyalign.engine.cpu.weights import refusal
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

    Greedy, so that every contestant must give the same tokens (of a ternary model: the same opening);
    stories that end early are not compared past their end. Raises `CheckpointError` when they disagree.
    """
    ids = torch.tensor([model.encode(PROMPT)] * stories, device=model.device)
    results: dict[str, list[list[int]]] = {}
    network: Any = model.network

    def ours(backend: str) -> Callable[[], None]:
        def run() -> None:
            drawn = sample(
                model,
                PROMPT,
                n=stories,
                max_new_tokens=tokens,
                temperature=0.0,
                batch_size=stories,
                backend=backend,
            )
            results[f"tinyalign, {backend}"] = [list(story.tokens) for story in drawn]

        return run

    def hugging_face() -> None:
        with torch.no_grad():
            # Stories may begin with the token that also pads, which generate would otherwise mask out.
            new = network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        results["Hugging Face generate"] = new[:, ids.shape[1] :].tolist()

    contestants = {"Hugging Face generate": hugging_face, "tinyalign, torch": ours("torch")}
    if refusal(model) is None:
        contestants["tinyalign, cpu"] = ours("cpu")
    timed = contest(contestants, baseline="Hugging Face generate", rounds=rounds)
    expected = results.pop("Hugging Face generate")
    for name, found in results.items():
        same = [mine == theirs[: len(mine)] for theirs, mine in zip(expected, found, strict=True)]
        # On a ternary model an int8 activation on the edge between two steps may fall to either side, after
        # which two right decoders part: there the opening must agree, elsewhere everything.
        opening = [mine[:8] == theirs[:8] for theirs, mine in zip(expected, found, strict=True)]
        if not all(same if model.bits > 2 else opening):
            raise CheckpointError(
                f"Greedy decoding disagrees between {name} and Hugging Face on {model.name}: one is wrong."
            )
    return DecodeResult(model.name, stories, tokens, timed)
