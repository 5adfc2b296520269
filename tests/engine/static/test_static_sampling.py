"""The static backend on a CPU: stories beside the torch backend's, Hugging Face's, and in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tinyalign
from tests.engine.static.asking import lengths, of_texts, request, share_of_own_draws
from tests.models.tiny import D_VOCAB, story_model, token_ids
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine import Sampling
from tinyalign.engine.sampling_torch import run as run_on_torch
from tinyalign.engine.static import prompts
from tinyalign.engine.static.blocks import Blocks
from tinyalign.engine.static.prompts import Prompts
from tinyalign.engine.static.rows import Rows, rounded
from tinyalign.engine.static.sampling import run
from tinyalign.engine.static.serving import refusal
from tinyalign.models import StoryModel

FLOATS = ("llama", "llama-gqa", "neo")
KINDS = (*FLOATS, "llama-ternary", "llama-gqa-ternary", "llama-binary", "neo-ternary", "neo-binary")
TEXTS = ["Once upon a time", "Tom and his mom went to the park. Tom said", "The dog", "Lily was sad. She"]


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


@pytest.mark.parametrize(
    ("draw", "stop"),
    [
        (Sampling(), ()),
        (Sampling(0.8, top_k=20), ()),
        (Sampling(top_p=0.9), ("little",)),
        (Sampling(1.2, 50, 0.7), ("\n", "said", ". ")),
    ],
)
def test_stories_equal_the_torch_backends(
    stories260k: StoryModel, draw: Sampling, stop: tuple[str, ...]
) -> None:
    """Both draw from the same numbers; float32 sums in another order may turn a draw near a boundary."""
    asked = of_texts(stories260k, TEXTS, draw, each=15, limit=20, stop=stop)
    ours = list(run(stories260k, asked, batch_size=40))
    theirs = list(run_on_torch(stories260k, asked, batch_size=64))
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 59
    assert len({story.text for story in ours}) > 40
    assert {story.stopped for story in ours} >= {"stop" if stop else "length"}


@pytest.mark.parametrize("kind", ["llama", "neo-ternary"])
def test_autocast_changes_nothing(kind: str) -> None:
    model = story_model(kind)
    asked = request(lengths(2, 8, 9, D_VOCAB), Sampling(), limit=12)
    plain = list(run(model, asked, batch_size=3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert list(run(model, asked, batch_size=3)) == plain


def test_deterministic_algorithms_may_be_asked_for() -> None:
    model = story_model("llama")
    asked = request([[1, 2]], Sampling(top_p=0.9), each=4, limit=6)
    plain = list(run(model, asked, batch_size=3))
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert list(run(model, asked, batch_size=3)) == plain
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("kind", "draw"),
    [*((kind, Sampling(0.9, top_k=9)) for kind in KINDS), *((kind, Sampling()) for kind in FLOATS)],
)
def test_stories_of_random_models_equal_the_torch_backends(kind: str, draw: Sampling) -> None:
    """Prompts of many lengths, GPT-Neo's local layers beyond their window of 8, stories to the context."""
    model = story_model(kind)
    asked = request([*lengths(1, 15, 30, D_VOCAB), *lengths(2, 1, 1, D_VOCAB), [5] * 50], draw, limit=16)
    ours = list(run(model, asked, batch_size=9))
    theirs = list(run_on_torch(model, asked, batch_size=64))
    assert [(story.index, story.prompt) for story in ours] == [(s.index, s.prompt) for s in theirs]
    assert {story.stopped for story in ours} == {"length", "context"}
    assert share_of_own_draws(model, asked, ours) >= (0.998 if kind in FLOATS else 0.98)
    if kind in FLOATS:
        assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 16


def test_stories_of_the_embedded_model() -> None:
    model = tinyalign.load("ternary")
    asked = of_texts(model, TEXTS, Sampling(), each=3, limit=20)
    ours = list(run(model, asked, batch_size=9))
    assert share_of_own_draws(model, asked, ours) >= 0.98
    theirs = run_on_torch(model, asked, batch_size=16)
    assert np.mean([a.tokens[:8] == b.tokens[:8] for a, b in zip(ours, theirs, strict=True)]) >= 0.8


@pytest.mark.parametrize("kind", FLOATS)
def test_greedy_tokens_of_random_models_equal_hugging_face(kind: str) -> None:
    model = story_model(kind)
    network: Any = model.network
    ids = token_ids(6, batch=5)
    ours = run(model, request(ids.tolist(), Sampling(temperature=0), limit=30), batch_size=5)
    generated = network.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=30,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert [list(story.tokens) for story in ours] == generated[:, 6:].tolist()


