"""The static backend on a CUDA device: graphs beside eager steps, the torch backend and Hugging Face."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tinyalign
from tests.engine.static.asking import lengths, of_texts, request, share_of_own_draws
from tests.models.tiny import D_VOCAB, story_model, token_ids
from tinyalign.common.errors import CheckpointError
from tinyalign.engine import Sampling, Story
from tinyalign.engine.sampling_torch import run as run_on_torch
from tinyalign.engine.static.drawing import draw
from tinyalign.engine.static.sampling import run
from tinyalign.models import StoryModel
from tinyalign.ternary import ternary_layers

pytestmark = pytest.mark.gpu

FLOATS = ("llama", "llama-gqa", "neo")
KINDS = (*FLOATS, "llama-ternary", "llama-gqa-ternary", "llama-binary", "neo-ternary", "neo-binary")
TEXTS = ["Once upon a time", "Tom and his mom went to the park. Tom said", "The dog", "Lily was sad. She"]


def on_cuda(model: StoryModel) -> StoryModel:
    network: Any = model.network
    network.to("cuda")
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draw_", [Sampling(), Sampling(0.9, top_k=9, top_p=0.9)])
def test_stories_are_the_torch_backends(kind: str, draw_: Sampling) -> None:
    model = on_cuda(story_model(kind))
    asked = request(lengths(1, 60, 40, D_VOCAB), draw_, limit=35)
    replayed = list(run(model, asked, batch_size=16))
    called = list(run(model, asked, batch_size=16, graphs=False))
    assert sum(a == b for a, b in zip(replayed, called, strict=True)) >= 59
    assert share_of_own_draws(model, asked, replayed) >= (0.998 if kind in FLOATS else 0.97)
    if kind in FLOATS:
        theirs = run_on_torch(model, asked, batch_size=64)
        assert sum(a == b for a, b in zip(replayed, theirs, strict=True)) >= 57


@pytest.mark.parametrize("kind", FLOATS)
def test_greedy_tokens_equal_hugging_face(kind: str) -> None:
    model = on_cuda(story_model(kind))
    network: Any = model.network
    ids = token_ids(6, batch=5).to("cuda")
    ours = run(model, request(ids.tolist(), Sampling(temperature=0), limit=50), batch_size=3)
    generated = network.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=50,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert [list(story.tokens) for story in ours] == generated[:, 6:].tolist()


@pytest.mark.parametrize("name", ["stories260K.bin", "ternary"])
def test_real_stories_over_several_attended_lengths(name: str, shared_models: Path) -> None:
    model = on_cuda(tinyalign.load(name if name == "ternary" else shared_models / name))
    asked = of_texts(model, TEXTS, Sampling(), each=10, limit=200, stop=("\n\n",))
    ours = list(run(model, asked, batch_size=24))
    assert max(len(story.tokens) for story in ours) > 150
    assert share_of_own_draws(model, asked, ours) >= (0.97 if name == "ternary" else 0.999)
    # A second run replays what the first captured.
    assert list(run(model, asked, batch_size=24)) == ours


def test_edits_after_a_capture_are_seen() -> None:
    model = on_cuda(story_model("llama-ternary"))
    asked = request([[1, 2, 3]], Sampling(), each=20)
    stories = [list(run(model, asked, batch_size=20))]
    layer = next(iter(ternary_layers(model.network).values()))
    layer.set_trits(-layer.trits)
    stories.append(list(run(model, asked, batch_size=20)))
    norm: Any = model.network.get_submodule("model.norm")
    norm.weight = torch.nn.Parameter(norm.weight.detach() * 3)
    stories.append(list(run(model, asked, batch_size=20)))
    assert share_of_own_draws(model, asked, stories[-1]) >= 0.97
    assert stories[0] != stories[1] != stories[2]


def test_a_model_may_move() -> None:
    model: Any = story_model("llama-gqa")
    asked = request(lengths(3, 20, 30, D_VOCAB), Sampling(), limit=20)
    before = list(run(model, asked, batch_size=8))
    there = list(run(on_cuda(model), asked, batch_size=8))
    model.network.to("cpu")
    assert list(run(model, asked, batch_size=8)) == before
    assert sum(a == b for a, b in zip(before, there, strict=True)) >= 18


def test_half_precision() -> None:
    model: Any = on_cuda(story_model("llama-gqa"))
    model.network.to(torch.bfloat16)
    asked = request(lengths(3, 20, 20, D_VOCAB), Sampling(temperature=0), limit=20)
    assert share_of_own_draws(model, asked, list(run(model, asked, batch_size=8))) >= 0.9


def test_logits_that_are_not_finite_raise() -> None:
    model = on_cuda(story_model("neo"))
    with torch.no_grad():
        model.network.get_parameter("transformer.ln_f.weight")[3] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        list(run(model, request([[1, 2]], Sampling()), batch_size=4))


@pytest.mark.parametrize("how", [Sampling(), Sampling(top_k=40, top_p=0.9)])
def test_draws_over_a_large_vocabulary_are_captured(how: Sampling) -> None:
    """50,257 tokens, where sorting and adding take other kernels than for small vocabularies."""
    logits = torch.randn(64, 50257, device="cuda", generator=torch.Generator("cuda").manual_seed(1)) * 3
    u = torch.rand(64, dtype=torch.float64, device="cuda")
    expected = draw(logits, u, how)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = draw(logits, u, how)
    found.fill_(-7)
    graph.replay()
    assert torch.equal(found, expected)
    assert torch.equal(draw(logits.cpu(), u.cpu(), how), found.cpu())


def test_at_least_twice_the_torch_backend(shared_models: Path) -> None:
    """256 stories of 64 tokens, taken in turn, wall time; captures are made before and are not in it."""
    model = on_cuda(tinyalign.load(shared_models / "stories260K.bin"))
    asked = of_texts(model, TEXTS[:1], Sampling(), each=256, limit=64)
    ours = list(run(model, asked, batch_size=256))
    theirs = list(run_on_torch(model, asked, batch_size=256))
    assert share_of_own_draws(model, asked, ours[:32]) >= 0.999
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 240
    ratios = []
    for _ in range(5):
        slow, again = timed(lambda: run_on_torch(model, asked, batch_size=256))
        fast, stories = timed(lambda: run(model, asked, batch_size=256))
        assert stories == ours and again == theirs
        ratios.append(slow / fast)
    assert statistics.median(ratios) >= 2.0, ratios


def timed(start: Callable[[], Iterator[Story]]) -> tuple[float, list[Story]]:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    stories = list(start())
    torch.cuda.synchronize()
    return time.perf_counter() - begin, stories
