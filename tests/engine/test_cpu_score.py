"""Scores of the C++ decoder against float64 networks, in any company, and after edits in place."""

from __future__ import annotations

import copy
import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyalign
from tests.models.reference_llama import logits as numpy_logits
from tests.models.reference_llama import parse_v0
from tests.models.tiny import D_VOCAB, network, story_model, token_ids
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.cpu import score as cpu_score
from tinyalign.engine.cpu import weights
from tinyalign.engine.cpu.score import score_sequences, score_tails
from tinyalign.engine.score import score_continuations, score_texts
from tinyalign.engine.score_torch import score_sequences as torch_sequences
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model
from tinyalign.ternary import TernaryLinear, ternary_layers

FLOATS = ("llama", "llama-gqa", "neo")
KINDS = (*FLOATS, "llama-ternary", "llama-gqa-ternary", "llama-binary", "neo-ternary", "neo-binary")
PROMPTS = ['Lily wanted to climb the tree. Her mom said, "No, Lily." Lily was', "Tom saw a dog. The dog"]
WORDS = [[" sad", " happy", " so happy that she", " sad."], [" ran", " was", " ran away"]]


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


@pytest.fixture(scope="module")
def models() -> dict[str, StoryModel]:
    return {kind: story_model(kind) for kind in KINDS}


def in_float64(model: StoryModel, ids: tuple[int, ...]) -> np.ndarray:
    """Log-probabilities of all tokens but the first under the network in float64."""
    double: Any = copy.deepcopy(model.network).double()
    with torch.no_grad():
        log_probs = double(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return log_probs.gather(-1, torch.tensor(ids)[1:, None])[:, 0].numpy()


def branching(seed: int, count: int, longest: int = 50) -> list[tuple[int, ...]]:
    """Sequences that share beginnings of all lengths: each goes on from a random place of an earlier one."""
    generator = np.random.default_rng(seed)
    found: list[tuple[int, ...]] = [tuple(generator.integers(0, D_VOCAB, longest).tolist())]
    while len(found) < count:
        trunk = found[generator.integers(len(found))]
        kept = trunk[: generator.integers(0, len(trunk) + 1)]
        more = generator.integers(0, D_VOCAB, generator.integers(2, 12)).tolist()
        found.append((*kept, *more)[:longest])
    return found


@pytest.mark.parametrize("kind", FLOATS)
def test_scores_equal_the_float64_network(models: dict[str, StoryModel], kind: str) -> None:
    sequences = branching(5, 60)
    found = score_sequences(models[kind], sequences, 1)
    assert set(found) == set(sequences)
    for ids, scores in found.items():
        assert np.abs(np.array(scores) - in_float64(models[kind], ids)).max() <= 1e-5


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 70), st.sampled_from(FLOATS))
def test_trees_of_any_form_equal_torch(
    models: dict[str, StoryModel], seed: int, count: int, kind: str
) -> None:
    sequences = branching(seed, count)
    expected = torch_sequences(models[kind], sequences, 64)
    for ids, scores in score_sequences(models[kind], sequences, 1).items():
        assert np.abs(np.array(scores) - np.array(expected[ids])).max() <= 1e-5