def test_greedy_tokens_equal_hugging_face(stories260k: StoryModel) -> None:
    network: Any = stories260k.network
    asked = of_texts(stories260k, TEXTS, Sampling(temperature=0), each=1, limit=40)
    for ids, story in zip(asked.encoded, run(stories260k, asked, batch_size=3), strict=True):
        expected = network.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)
        assert list(story.tokens) == expected[0, len(ids) :].tolist()[: len(story.tokens)]
        assert len(story.tokens) == 40 or story.stopped == "end"


@pytest.mark.parametrize("kind", ["llama-gqa", "llama-ternary", "neo"])
def test_the_same_story_in_any_company(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = story_model(kind)
    asked = request(lengths(2, 6, 17, D_VOCAB), Sampling(), each=2, limit=14)
    alone = list(run(model, asked, batch_size=1))
    assert [story.index for story in alone] == list(range(12))
    assert alone == list(run(model, asked, batch_size=7)) == list(run(model, asked, batch_size=64))
    # However prompts are read: a few at a time, and few tokens at a time.
    monkeypatch.setattr(prompts, "_AT_ONCE", 3)
    monkeypatch.setattr(prompts, "_TOKENS_AT_ONCE", 20)
    assert alone == list(run(model, asked, batch_size=7))


def test_real_stories_are_the_same_in_any_company(stories260k: StoryModel) -> None:
    asked = of_texts(stories260k, TEXTS, Sampling(), each=4, limit=12, stop=("\n", "was", "e"))
    runs = [list(run(stories260k, asked, batch_size=size)) for size in (1, 7, 64)]
    assert runs[0] == runs[1] == runs[2]
    assert {story.stopped for story in runs[0]} == {"stop", "length"}


def test_a_row_takes_the_next_story_when_its_own_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stories begin in order; a row never waits for the others of its batch."""
    model = story_model("llama-gqa")
    long, short = token_ids(2, batch=1)[0].tolist(), token_ids(62, batch=1)[0].tolist()
    begun: list[list[int]] = []
    copy = Prompts.copy

    def spy(self: Prompts, which: np.ndarray, to: np.ndarray, rows: Rows) -> None:
        begun.append(which.tolist())
        copy(self, which, to, rows)

    monkeypatch.setattr(Prompts, "copy", spy)
    asked = request([long, short, short, short, long, short], Sampling(), limit=60)
    stories = list(run(model, asked, batch_size=2))
    assert begun == [[0, 1], [2], [3], [4], [5]]
    assert [story.index for story in stories] == list(range(6))
    assert [story.stopped for story in stories] == [
        *["length" if i in (0, 4) else "context" for i in range(6)]
    ]


def test_stories_are_yielded_as_soon_as_all_before_them_have_ended() -> None:
    model = story_model("llama")
    asked = request(lengths(5, 30, 9, D_VOCAB), Sampling(), limit=10)
    whole = list(run(model, asked, batch_size=6))
    begun = run(model, asked, batch_size=6)
    assert [next(begun) for _ in range(3)] == whole[:3]
    # Another run of the same model meanwhile, and afterwards, is not disturbed, nor is this one.
    assert list(run(model, asked, batch_size=9)) == whole
    assert [next(begun) for _ in range(10)] == whole[3:13]
    del begun
    assert list(run(model, asked, batch_size=6)) == whole


def test_a_shard_is_its_part_of_the_whole() -> None:
    model = story_model("neo")
    asked = request(lengths(6, 9, 20, D_VOCAB), Sampling(), each=3, limit=12)
    whole = list(run(model, asked, batch_size=8))
    for part in (range(5), range(5, 20), range(20, 27), range(4, 4)):
        shard = type(asked)(**{**vars(asked), "stories": part})
        assert list(run(model, shard, batch_size=4)) == whole[part.start : part.stop]


def test_a_story_ends_at_the_context(stories260k: StoryModel) -> None:
    text = "a " * 505
    room = stories260k.context - len(stories260k.encode(text))
    asked = of_texts(stories260k, [text, text[10:]], Sampling(temperature=0), each=1, limit=500)
    stories = list(run(stories260k, asked, batch_size=2))
    assert 0 < room < 10
    assert [(story.stopped, len(story.tokens)) for story in stories] == [
        ("context", room),
        ("context", room + 5),
    ]
    assert stories == list(run_on_torch(stories260k, asked, batch_size=2))


@pytest.mark.parametrize("kind", ["llama-gqa", "llama-ternary", "neo"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_raise(kind: str, temperature: float) -> None:
    model = story_model(kind)
    with torch.no_grad():
        weight = model.network.get_parameter(
            "transformer.ln_f.weight" if kind == "neo" else "model.norm.weight"
        )
        weight[3] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        list(run(model, request([[1, 2]], Sampling(temperature)), batch_size=4))


def test_what_a_row_computes_after_its_story_is_nobodys() -> None:
    """A token that only ever ends a story gets an embedding that is no number: no story reads it.

    The first story ends after 9 tokens, at the context; its row goes on to the end of a chunk.
    """
    model = story_model("llama-gqa")
    for seed in range(30):
        prompts = [token_ids(55, batch=1)[0].tolist(), [1, 2], [3], [4]]
        asked = request(prompts, Sampling(), limit=16, seed=seed)
        whole = list(run(model, asked, batch_size=2))
        last = whole[0].tokens[-1]
        read = {token for ids in prompts for token in ids}
        if last not in read.union(*(s.tokens[: 8 if s.index == 0 else 15] for s in whole)):
            break
    else:
        pytest.fail("no story ended with a token that no other has")
    assert [len(story.tokens) for story in whole] == [9, 16, 16, 16]
    with torch.no_grad():
        model.network.get_parameter("model.embed_tokens.weight")[last] = float("nan")
    assert list(run(model, asked, batch_size=2)) == whole


def test_a_copied_prompt_leaves_nothing_of_the_story_before() -> None:
    blocks = Blocks(story_model("llama-gqa"))
    rows = Rows(blocks, 3, 20)
    rows.keys.fill_(float("nan"))
    rows.values.fill_(float("nan"))
    Prompts(blocks, [[1], [1, 2, 3]]).copy(np.array([0, 1]), np.array([2, 0]), rows)
    for cache in (rows.keys, rows.values):
        assert bool((cache[:, 2] == 0).all())
        assert bool((cache[:, 0, :, :2] != 0).all()) and bool((cache[:, 0, :, 2:] == 0).all())
        assert bool(cache[:, 1].isnan().all())


@pytest.mark.parametrize("kind", ["llama-gqa", "neo"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(kind: str, dtype: torch.dtype) -> None:
    """Greedy tokens are the network's likeliest ones up to what its own dtype resolves."""
    model = with_dtype(kind, dtype)
    asked = request(lengths(3, 6, 20, D_VOCAB), Sampling(temperature=0), limit=20)
    resolution = 8 * torch.finfo(dtype).eps
    for story in run(model, asked, batch_size=4):
        prompt = asked.encoded[story.index]
        with torch.no_grad():
            ids = torch.tensor([[*prompt, *story.tokens]])
            logits = model.network(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double()
        chosen = logits.gather(1, torch.tensor(story.tokens)[:, None])[:, 0]
        assert float((logits.amax(dim=1) - chosen).max()) <= resolution * float(logits.abs().max())


def test_edits_in_place_are_seen() -> None:
    model = story_model("llama-gqa")
    asked = request([[1, 2, 3]], Sampling(), each=8)
    before = list(run(model, asked, batch_size=8))
    with torch.no_grad():
        model.network.get_parameter("model.layers.1.mlp.up_proj.weight").mul_(3.0)
    after = list(run(model, asked, batch_size=8))
    assert after != before
    assert after == list(run_on_torch(model, asked, batch_size=8))


def test_other_networks_are_refused_with_a_reason() -> None:
    asked = request([[1, 2]], Sampling())
    hooked = story_model("llama")
    handle = hooked.network.get_submodule("model.layers.1.mlp").register_forward_hook(lambda *_: None)
    with pytest.raises(
        InputError, match=r"static backend cannot run llama, which has a hook on .*layers\.1\.mlp"
    ):
        run(hooked, asked, batch_size=1)
    handle.remove()
    assert refusal(hooked) is None
    mixed = story_model("llama")
    mixed.network.get_submodule("model.layers.0.mlp.up_proj").to(torch.bfloat16)
    assert "bfloat16 weights in model.layers.0.mlp.up_proj.weight" in str(refusal(mixed))
    assert "float64 weights" in str(refusal(with_dtype("llama", torch.float64)))
    assert refusal(with_dtype("llama", torch.bfloat16)) is None
    elsewhere: Any = story_model("llama")
    elsewhere.network.to("meta")
    assert "is on meta" in str(refusal(elsewhere))


def with_dtype(kind: str, dtype: torch.dtype) -> StoryModel:
    model: Any = story_model(kind)
    model.network.to(dtype)
    return model


@given(st.integers(1, 4096))
def test_attended_lengths_are_few_and_not_much_too_long(length: int) -> None:
    size = rounded(length)
    assert size % 64 == 0
    assert length <= size <= max(64, 2 * length)
    assert size <= 1.5 * length + 64
    assert size == rounded(size)


def test_a_context_of_2048_needs_ten_graphs() -> None:
    assert sorted({rounded(length) for length in range(1, 2049)}) == [
        *(64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
    ]
