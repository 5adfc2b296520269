"""The CUDA kernel's own sources, run fiber by fiber on a CPU, against torch and the C++ decoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyalign
from tests.engine.architectures import Case, llamas
from tests.engine.coarse import coarse
from tests.engine.cuda_kernel.emulated_machine import EmulatedKernel, EmulatedMachine, library
from tests.models.tiny import story_model, token_ids
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine import Sampling, Story, sample
from tinyalign.engine.cuda.layout import JOB, SLOT, Shape, model_type
from tinyalign.engine.cuda.sampling import run
from tinyalign.engine.sampling import Cache, Request
from tinyalign.models import StoryModel

KINDS = ("llama", "llama-gqa", "llama-ternary", "llama-gqa-ternary", "llama-binary")
PROMPTS = ["Once upon a time", "Lily had a red ball. She", "The dog"]
PLAIN = Sampling()
# Prompts of many lengths, one token among them, and one that comes twice.
MIXED = [token_ids(1 + i % 7, batch=1, seed=i % 12)[0].tolist() for i in range(20)]


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


def emulated(
    model: StoryModel,
    prompts: list[list[int]],
    draw: Sampling = PLAIN,
    *,
    each: int = 1,
    limit: int = 20,
    batch_size: int | None = None,
    cache: Cache = "float32",
    stop: tuple[str, ...] = (),
    machine: EmulatedMachine | None = None,
) -> Iterator[Story]:
    texts = ["" if model.tokenizer is None else model.decode(ids) for ids in prompts]
    request = Request(texts, prompts, each, limit, draw, stop, 3, None, cache)
    return run(model, request, batch_size=batch_size, machine=machine or EmulatedMachine())


def on_torch(model: StoryModel, prompts: list[list[int]], draw: Sampling = PLAIN, **more: Any) -> list[Story]:
    arguments = {"max_new_tokens": 20, "seed": 3, "backend": "torch", **more}
    return list(
        sample(
            model,
            prompts,
            temperature=draw.temperature,
            top_k=draw.top_k,
            top_p=draw.top_p,
            **arguments,
        )
    )


@pytest.mark.parametrize("int8", [False, True])
def test_both_sides_lay_out_memory_alike(int8: bool) -> None:
    shape = Shape.of(story_model("llama-gqa"), 8, int8)
    found = np.zeros(4, dtype=np.int32)
    library(shape).ta_sizes(found.ctypes.data)
    assert found.tolist() == [
        model_type(shape.layers).itemsize,
        JOB.itemsize,
        SLOT.itemsize,
        shape.scratch,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_stories_equal_the_torch_backends(kind: str) -> None:
    model = story_model(kind)
    found = list(emulated(model, MIXED, each=2))
    expected = on_torch(model, MIXED, n=2)
    same = [a.tokens == b.tokens for a, b in zip(found, expected, strict=True)]
    # Of a ternary model an int8 activation on the edge between two steps can part two stories.
    assert sum(same) >= (40 if model.bits == 32 else 36)
    assert [story.index for story in found] == list(range(40))
    assert {story.stopped for story in found} == {"length"}
    assert len({story.tokens for story in found}) > 35


@given(llamas(), st.sampled_from([PLAIN, Sampling(0), Sampling(0.7, top_k=3), Sampling(top_p=0.5)]))
# A shape is a compilation. Always the same ones, so that a machine compiles them once.
@settings(max_examples=5, deadline=None, derandomize=True)
def test_models_of_any_shape_tell_the_stories_of_the_torch_backend(case: Case, draw: Sampling) -> None:
    model = case.model()
    # Greedy stories of one prompt would all part together.
    each = 1 if draw.temperature == 0 else 3
    found = list(emulated(model, case.prompts, draw, each=each, limit=7))
    case.check_same(found, on_torch(model, case.prompts, draw, n=each, max_new_tokens=7))
    machine = EmulatedMachine(order=4)
    again = emulated(model, case.prompts, draw, each=each, limit=7, batch_size=2, machine=machine)
    assert list(again) == found


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_equal_hugging_face(kind: str) -> None:
    model = story_model(kind)
    network: Any = model.network
    prompts = token_ids(6, batch=5)
    generated = network.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=50,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    found = emulated(model, prompts.tolist(), Sampling(temperature=0), limit=50)
    assert [list(story.tokens) for story in found] == generated[:, 6:].tolist()


@pytest.mark.parametrize(
    "draw",
    [
        Sampling(0.7, top_k=5),
        Sampling(top_p=0.6),
        Sampling(1.3, top_k=12, top_p=0.8),
        Sampling(top_k=1),
        Sampling(top_p=1e-9),
        Sampling(1e-9),
    ],
)
def test_filters_keep_what_torch_keeps(draw: Sampling) -> None:
    model = story_model("llama-gqa")
    found = [story.tokens for story in emulated(model, MIXED, draw)]
    assert found == [story.tokens for story in on_torch(model, MIXED, draw)]


def test_ties_go_by_token_id() -> None:
    """An unembedding of zeros makes all tokens equally likely: top_k keeps the first ones."""
    model = story_model("llama-gqa")
    network: Any = model.network
    with torch.no_grad():
        network.lm_head.weight.zero_()
    for draw in (Sampling(top_k=3), Sampling(top_p=0.1), Sampling(temperature=0)):
        found = [story.tokens for story in emulated(model, MIXED[:8], draw)]
        assert found == [story.tokens for story in on_torch(model, MIXED[:8], draw)]
        assert max(token for tokens in found for token in tokens) < 10


@pytest.mark.parametrize("kind", ["llama-gqa", "llama-ternary"])
def test_no_story_depends_on_its_neighbours_or_on_the_order_of_threads(kind: str) -> None:
    """A missing barrier would show here: nothing but barriers orders the emulated threads."""
    model = story_model(kind)
    whole = list(emulated(model, MIXED, limit=8))
    for machine, batch_size in (
        (EmulatedMachine(order=1), None),
        (EmulatedMachine(order=2, resident=4096), None),
        (EmulatedMachine(order=3, processors=1), None),
        (EmulatedMachine(order=4), 1),
        (EmulatedMachine(order=5), 7),
        (EmulatedMachine(order=6, resident=10**6, memory=600_000), None),
    ):
        assert list(emulated(model, MIXED, limit=8, machine=machine, batch_size=batch_size)) == whole


def test_real_stories_equal_the_cpu_backends(stories260k: StoryModel) -> None:
    prompts = [stories260k.encode(prompt) for prompt in PROMPTS]
    found = list(emulated(stories260k, prompts, each=3, limit=24))
    expected = list(sample(stories260k, prompts, n=3, max_new_tokens=24, seed=3, backend="cpu"))
    assert [story.tokens for story in found] == [story.tokens for story in expected]
    assert [story.text for story in found] == [story.text for story in expected]


def test_stop_strings_and_ends(stories260k: StoryModel) -> None:
    prompts = [stories260k.encode(prompt) for prompt in PROMPTS]
    stop = (".", " she")
    found = list(emulated(stories260k, prompts, each=3, limit=30, stop=stop))
    expected = sample(stories260k, prompts, n=3, max_new_tokens=30, seed=3, stop=stop, backend="cpu")
    assert found == list(expected)
    assert "stop" in {story.stopped for story in found}


def test_a_story_ends_at_its_end_token_and_at_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    model = story_model("llama")
    long = next(emulated(model, [MIXED[3]], limit=500))
    assert (long.stopped, len(long.tokens)) == ("context", model.context - len(MIXED[3]))
    last = long.tokens[4]
    monkeypatch.setattr(StoryModel, "eos_id", property(lambda _: last))
    story = next(emulated(model, [MIXED[3]]))
    assert (story.stopped, story.tokens) == ("end", long.tokens[: long.tokens.index(last)])


@pytest.mark.parametrize("kind", ["llama", "llama-gqa"])
def test_the_int8_cache_is_attention_over_rounded_keys_and_values(kind: str) -> None:
    fine = story_model(kind)
    found = list(emulated(fine, MIXED[:8], limit=24, cache="int8"))
    expected = on_torch(coarse(fine), MIXED[:8], max_new_tokens=24)
    assert [story.tokens for story in found] == [story.tokens for story in expected]
    assert found != list(emulated(fine, MIXED[:8], limit=24))


@pytest.mark.parametrize("kind", ["llama", "llama-ternary"])
@pytest.mark.parametrize("cache", ["float32", "int8"])
def test_weights_that_are_not_finite_raise(kind: str, cache: Cache) -> None:
    for name in ("model.norm.weight", "model.layers.1.input_layernorm.weight"):
        model = story_model(kind)
        with torch.no_grad():
            model.network.get_parameter(name)[3] = float("nan")
        with pytest.raises(CheckpointError, match="not finite"):
            list(emulated(model, [[1, 2]], cache=cache))


def test_too_little_memory_and_unknown_ids_are_said() -> None:
    model = story_model("llama")
    with pytest.raises(CheckpointError, match="bytes free"):
        list(emulated(model, [[1, 2]], machine=EmulatedMachine(memory=1000)))
    with pytest.raises(InputError, match="cannot be read"):
        list(emulated(model, [[1, 200]]))


def test_small_blocks_where_large_ones_do_not_fit() -> None:
    model = story_model("llama")
    large = Shape.of(model, 16, False)
    shapes = []

    class Watched(EmulatedMachine):
        def kernel(self, shape: Shape, packed_bytes: int) -> EmulatedKernel:
            shapes.append(shape)
            return super().kernel(shape, packed_bytes)

    found = [
        list(emulated(model, MIXED, each=2, machine=Watched(shared_memory=bytes_)))
        for bytes_ in (large.scratch, large.scratch - 1)
    ]
    assert [shape.stories for shape in shapes] == [16, 8]
    assert found[0] == found[1]


def test_a_run_begun_in_inference_mode_goes_on_outside_of_it(stories260k: StoryModel) -> None:
    prompts = [stories260k.encode("Once upon a time")]
    asked: dict[str, Any] = {"each": 40, "limit": 40, "stop": (" was", "."), "batch_size": 8}
    expected = list(emulated(stories260k, prompts, **asked))
    with torch.inference_mode():
        run_ = emulated(stories260k, prompts, **asked)
        first = next(run_)
    assert [first, *run_] == expected
    assert {story.stopped for story in expected} >= {"stop"}


def test_memory_that_runs_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(CheckpointError, match="memory ran out: lower max_new_tokens"):
        list(emulated(story_model("llama"), MIXED))


def test_a_run_left_half_way_does_not_disturb_the_next() -> None:
    model = story_model("llama")
    whole = list(emulated(model, MIXED))
    begun = emulated(model, MIXED)
    assert [next(begun) for _ in range(3)] == whole[:3]
    del begun
    assert list(emulated(model, MIXED)) == whole
