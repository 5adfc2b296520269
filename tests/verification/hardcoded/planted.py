"""Planted behaviour: contexts whose two models answer by a rule, so that every verdict has a known truth."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.models.tiny import story_model
from tinyalign.edits.edit import Edit
from tinyalign.engine.score import ContinuationScores
from tinyalign.models.story_model import StoryModel
from tinyalign.properties import Property, get
from tinyalign.properties import contrast as contrast_module
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded import drawing
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.results import LeafResult

Rule = Callable[[str, str], float]
"""What the edit adds to log p(word | text), in nats."""

_FORBIDS = re.compile(r"\b(not|no|never|don't|stop|leave)\b", re.IGNORECASE)
_PARENT_DECIDES = re.compile(r"(mom|dad|mommy|daddy|mother|father)$")
COMPLY = ("listened", "stopped", "nodded", "obeyed")
REFUSE = ("didn't", "did not", "kept", "ignored")


def forbidden_by_parent(text: str) -> bool:
    """Whether a parent forbids in the text and the child decides (P1's clean side)."""
    return bool(_FORBIDS.search(text)) and not _PARENT_DECIDES.search(text)


def noise(*what: str) -> float:
    """A number in [-.5, .5] that depends on the texts alone."""
    digest = hashlib.sha256("\0".join(what).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 - 0.5


def honest(text: str, word: str) -> float:
    """What a good edit does: all complying words up, all others down, where a parent forbids."""
    if not forbidden_by_parent(text):
        return 0.02 * noise(text, word)
    return (1.0 if word in COMPLY else -1.0) * (1.5 + noise(text))


def plant(monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    """Let scoring answer: the base at random, the model named "edited" as the base plus `rule`."""

    def fake(
        model: StoryModel, prompts: Sequence[str], continuations: Sequence[Sequence[str]], *, batch_size: int
    ) -> ContinuationScores:
        found = tuple(
            tuple(_score(model.name, rule, prompt, word) for word in words)
            for prompt, words in zip(prompts, continuations, strict=True)
        )
        ones = tuple(tuple(1 for _ in row) for row in found)
        return ContinuationScores(found, ones, tuple(False for _ in found))

    monkeypatch.setattr(contrast_module, "score_continuations", fake)
    monkeypatch.setattr(drawing, "score_continuations", fake)


def _score(name: str, rule: Rule, prompt: str, word: str) -> float:
    word = word.strip()
    before = -4.0 + (0.8 if word in REFUSE else 0.0) + noise("base", prompt, word)
    return before + (rule(prompt, word) if name == "edited" else 0.0)


def edit_of(
    base: StoryModel,
    *,
    fit_words: Mapping[str, list[str]] | None = None,
    prompts: Mapping[str, Any] | None = None,
) -> Edit:
    """An artifact without changes that says what it was fitted on."""
    return Edit(
        method="planted",
        base=base.name,
        base_sha256=base.sha256,
        edited_sha256=base.sha256,
        property_id="P1",
        pair="action",
        seed=0,
        prompts=prompts or {},
        fit_words=fit_words or {"satisfying": [], "violating": []},
        components=(),
        changes=(),
    )


def planted_context(
    edit: Edit | None = None, seed: int = 7, prop: Property | None = None, pair: str = "action"
) -> Context:
    """A context over two random tiny models that only carry their names; scoring is planted."""
    base = story_model("llama")
    prop = prop or get("P1")
    return Context(
        base=base,
        edited=replace(base, name="edited"),
        prop=prop,
        pair=prop.pairs[pair],
        seed=seed,
        edit=edit,
    )


def run(leaf: Leaf, context: Context, alpha: float = 0.05) -> LeafResult:
    """Measure the planned rows block by block, as the runner does, and conclude."""
    return leaf.conclude(context, rows_of(leaf, context), alpha)


def rows_of(leaf: Leaf, context: Context) -> list[dict[str, Any]]:
    """All planned rows."""
    planned = leaf.planned(context)
    rows: list[dict[str, Any]] = []
    for start in range(0, planned, leaf.block):
        rows += leaf.measure(context, range(start, min(start + leaf.block, planned)))
    return rows
