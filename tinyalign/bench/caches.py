"""What the int8 cache costs on a model, for the benchmark's tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tinyalign.common.resources import shared_folder
from tinyalign.engine import sample
from tinyalign.engine.cpu.cache_cost import CacheCost, cache_cost
from tinyalign.models import StoryModel

_TEXTS, _TOKENS = 64, 256


@dataclass(frozen=True)
class MeasuredCost:
    """A `CacheCost`, and which texts it was measured on: real stories, or the model's own."""

    on: str
    cost: CacheCost

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def measured_cost(model: StoryModel, texts: int = _TEXTS) -> MeasuredCost:
    """The cost on the first real held-out stories where they are here, else on stories that the model tells.

    The first 256 tokens of each are read. Raises `InputError` for a model that the CPU backend doesn't serve.
    """
    stories = _real(model, texts)
    on = "real stories"
    if not stories:
        prompt = [[0, 1]] if model.tokenizer is None else "Once upon a time"
        drawn = sample(model, prompt, n=texts, max_new_tokens=min(_TOKENS, model.context - 8), backend="cpu")
        start = prompt[0] if isinstance(prompt, list) else model.encode(prompt)
        stories = [[*start, *story.tokens] for story in drawn]
        on = "its own stories"
    return MeasuredCost(on, cache_cost(model, [ids for ids in stories if len(ids) > 1]))


def _real(model: StoryModel, texts: int) -> list[list[int]]:
    folder = shared_folder("tinystories")
    file = None if folder is None else folder / "valid.jsonl"
    if model.tokenizer is None or file is None or not file.is_file():
        return []
    with file.open(encoding="utf-8") as lines:
        stories = [json.loads(line)["text"] for _, line in zip(range(texts), lines, strict=False)]
    return [model.encode(story)[: min(_TOKENS, model.context)] for story in stories]
