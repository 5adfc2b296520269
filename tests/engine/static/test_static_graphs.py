"""What is kept between runs and put back around a capture, with a capture that stands in for CUDA's."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engine.static.asking import lengths, request
from tests.models.tiny import D_VOCAB, story_model
from tinyalign.engine import Sampling, Story
from tinyalign.engine.sampling import Request
from tinyalign.engine.static import graphs, kept
from tinyalign.engine.static.graphs import Captured
from tinyalign.engine.static.sampling import _stories, run
from tinyalign.models import StoryModel
from tinyalign.ternary import TernaryLinear


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The pools that captures were given; each step is warmed up and 'captured' by calls, as on a GPU."""
    given: list[object] = []

    def capture(step: Callable[[], None], device: torch.device, pool: Any) -> Captured:
        given.append(pool)
        for _ in range(3):
            step()
        return Captured(step, "the pool")

    monkeypatch.setattr(graphs, "capture", capture)
    return given


def with_graphs(model: StoryModel, asked: Request, batch_size: int) -> list[Story]:
    return list(_stories(model, asked, batch_size, True))


@pytest.mark.parametrize("kind", ["llama-gqa", "neo-ternary"])
def test_captures_disturb_no_story_and_outlive_the_run(kind: str, captures: list[object]) -> None:
    model = story_model(kind)
    asked = request(lengths(1, 20, 40, D_VOCAB), Sampling(), limit=20)
    whole = list(run(model, asked, batch_size=6))
    assert with_graphs(model, asked, 6) == whole
    assert with_graphs(model, asked, 6) == whole
    assert captures == [None]
    # Another number of rows or another way to draw is another graph.
    assert with_graphs(model, asked, 5) == whole
    warm = request(asked.encoded, Sampling(1.5), limit=20)
    assert with_graphs(model, warm, 5) == list(run(model, warm, batch_size=5))
    assert captures == [None] * 3


def test_each_attended_length_has_its_capture_in_one_pool(
    captures: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = story_model("llama")
    asked = request(lengths(1, 9, 12, D_VOCAB), Sampling(), limit=50)
    whole = list(run(model, asked, batch_size=4))
    # Shorter steps between lengths, for a context of 64.
    monkeypatch.setattr(kept, "rounded", lambda length: -(-length // 16) * 16)
    assert with_graphs(model, asked, 4) == whole
    assert captures[0] is None
    assert len(captures) > 3 and set(captures[1:]) == {"the pool"}


def test_edits_in_place_need_no_capture_and_other_tensors_do(captures: list[object]) -> None:
    model = story_model("llama-gqa")
    asked = request([[1, 2, 3]], Sampling(), each=5)
    before = with_graphs(model, asked, 5)
    mlp: Any = model.network.get_submodule("model.layers.1.mlp")
    with torch.no_grad():
        mlp.up_proj.weight.mul_(3.0)
    edited = with_graphs(model, asked, 5)
    assert edited == list(run(model, asked, batch_size=5)) != before
    assert len(captures) == 1
    mlp.down_proj.weight = torch.nn.Parameter(-mlp.down_proj.weight.detach())
    replaced = with_graphs(model, asked, 5)
    assert replaced == list(run(model, asked, batch_size=5)) != edited
    assert len(captures) == 2


def test_a_ternary_layer_put_in_place_of_another_needs_a_capture(captures: list[object]) -> None:
    model = story_model("llama-ternary")
    asked = request([[1, 2, 3]], Sampling(), each=5)
    before = with_graphs(model, asked, 5)
    layer: Any = model.network.get_submodule("model.layers.0.mlp.up_proj")
    assert isinstance(layer, TernaryLinear)
    layer.activation_bits = None
    assert with_graphs(model, asked, 5) == list(run(model, asked, batch_size=5))
    assert len(captures) == 2
    layer.activation_bits = 8
    layer.set_trits(-layer.trits)
    flipped = with_graphs(model, asked, 5)
    assert flipped == list(run(model, asked, batch_size=5)) != before


def test_what_was_captured_in_inference_mode_serves_outside_of_it(captures: list[object]) -> None:
    model = story_model("llama")
    asked = request(lengths(2, 6, 9, D_VOCAB), Sampling(), limit=9)
    with torch.inference_mode():
        inside = with_graphs(model, asked, 3)
    assert with_graphs(model, asked, 3) == inside
    assert len(captures) == 1


def test_runs_side_by_side_do_not_share_rows(captures: list[object]) -> None:
    model = story_model("neo")
    asked = request(lengths(4, 12, 9, D_VOCAB), Sampling(), limit=9)
    # The first run leaves what only one of the next two can take.
    whole = with_graphs(model, asked, 3)
    one, two = (_stories(model, asked, 3, True) for _ in range(2))
    assert list(zip(one, two, strict=True)) == list(zip(whole, whole, strict=True))
    assert len(captures) == 2


def test_a_shorter_run_uses_what_a_longer_one_left(captures: list[object]) -> None:
    model = story_model("llama")
    long, short = (request([[1, 2]], Sampling(), each=4, limit=limit) for limit in (40, 6))
    assert with_graphs(model, long, 4) == list(run(model, long, batch_size=4))
    assert len(captures) == 1
    assert with_graphs(model, short, 4) == list(run(model, short, batch_size=4))
    assert kept._sessions[model.network].rows.capacity == 64
    assert len(captures) == 1


def test_a_network_that_is_gone_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # As CUDA's, this capture knows addresses and not the network.
    monkeypatch.setattr(graphs, "capture", lambda *_: Captured(lambda: None, None))
    model = story_model("llama")
    with_graphs(model, request([[1, 2]], Sampling(), limit=3), 1)
    rows = weakref.ref(kept._sessions[model.network].rows)
    assert rows() is not None
    del model
    gc.collect()
    assert rows() is None
    models = [story_model("llama", seed) for seed in range(3)]
    for one in models:
        with_graphs(one, request([[1, 2]], Sampling(), limit=3), 1)
    assert [one.network in kept._sessions for one in models] == [False, True, True]
