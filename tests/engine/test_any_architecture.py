"""Models of any shape: all backends tell the same stories, and no story depends on how it was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.architectures import Case, llamas, neos
from tests.engine.coarse import coarse
from tests.engine.test_cpu_score import in_float64
from tinyalign.engine import sample
from tinyalign.engine.cpu.cache_cost import stepwise
from tinyalign.engine.score import score_texts

ANY = st.one_of(llamas(), neos())
SOME = settings(max_examples=25, deadline=None)
DRAWS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {},
    {"temperature": 3.0, "top_k": 2},
    {"temperature": 0.7, "top_p": 0.5},
    {"top_k": 10_000, "top_p": 0.9},
]


@given(ANY, st.sampled_from(DRAWS), st.sampled_from([1, 7, 200]), st.integers(0, 2**31))
@SOME
def test_stories_are_those_of_every_backend_however_they_are_asked_for(
    case: Case, draw: dict[str, Any], limit: int, seed: int
) -> None:
    # Greedy stories of one prompt would all part together.
    each = 1 if draw.get("temperature") == 0 else 6
    asked: dict[str, Any] = {"n": each, "max_new_tokens": limit, "seed": seed, **draw}
    model = case.model()
    found = list(sample(model, case.prompts, backend="cpu", **asked))
    for batch_size, threads in ((1, 1), (7, 2), (512, 1)):
        more: dict[str, Any] = {"batch_size": batch_size, "threads": threads}
        assert list(sample(model, case.prompts, backend="cpu", **more, **asked)) == found
    some = range(len(found) // 3, len(found) // 2)
    assert (
        list(sample(model, case.prompts, backend="cpu", stories=some, **asked))
        == found[some.start : some.stop]
    )
    if case.bits != 32 and limit > 7:
        return  # among hundreds of thousands of activations some lie on the edge between two int8 codes
    for backend in ("torch", "static"):
        case.check_same(found, list(sample(model, case.prompts, backend=backend, **asked)))


@given(ANY)
@SOME
def test_log_probabilities_are_as_near_to_float64_as_torchs(case: Case) -> None:
    model = case.model()
    texts = case.texts()
    found = score_texts(model, texts, backend="cpu").log_probs
    assert score_texts(model, texts, backend="cpu", threads=2).log_probs == found
    if case.bits != 32:
        return  # an activation on the edge between two codes: the integer sums are tested by themselves
    torchs = score_texts(model, texts, backend="torch").log_probs
    for ids, own, other in zip(texts, found, torchs, strict=True):
        exact = in_float64(model, ids)
        off, torch_off = np.abs(exact - own).max(), np.abs(exact - other).max()
        # Where few dimensions are normalised, float32 itself is off by more than 1e-5.
        assert off <= max(1e-5, 8 * torch_off), case.fields


@given(llamas())
@SOME
def test_the_int8_cache_errs_about_as_attention_over_rounded_keys_and_values(case: Case) -> None:
    """Further off, as it rounds queries and attention's weights too, but by a small factor."""
    model, texts = replace(case, bits=32).model(), case.texts()
    fine, own = (np.concatenate(stepwise(model, texts, cache)) for cache in ("float32", "int8"))
    torchs = np.concatenate(score_texts(coarse(model), texts, backend="torch").log_probs)
    assert np.abs(own - fine).mean() <= 4 * np.abs(torchs - fine).mean() + 1e-5, case.fields
