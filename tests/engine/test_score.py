"""Scoring against a slow reference that feeds one text at a time and multiplies nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.score import ContinuationScores, TextScores, score_continuations, score_texts

_LETTERS = "abcdefgh ."
# Pairs that merge into one token, as byte pair encoding does; "d." merges across a prompt's end.
_MERGES = ("ab", "ba", "d.", "d.a", " c")


def _random_llama() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).double().eval()


@dataclass(frozen=True)
class TinyModel:
    """A random float64 Llama over letters; its tokenizer merges greedily and begins with BOS (id 0)."""

    network: nn.Module = field(default_factory=_random_llama)
    name: str = "tiny"
    sha256: str = "0" * 64
    context: int = 24
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def encode(self, text: str) -> list[int]:
        pieces = sorted([*_MERGES, *_LETTERS], key=len, reverse=True)
        ids = [0]
        while text:
            piece = next(p for p in pieces if text.startswith(p))
            ids.append(1 + pieces.index(piece))
            text = text[len(piece) :]
        return ids


@pytest.fixture(scope="module")
def tiny() -> TinyModel:
    return TinyModel()


def reference(model: TinyModel, ids: list[int], start: int) -> float:
    """Sum of log p of the tokens from `start`, each from its own forward pass over what is before it."""
    total = 0.0
    for at in range(start, len(ids)):
        with torch.no_grad():
            logits = model.network(torch.tensor([ids[:at]])).logits[0, -1].double()
        total += float(logits[ids[at]]) - math.log(float(logits.exp().sum()))
    return total


texts = st.text(_LETTERS, min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=4)), min_size=1, max_size=5))
def test_scores_equal_a_forward_pass_per_token(tiny: TinyModel, cases: list[tuple[str, list[str]]]) -> None:
    scores = score_continuations(tiny, [p for p, _ in cases], [c for _, c in cases])
    for (prompt, alternatives), found, counts in zip(
        cases, scores.log_probs, scores.token_counts, strict=True
    ):
        for alternative, log_prob, count in zip(alternatives, found, counts, strict=True):
            ids = tiny.encode(prompt + alternative)
            assert log_prob == pytest.approx(reference(tiny, ids, len(ids) - count), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=4)), min_size=2, max_size=8),
    st.integers(1, 9),
)
def test_batch_size_changes_nothing(
    tiny: TinyModel, cases: list[tuple[str, list[str]]], batch_size: int
) -> None:
    prompts, alternatives = [p for p, _ in cases], [c for _, c in cases]
    one = score_continuations(tiny, prompts, alternatives, batch_size=1)
    other = score_continuations(tiny, prompts, alternatives, batch_size=batch_size)
    assert (one.merged, one.token_counts) == (other.merged, other.token_counts)
    for a, b in zip(one.log_probs, other.log_probs, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_local_attention_reads_the_cache_right() -> None:
    torch.manual_seed(1)
    config = GPTNeoConfig(
        vocab_size=32,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=3,
        intermediate_size=24,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    neo = TinyModel(network=GPTNeoForCausalLM(config).double().eval(), name="neo")
    alternatives = ["hea", "he", "hebad", "g", "h"]
    for log_prob, alternative in zip(
        score_continuations(neo, ["cad.gag"], [alternatives]).log_probs[0], alternatives, strict=True
    ):
        ids = neo.encode("cad.gag" + alternative)
        assert log_prob == pytest.approx(reference(neo, ids, len(neo.encode("cad.gag"))), abs=1e-6)


def test_a_merge_across_the_boundary_scores_all_alternatives_from_one_place(tiny: TinyModel) -> None:
    scores = score_continuations(tiny, ["bad", "bad"], [[" a", "."], [" a"]])
    # "bad" + "." is encoded b-a-"d.": " a" is scored from before the d too, or "." would look too cheap.
    assert scores.merged == (True, False)
    assert scores.token_counts == ((3, 1), (2,))
    whole = tiny.encode("bad a")
    assert scores.log_probs[0][0] == pytest.approx(reference(tiny, whole, len(whole) - 3), abs=1e-6)


def test_probabilities_of_all_single_tokens_sum_to_one(tiny: TinyModel) -> None:
    # BOS and the unused ids are all that letters and merges leave out.
    ids = tiny.encode("hag")
    with torch.no_grad():
        p = tiny.network(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
    alternatives = [*_LETTERS, *_MERGES]
    found = score_continuations(tiny, ["hag"], [alternatives]).log_probs[0]
    left_out = float(p[0] + p[1 + len(alternatives) :].sum())
    assert sum(math.exp(x) for x in found) == pytest.approx(1 - left_out, abs=1e-6)


def test_texts(tiny: TinyModel) -> None:
    stories = ["abba", "a", "bad. cab", "abba"]
    scores = score_texts(tiny, stories, batch_size=2)
    for story, ids, log_probs in zip(stories, scores.tokens, scores.log_probs, strict=True):
        assert list(ids) == tiny.encode(story)
        assert sum(log_probs) == pytest.approx(reference(tiny, list(ids), 1), abs=1e-6)
    assert scores.to_json() == {"tokens": scores.tokens, "log_probs": scores.log_probs}


@pytest.mark.parametrize(
    ("prompts", "alternatives", "message"),
    [
        ([""], [["a"]], "prompt is empty"),
        (["a"], [[""]], "continuation of the prompt 'a' is empty"),
        (["a"], [[]], "must be a list"),
        (["a"], ["b"], "must be a list"),
        (["a", "b"], [["a"]], "2 prompts but 1"),
        (["ah" * 20], [["a"]], "reads at most 24"),
    ],
)
def test_unusable_input_is_refused(
    tiny: TinyModel, prompts: list[str], alternatives: list[list[str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        score_continuations(tiny, prompts, alternatives)


def test_more_refusals(tiny: TinyModel) -> None:
    with pytest.raises(InputError, match="batch_size"):
        score_continuations(tiny, ["a"], [["b"]], batch_size=0)
    with pytest.raises(InputError, match="at least two"):
        score_texts(tiny, [""])
    with pytest.raises(InputError, match="are the string 'Once upon': give a list"):
        score_texts(tiny, "Once upon")
    with pytest.raises(InputError, match="lists: give a list of each"):
        score_continuations(tiny, "a", [["b"]])
    with pytest.raises(InputError, match="holds no whole character"):
        score_texts(tiny, ["a\ud800b"])
    with pytest.raises(InputError, match="same prompts"):
        ContinuationScores(log_probs=((0.0,),), token_counts=(), merged=())
    with pytest.raises(InputError, match="first token is given"):
        TextScores(tokens=((1, 2),), log_probs=((0.0, 0.0),))


class NoNumbers(nn.Module):
    def forward(self, ids: torch.Tensor, **options: object) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.full((*ids.shape, 32), math.nan), past_key_values=None)


def test_logits_that_are_not_numbers_are_an_error() -> None:
    broken = TinyModel(network=NoNumbers(), name="broken")
    with pytest.raises(CheckpointError, match="broken gives logits that are not numbers"):
        score_continuations(broken, ["a"], [["b"]])


def test_a_text_that_just_fits_the_context_is_scored(tiny: TinyModel) -> None:
    # 24 tokens are read and the 25th is predicted.
    assert score_texts(tiny, ["h" * 24]).log_probs[0][-1] < 0
    with pytest.raises(InputError, match="has 26 tokens"):
        score_texts(tiny, ["h" * 25])
