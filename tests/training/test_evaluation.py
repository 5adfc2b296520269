"""Bits per character and the figures of samples, against plain re-computation."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.training.evaluation import _windows, evaluate, ratio_interval, story_losses
from tinyalign.training.export import to_story_model
from tinyalign.training.network import StoryNet
from tinyalign.training.recipe import Shape
from tinyalign.training.sampled import SampledStory, distinct, quality_of, repeated_share
from tinyalign.training.vocabulary import train_tokenizer

STORIES = [
    "A cat sat on the mat. The mat was red.\n\nThe cat was happy.",
    "A dog ran to the park. He saw a ball.",
    "Mom said no. The boy was sad, but he listened to his mom.\r\nThen they went home and had a good day.",
    "The end.",
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    shape = Shape(d_model=32, n_layers=1, n_heads=2, d_mlp=32, n_ctx=24, d_vocab=280)
    tokenizer = train_tokenizer(STORIES * 3, 280, shape.n_ctx)
    return to_story_model(StoryNet(shape, 16), tokenizer, name="test", source="a test")


@given(st.integers(2, 200), st.integers(4, 40))
def test_windows_score_each_token_once_and_fit(length: int, context: int) -> None:
    windows = _windows(length, context)
    scored = [i for first, last, begin in windows for i in range(begin, last)]
    assert scored == list(range(1, length))
    assert all(last - first <= context and begin > first for first, last, begin in windows)
    assert all(b[2] == a[1] for a, b in pairwise(windows))


def test_losses_are_those_of_one_story_after_the_other(model) -> None:
    losses = story_losses(model, STORIES)
    assert max(len(model.encode(text)) for text in STORIES) > model.context
    for i, text in enumerate(STORIES):
        ids = model.encode(text)
        expected = 0.0
        for position in range(1, len(ids)):
            # As the rule says: whole windows of the context, then steps of half of it.
            first = 0
            if position >= model.context:
                half = model.context // 2
                block = (position - model.context) // half
                first = max(0, min(len(ids), model.context + (block + 1) * half) - model.context)
            row = torch.tensor([ids[first:position]])
            with torch.no_grad():
                logs = torch.log_softmax(model.network(row).logits[0, -1].double(), -1)
            expected -= float(logs[ids[position]])
        assert losses.nats[i] == pytest.approx(expected, rel=1e-4)
        assert losses.characters[i] == len(text) and losses.tokens[i] == len(ids) - 1


def test_evaluation_folds_newlines_and_is_json(model) -> None:
    found = evaluate(model, STORIES, samples=3, admission_prompts=0, seed=4)
    plain = evaluate(
        model,
        [s.replace("\n\n", "\n").replace("\r\n", "\n") for s in STORIES],
        samples=0,
        admission_prompts=0,
    )
    assert found.bits_per_character == plain.bits_per_character
    ratio = found.bits_per_character.estimate / found.nats_per_token.estimate
    assert ratio == pytest.approx(found.tokens / found.characters / math.log(2))
    record = json.loads(json.dumps(found.to_json()))
    assert record["bits_per_character"] == found.bits_per_character.estimate
    assert record["samples"]["n"] == 3 and record["admission"] is None
    with pytest.raises(InputError, match="at least two"):
        evaluate(model, STORIES[:1])


def test_ratio_interval_covers() -> None:
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        lengths = draw.integers(50, 300, size=80).astype(float)
        sums = lengths * 0.8 + draw.normal(size=80) * np.sqrt(lengths) * 2
        interval = ratio_interval(sums, lengths)
        hits += interval.contains(0.8)
    assert 0.92 <= hits / 400 <= 0.98


@given(st.lists(st.sampled_from("abc"), max_size=30))
@settings(max_examples=50)
def test_repetition_counts_runs_seen_before(words: list[str]) -> None:
    seen: set[tuple[str, ...]] = set()
    repeats = 0
    runs = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    for run in runs:
        repeats += run in seen
        seen.add(run)
    assert repeated_share(words) == pytest.approx(repeats / len(runs) if runs else 0)
    if words:
        assert distinct([words], 1) == pytest.approx(len(set(words)) / len(words))


def test_ended_needs_the_end_and_a_finished_sentence() -> None:
    stories = [
        SampledStory('She said, "Yes."', True),
        SampledStory("He ran and", True),
        SampledStory("He ran.", False),
        SampledStory("He ran!", True),
    ]
    quality = quality_of(stories, 0)
    assert quality.ended.estimate == 0.5 and quality.n == 4
    with pytest.raises(InputError):
        quality_of([], 0)