@pytest.mark.parametrize("kind", KINDS[len(FLOATS) :])
def test_ternary_scores_equal_torch_but_for_codes_on_an_edge(
    models: dict[str, StoryModel], kind: str
) -> None:
    """An activation between two int8 codes may fall to either side; most texts of a tiny model have none."""
    sequences = branching(3, 50)
    expected = torch_sequences(models[kind], sequences, 64)
    found = score_sequences(models[kind], sequences, 1)
    off = np.array([np.abs(np.subtract(found[ids], expected[ids])).max() for ids in sequences])
    assert np.mean(off <= 1e-5) >= 0.5
    assert off.max() <= 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_depends_on_what_stands_beside_a_text(
    models: dict[str, StoryModel], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = branching(7, 80)
    together = score_sequences(models[kind], sequences, 1)
    assert score_sequences(models[kind], sequences[:13], 1) == {ids: together[ids] for ids in sequences[:13]}
    for ids in sequences[::9]:
        assert score_sequences(models[kind], [ids], 1)[ids] == together[ids]
    monkeypatch.setattr(cpu_score, "_TOKENS_A_CALL", 70)
    assert score_sequences(models[kind], sequences, 3) == together


def test_tails_are_sums_over_their_tokens_alone(models: dict[str, StoryModel]) -> None:
    whole = branching(11, 30)
    tails: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for ids in whole:
        for cut in {1, len(ids) // 2, len(ids) - 1}:
            tails.setdefault(ids[:cut], set()).add(ids[cut:])
    for (prefix, tail), score in score_tails(models["llama"], tails, 2).items():
        exact = in_float64(models["llama"], prefix + tail)[len(prefix) - 1 :].sum()
        assert score == pytest.approx(exact, abs=1e-4)


def test_stories260k_equals_the_float64_reference(shared_models: Path, stories260k: StoryModel) -> None:
    texts = [
        "Lily and her dad went to the lake. The water was cold, so she said no. " * 3,
        "Lily and her dad went to the park. They saw a big dog.",
        "Lily",
    ]
    weights_ = parse_v0((shared_models / "stories260K.bin").read_bytes())
    scores = score_texts(stories260k, texts, backend="cpu")
    for ids, found in zip(scores.tokens, scores.log_probs, strict=True):
        log_probs = torch.tensor(numpy_logits(weights_, list(ids[:-1]))).log_softmax(-1)
        exact = log_probs.gather(-1, torch.tensor(ids)[1:, None])[:, 0].numpy()
        assert np.abs(np.array(found) - exact).max() <= 1e-4


def test_continuations_equal_the_torch_backends(stories260k: StoryModel) -> None:
    cpu, plain = (score_continuations(stories260k, PROMPTS, WORDS, backend=b) for b in ("cpu", "torch"))
    assert (cpu.merged, cpu.token_counts) == (plain.merged, plain.token_counts)
    for own, other in zip(cpu.log_probs, plain.log_probs, strict=True):
        assert own == pytest.approx(other, abs=1e-4)
    assert score_continuations(stories260k, PROMPTS, WORDS) == cpu
    assert score_continuations(stories260k, PROMPTS, WORDS, threads=2) == cpu


def test_every_edit_in_place_is_seen_and_its_undoing_too() -> None:
    model = story_model("llama-ternary")
    plain: Any = model.network
    ids = tuple(token_ids(40, batch=1)[0].tolist())
    layer = next(iter(ternary_layers(model.network).values()))
    before = agreeing(model, ids)
    rows, columns = torch.tensor([0, 3]), torch.tensor([1, 2])
    flipped = layer.flip(rows, columns, (layer.trits[rows, columns] + 2) % 3 - 1)
    assert agreeing(model, ids) != before
    layer.flip(rows, columns, flipped)
    assert agreeing(model, ids) == before
    trits = layer.trits
    layer.set_trits(trits.roll(1, 0))
    assert agreeing(model, ids) != before
    layer.set_trits(trits)
    layer.scale.mul_(1.5)
    assert agreeing(model, ids) != before
    layer.scale.div_(1.5)
    # Ways that leave a tensor's version counter as it was: through `.data` and through numpy.
    embedding = plain.model.embed_tokens.weight
    version = embedding._version
    embedding.data[ids[3]] += 1.0
    assert agreeing(model, ids) != before
    embedding.data[ids[3]] -= 1.0
    embedding.detach().numpy()[ids[5]] *= 1.25
    assert embedding._version == version
    assert agreeing(model, ids) != before
    embedding.detach().numpy()[ids[5]] /= 1.25
    # A module in the place of another, and a number that is no weight.
    replaced = plain.model.layers[1].mlp.down_proj
    plain.model.layers[1].mlp.down_proj = TernaryLinear.from_quantized(
        replaced.quantized, activation_bits=None
    )
    assert agreeing(model, ids) != before
    plain.model.layers[1].mlp.down_proj = replaced
    norms = [norm for norm in plain.modules() if hasattr(norm, "variance_epsilon")]
    for norm in norms:
        norm.variance_epsilon = 0.5
    assert agreeing(model, ids) != before


def agreeing(model: StoryModel, ids: tuple[int, ...]) -> list[float]:
    """The CPU backend's scores, held to what the network gives now."""
    found = score_sequences(model, [ids], 1)[ids]
    assert found == pytest.approx(torch_sequences(model, [ids], 1)[ids], abs=0.02 if model.bits < 2 else 1e-4)
    return found


def test_copies_are_reused_bounded_and_given_back() -> None:
    model = story_model("llama")
    first = weights.current(model, "scoring")
    assert weights.current(model, "scoring") is first
    others = [story_model("llama", seed) for seed in range(6)]
    assert len({id(weights.current(other, "scoring")) for other in others}) == 6
    assert len(weights._copies["scoring"]) <= weights._KEPT
    assert weights.current(model, "scoring") is not first
    gone = weakref.ref(others[-1].network)
    before = len(weights._copies["scoring"])
    others.clear()
    gc.collect()
    assert gone() is None
    assert len(weights._copies["scoring"]) < before


def test_two_models_of_one_network_class_do_not_mix() -> None:
    ids = tuple(token_ids(20, batch=1)[0].tolist())
    one, two = story_model("llama-gqa", 1), story_model("llama-gqa", 2)
    scores = [agreeing(model, ids) for model in (one, two, one)]
    assert scores[0] == scores[2] != scores[1]


def test_a_text_that_just_fills_the_context(models: dict[str, StoryModel]) -> None:
    for kind in FLOATS:
        ids = tuple(token_ids(65, batch=1)[0].tolist())
        found = score_sequences(models[kind], [ids], 1)[ids]
        assert np.abs(np.array(found[:-1]) - in_float64(models[kind], ids[:-1])).max() <= 1e-5
        assert found[-1] < 0


def test_biases_of_llama_are_read() -> None:
    plain = network("llama")
    for layer in plain.model.layers:
        for linear in (
            layer.self_attn.q_proj,
            layer.self_attn.o_proj,
            layer.mlp.up_proj,
            layer.mlp.down_proj,
        ):
            linear.bias = torch.nn.Parameter(torch.randn(linear.out_features))
    model = make_story_model(plain, None, source="a test", name="biased")
    agreeing(model, tuple(token_ids(40, batch=1)[0].tolist()))


def test_numbers_that_are_not_finite_and_unknown_tokens_raise() -> None:
    broken: Any = story_model("llama")
    with torch.no_grad():
        broken.network.model.embed_tokens.weight[7, 3] = float("nan")
    with pytest.raises(CheckpointError, match="llama gives logits that are not numbers"):
        score_sequences(broken, [(1, 2, 3), (1, 7, 3)], 1)
    with pytest.raises(InputError, match="unknown to llama: expected 0 to 95"):
        score_sequences(story_model("llama"), [(1, 96)], 1)


def test_auto_says_when_it_takes_torch(stories260k: StoryModel) -> None:
    handle = stories260k.network.register_forward_hook(lambda *_: None)
    try:
        with pytest.warns(UserWarning, match=r"Scoring runs on the torch backend, .* slower.*has a hook"):
            score_texts(stories260k, ["Once upon a time"])
        with pytest.raises(InputError, match="has a hook on the network"):
            score_texts(stories260k, ["Once upon a time"], backend="cpu")
    finally:
        handle.remove()
    with pytest.raises(InputError, match="threads 0"):
        score_texts(stories260k, ["Once upon a time"], threads=0)
