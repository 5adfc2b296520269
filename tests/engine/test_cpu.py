"""The C++ decoder against Hugging Face, a float64 reference, the ternary reference kernel and torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import tinyalign
from tests.models.reference_llama import logits as numpy_logits
from tests.models.reference_llama import parse_v0
from tests.models.tiny import D_VOCAB, story_model, token_ids
from tinyalign.common.errors import CheckpointError
from tinyalign.engine import Sampling, Story, sample
from tinyalign.engine.cpu import native
from tinyalign.engine.cpu.sampling import Request, run
from tinyalign.engine.cpu.weights import CpuModel
from tinyalign.engine.sampling import Cache
from tinyalign.engine.sampling_torch import choose
from tinyalign.models import StoryModel
from tinyalign.ternary import reference
from tinyalign.ternary.packing import pack
from tinyalign.ternary.quantize import absmax_int8

KINDS = (
    "llama",
    "llama-gqa",
    "llama-ternary",
    "llama-gqa-ternary",
    "llama-binary",
    "neo",
    "neo-ternary",
    "neo-binary",
)
PROMPTS = ["Once upon a time", "Tom and his mom went to the park. Tom said", "The dog", "Lily was sad. She"]


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


def from_ids(
    model: StoryModel,
    prompts: list[list[int]],
    draw: Sampling,
    *,
    each: int = 1,
    limit: int = 30,
    batch_size: int = 64,
    threads: int = 1,
    cache: Cache = "float32",
) -> Iterator[Story]:
    """Stories of a model without a tokenizer."""
    request = Request([""] * len(prompts), prompts, each, limit, draw, (), 3, None, cache)
    return run(model, request, batch_size=batch_size, threads=threads)


def test_greedy_tokens_equal_hugging_face(stories260k: StoryModel) -> None:
    network: Any = stories260k.network
    stories = list(sample(stories260k, PROMPTS, temperature=0, max_new_tokens=128, backend="cpu"))
    for prompt, story in zip(PROMPTS, stories, strict=True):
        ids = torch.tensor([stories260k.encode(prompt)])
        expected = network.generate(ids, max_new_tokens=128, do_sample=False)[0, ids.shape[1] :].tolist()
        assert len(story.tokens) == 128 or story.stopped == "end"
        assert list(story.tokens) == expected[: len(story.tokens)]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_of_random_models_equal_hugging_face(kind: str) -> None:
    model = story_model(kind)
    network: Any = model.network
    prompts = token_ids(6, batch=5)
    stories = from_ids(model, prompts.tolist(), Sampling(temperature=0), limit=50)
    # Without a mask Hugging Face would take a 0 in a prompt for padding.
    mask = torch.ones_like(prompts)
    generated = network.generate(
        prompts, attention_mask=mask, max_new_tokens=50, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    expected = generated[:, 6:]
    assert [list(story.tokens) for story in stories] == expected.tolist()


def test_logits_equal_the_float64_reference(shared_models: Path, stories260k: StoryModel) -> None:
    ids = stories260k.encode("Lily and her dad went to the lake. The water was cold, so she said no. " * 3)
    expected = numpy_logits(parse_v0((shared_models / "stories260K.bin").read_bytes()), ids)
    found = CpuModel(stories260k, "scoring").logits(ids).astype(np.float64)
    assert len(ids) > 64
    assert np.abs(found - expected).max() <= 1e-4
    assert np.abs(log_softmax(found) - log_softmax(expected)).max() <= 1e-4


def log_softmax(x: np.ndarray) -> np.ndarray:
    return torch.tensor(x).log_softmax(-1).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_random_models_equal_torch(kind: str) -> None:
    model = story_model(kind)
    ids = token_ids(50, batch=1)
    with torch.no_grad():
        expected = model.network(ids).logits[0].numpy()
    assert np.abs(CpuModel(model, "scoring").logits(ids[0].tolist()) - expected).max() <= 1e-4


@given(
    st.integers(1, 70), st.integers(1, 150), st.integers(0, 10**6), st.sampled_from([1e-30, 1e-3, 1.0, 1e20])
)
@settings(max_examples=40, deadline=None)
def test_integer_sums_are_exact(rows: int, columns: int, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    trits = torch.randint(-1, 2, (rows, columns), generator=generator).to(torch.int8)
    # Multiples of a half make ties between two codes, where the rounding rule shows.
    x = torch.randint(-254, 255, (32, columns), generator=generator) / 2
    x[:, 0] = 127
    x *= size
    codes, scales, sums = integers(trits, x)
    expected = absmax_int8(x)
    assert torch.equal(codes, expected.values)
    assert torch.equal(scales, expected.scale[:, 0])
    exact = reference.matmul(expected.values, pack(trits, "2bit"), (rows, columns), "2bit")
    assert torch.equal(sums, exact.int())


def test_millions_of_codes_are_those_of_torch() -> None:
    """A factor rounded in another way gives another code once in a million."""
    x = torch.randn(32, 100_000, generator=torch.Generator().manual_seed(1)).view(32, 100, 1000)
    trits = torch.ones(1, 1000, dtype=torch.int8)
    for part in x.unbind(1):
        codes, scales, _ = integers(trits, part)
        assert torch.equal(codes, absmax_int8(part).values)
        assert torch.equal(scales, absmax_int8(part).scale[:, 0])


def test_integer_sums_at_their_largest() -> None:
    """Beyond 256 inputs an int16 partial sum that is never flushed would overflow."""
    trits = torch.ones(9, 1030, dtype=torch.int8)
    trits[1] = -1
    codes, _, sums = integers(trits, torch.full((32, 1030), 2.0))
    assert torch.equal(codes, torch.full_like(codes, 127))
    assert torch.equal(sums[:, 0], torch.full((32,), 127 * 1030, dtype=torch.int32))
    assert torch.equal(sums[:, 1], -sums[:, 0])


def integers(trits: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, columns = trits.shape
    inputs = (np.ascontiguousarray(trits.numpy()), np.ascontiguousarray(x.numpy(), dtype=np.float32))
    codes = np.empty((32, columns), dtype=np.int8)
    scales = np.full(32, np.nan, dtype=np.float32)
    sums = np.full((32, rows), -(2**31), dtype=np.int32)
    places = [native.address(array) for array in (*inputs, codes, scales, sums)]
    assert native.bound("scoring").ta_integers(places[0], rows, columns, *places[1:]) == 0
    return torch.tensor(codes), torch.tensor(scales), torch.tensor(sums)


@pytest.mark.parametrize("stop", [(), ("\n",)])
def test_the_same_story_for_any_batch_size_and_threads(
    stories260k: StoryModel, stop: tuple[str, ...]
) -> None:
    runs = [
        list(
            sample(
                stories260k,
                PROMPTS,
                n=20,
                max_new_tokens=20,
                seed=3,
                stop=stop,
                batch_size=size,
                backend="cpu",
                threads=threads,
            )
        )
        for size, threads in ((1, 1), (7, 1), (512, 1), (512, 2))
    ]
    assert runs[0] == runs[1] == runs[2] == runs[3]
    assert [story.index for story in runs[0]] == list(range(80))


@pytest.mark.parametrize("kind", ["llama-gqa", "llama-ternary", "neo", "neo-binary"])
def test_lanes_that_end_at_different_times_do_not_mix(kind: str) -> None:
    """Prompts of many lengths and more stories than lanes: the ring of slots goes round several times."""
    model = story_model(kind)
    prompts = [token_ids(1 + i % 17, batch=1, seed=i)[0].tolist() for i in range(80)]
    alone = list(from_ids(model, prompts, Sampling(), batch_size=1, limit=45))
    assert alone == list(from_ids(model, prompts, Sampling(), batch_size=64, threads=2, limit=45))
    few = list(from_ids(model, prompts[:3], Sampling(), limit=45))
    assert few == alone[:3]
    assert {len(story.tokens) for story in alone} == {45}


@pytest.mark.parametrize("lengths", [(1,), (2, 60), (1, 30, 55, 61, 62)])
def test_lanes_wait_for_each_other_or_not_and_tell_the_same(lengths: tuple[int, ...]) -> None:
    """Stories that end at the context: all together, half of them early, or most of them early."""
    model = story_model("llama-gqa")
    prompts = [token_ids(lengths[i % len(lengths)], batch=1, seed=i)[0].tolist() for i in range(90)]
    alone = list(from_ids(model, prompts, Sampling(), batch_size=1, limit=1000))
    assert alone == list(from_ids(model, prompts, Sampling(), batch_size=90, limit=1000))
    assert {(len(p) + len(s.tokens), s.stopped) for p, s in zip(prompts, alone, strict=True)} == {
        (model.context, "context")
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"temperature": 0.8, "top_k": 20},
        {"top_p": 0.9},
        {"temperature": 1.2, "top_k": 50, "top_p": 0.7, "stop": ["\n", "said", ". "]},
    ],
)
def test_stories_equal_the_torch_backends(stories260k: StoryModel, arguments: dict[str, Any]) -> None:
    """Both draw from the same numbers; float32 sums in another order may turn a draw near a boundary."""
    both = [
        list(sample(stories260k, PROMPTS, n=50, max_new_tokens=20, seed=8, backend=backend, **arguments))
        for backend in ("torch", "cpu")
    ]
    same = sum(a == b for a, b in zip(*both, strict=True))
    assert same >= 198
    assert len({story.text for story in both[1]}) > 100


def test_a_story_ends_at_the_context(stories260k: StoryModel) -> None:
    prompt = "a " * 505
    room = stories260k.context - len(stories260k.encode(prompt))
    story = next(sample(stories260k, prompt, temperature=0, max_new_tokens=500, backend="cpu"))
    assert (story.stopped, len(story.tokens)) == ("context", room)


@pytest.mark.parametrize("draw", [Sampling(0.9), Sampling(1.3, top_k=7), Sampling(top_p=0.6)])
@pytest.mark.parametrize("kind", ["llama-gqa", "neo", "llama-ternary"])
def test_token_frequencies_follow_the_exact_distribution(draw: Sampling, kind: str) -> None:
    model = story_model(kind)
    prompt = token_ids(9, batch=1)[0].tolist()
    n = 8_000
    drawn = [story.tokens[0] for story in from_ids(model, [prompt], draw, each=n, limit=1)]
    logits = torch.tensor(CpuModel(model, "scoring").logits(prompt)[-1:]).double()
    counts = np.bincount(drawn, minlength=D_VOCAB)
    weights = (logits[0] / draw.temperature).softmax(0).numpy()
    order = np.argsort(-weights, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    kept = np.zeros(D_VOCAB, dtype=bool)
    kept[order[: draw.top_k or D_VOCAB]] = True
    kept[order[before >= (draw.top_p or 2.0)]] = False
    exact = np.where(kept, weights, 0.0)
    expected = n * exact / exact.sum()
    assert counts[expected == 0].sum() == 0
    frequent = expected >= 5
    found = np.append(counts[frequent], counts[~frequent].sum() + 1e-9)
    assert (
        stats.chisquare(found, np.append(expected[frequent], n - expected[frequent].sum() + 1e-9)).pvalue
        > 1e-4
    )
    # The same draws as the rule of the torch backend.
    first = 500
    same = choose(logits.expand(first, -1), draw, 3, range(first), len(prompt)) == np.array(drawn[:first])
    assert same.mean() >= 0.998


def test_weights_that_are_not_finite_raise() -> None:
    for kind in ("llama", "llama-ternary"):
        for name in ("model.norm.weight", "model.layers.1.post_attention_layernorm.weight"):
            model = story_model(kind)
            with torch.no_grad():
                model.network.get_parameter(name)[3] = float("nan")
            with pytest.raises(CheckpointError, match="not finite"):
                list(from_ids(model, [[1, 2]], Sampling()))


def test_a_run_left_half_way_does_not_disturb_the_next(stories260k: StoryModel) -> None:
    whole = list(sample(stories260k, "Once", n=40, max_new_tokens=20, seed=2, backend="cpu"))
    begun = sample(stories260k, "Once", n=40, max_new_tokens=20, seed=2, backend="cpu")
    assert [next(begun) for _ in range(3)] == whole[:3]
    del begun
    assert list(sample(stories260k, "Once", n=40, max_new_tokens=20, seed=2, backend="cpu")) == whole


def test_auto_is_the_cpu_backend_without_a_warning(stories260k: StoryModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auto = list(sample(stories260k, "Once", n=3, max_new_tokens=20))
    assert auto == list(sample(stories260k, "Once", n=3, max_new_tokens=20, backend="cpu"))
