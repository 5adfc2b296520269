"""Stories are a function of seed and index; draws follow the exact distribution."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import tinyalign
from tests.models.tiny import network
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine import Sampling, sample
from tinyalign.engine.philox import philox4x32, uniforms
from tinyalign.engine.sampling_torch import choose
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


def _words(*words: int) -> np.ndarray:
    return np.array([words], dtype=np.uint32)


def test_philox_gives_the_published_answers() -> None:
    """Known answers of the Random123 distribution (kat_vectors, philox4x32 10)."""
    ones = 0xFFFFFFFF
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    cases = [
        ((0, 0, 0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (pi, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ]
    for inputs, expected in cases:
        assert tuple(philox4x32(_words(*inputs[:4]), _words(*inputs[4:]))[0]) == expected


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_uniform_depends_on_seed_story_and_position_alone(seed: int, story: int, position: int) -> None:
    alone = uniforms(seed, np.array([story]), np.array([position]))[0]
    among = uniforms(seed, np.array([story + 1, story, 5]), np.array([position, position, 0]))[1]
    assert alone == among
    assert 0 < alone < 1
    assert alone != uniforms(seed + 1, np.array([story]), np.array([position]))[0]
    assert alone != uniforms(seed, np.array([story]), np.array([position + 1]))[0]


def test_uniforms_are_uniform_across_stories_and_positions() -> None:
    n = 20_000
    for stories, positions in (
        (np.arange(n), np.zeros(n, dtype=np.int64)),
        (np.zeros(n, dtype=np.int64), np.arange(n)),
    ):
        assert stats.kstest(uniforms(7, stories, positions), "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    "draw", [Sampling(), Sampling(0.7), Sampling(1.3, top_k=5), Sampling(top_p=0.8), Sampling(0.9, 12, 0.9)]
)
def test_token_frequencies_follow_the_exact_distribution(draw: Sampling) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(3)) * 2
    n = 40_000
    drawn = choose(logits.expand(n, -1), draw, 11, range(n), 4)
    scaled = (logits[0].double() / draw.temperature).softmax(0).numpy()
    order = sorted(range(40), key=lambda token: (-scaled[token], token))
    kept = order[: draw.top_k or 40]
    if draw.top_p is not None:
        whole = sum(scaled[token] for token in order)
        while len(kept) > 1 and sum(scaled[t] for t in kept[:-1]) / whole >= draw.top_p:
            kept = kept[:-1]
        if draw.top_k is not None:
            kept = [t for t in kept if t in order[: draw.top_k]]
    exact = np.zeros(40)
    exact[kept] = scaled[kept] / scaled[kept].sum()
    counts = np.bincount(drawn, minlength=40)
    assert counts[exact == 0].sum() == 0
    expected = n * exact[exact > 0]
    frequent = expected >= 5
    chi = stats.chisquare(
        np.append(counts[exact > 0][frequent], counts[exact > 0][~frequent].sum() + 1e-9),
        np.append(expected[frequent], expected[~frequent].sum() + 1e-9),
    )
    assert chi.pvalue > 1e-4


def test_the_same_story_for_any_batch_size(stories260k: StoryModel) -> None:
    prompts = ["Once upon a time", "Tom and his mom went to the park. Tom said", "The dog"]
    runs = [
        list(sample(stories260k, prompts, n=5, max_new_tokens=40, seed=3, stop=["\n"], batch_size=size))
        for size in (1, 7, 512)
    ]
    assert runs[0] == runs[1] == runs[2]
    assert [story.index for story in runs[0]] == list(range(15))
    assert {story.stopped for story in runs[0]} == {"stop", "length"}
    other = list(sample(stories260k, prompts, n=5, max_new_tokens=40, seed=4, stop=["\n"]))
    assert [story.text for story in other] != [story.text for story in runs[0]]


def test_more_stories_do_not_change_the_first_ones(stories260k: StoryModel) -> None:
    few = list(sample(stories260k, "Once", n=2, max_new_tokens=15, seed=1))
    many = list(sample(stories260k, "Once", n=9, max_new_tokens=15, seed=1))
    assert many[:2] == few


def test_greedy_equals_hugging_face(stories260k: StoryModel) -> None:
    prompt = "Lily went to the beach with her dad"
    ids = torch.tensor([stories260k.encode(prompt)])
    network_: Any = stories260k.network
    generate = network_.generate
    expected = generate(ids, max_new_tokens=60, do_sample=False)[0, ids.shape[1] :].tolist()
    story = next(sample(stories260k, prompt, temperature=0, max_new_tokens=60))
    assert list(story.tokens) == expected[: len(story.tokens)]
    assert stories260k.decode([*ids[0].tolist(), *expected]).startswith(prompt + story.text)


def test_text_and_stop_strings(stories260k: StoryModel) -> None:
    plain = next(sample(stories260k, "Once upon a time", temperature=0, max_new_tokens=40))
    cut = next(sample(stories260k, "Once upon a time", temperature=0, max_new_tokens=40, stop=["little"]))
    assert cut.stopped == "stop"
    assert cut.text == plain.text[: plain.text.index("little")]


@pytest.mark.parametrize("backend", ["cpu", "static"])
def test_stop_strings_among_bytes_that_are_no_characters(stories260k: StoryModel, backend: str) -> None:
    """At this heat every token is as likely as any other: bytes of a character come without its others."""
    asked: dict[str, Any] = {"n": 60, "temperature": 1e30, "stop": ["\n", "e"], "max_new_tokens": 60}
    expected = list(sample(stories260k, "Once", backend="torch", **asked))
    assert list(sample(stories260k, "Once", backend=backend, **asked)) == expected
    assert sum("\ufffd" in story.text for story in expected) > 10


def test_a_story_ends_at_the_context(stories260k: StoryModel) -> None:
    prompt = "a " * 505
    room = stories260k.context - len(stories260k.encode(prompt))
    assert 0 < room < 10
    story = next(sample(stories260k, prompt, temperature=0, max_new_tokens=500))
    assert (story.stopped, len(story.tokens)) == ("context", room)


def test_bad_input_is_refused_in_one_sentence(stories260k: StoryModel) -> None:
    cases = [
        ("Temperature -1", {"temperature": -1.0}),
        ("Temperature nan", {"temperature": float("nan")}),
        ("top_k 0", {"top_k": 0}),
        ("top_p 1.5", {"top_p": 1.5}),
        ("expected 1 or more", {"n": 0}),
        ("expected 1 or more", {"max_new_tokens": 0}),
        ("empty stop", {"stop": [""]}),
        ("stop is the string 'dog': expected a list", {"stop": "dog"}),
    ]
    for sentence, arguments in cases:
        with pytest.raises(InputError, match=sentence):
            sample(stories260k, "Once", **arguments)
    with pytest.raises(InputError, match="reads 512 at most"):
        sample(stories260k, "word " * 600)
    with pytest.raises(InputError, match=r"text 'Zo\\udceb' holds no whole character at place 2: give it as"):
        sample(stories260k, "Zo\udceb")
    with pytest.raises(InputError, match="unknown"):
        stories260k.decode([512])


# In a process of its own: here every argument's type is checked before tinyalign sees it.
TYPES = """
import sys
import numpy as np
import tinyalign
from tinyalign.common.errors import InputError
from tinyalign.engine import sample
from tinyalign.engine.executors import Processes, SampleTask, Source
model = tinyalign.load(sys.argv[1], device="cpu")
plain = list(sample(model, "Tim", n=3, seed=5, max_new_tokens=9, stop=["girl"], top_k=4))
numbers = dict(n=np.int32(3), seed=np.int64(5), max_new_tokens=np.int16(9), top_k=np.uint8(4))
for backend in ("cpu", "static", "torch"):
    more = dict(numbers, temperature=np.float32(1), stop=iter(["girl"]), backend=backend)
    assert list(sample(model, "Tim", **more)) == plain, backend
refused = [
    lambda: sample(model, "Tim", stop=["dog", 3]),
    lambda: sample(model, "Tim", temperature="hot"),
    lambda: sample(model, "Tim", top_p="most"),
    lambda: sample(model, "Tim", n=1.5),
    lambda: sample(model, "Tim", seed=1.5),
    lambda: sample(model, "Tim", seed=1.5, coupled=False),
    lambda: sample(model, "Tim", threads=None),
    lambda: sample(model, [1, 2, 3]),
    lambda: sample(model, [[1, 1.5]]),
    lambda: Processes("two"),
    lambda: SampleTask(Source("ternary", ""), ("a",), stop="dog"),
]
for case in refused:
    try:
        case()
    except InputError as error:
        print(error)
"""


def test_numbers_of_numpy_are_taken_and_other_types_refused(shared_models: Path) -> None:
    command = [sys.executable, "-c", TYPES, str(shared_models / "stories260K.bin")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "stop holds 3: expected strings.",
        "The temperature is 'hot': expected a number.",
        "top_p is 'most': expected a number.",
        "n is 1.5: expected a whole number.",
        "The seed is 1.5: expected a whole number.",
        "The seed is 1.5: expected a whole number.",
        "threads is None: expected a whole number.",
        "Prompts are texts or lists of token ids: give token ids as a list in a list.",
        "A token id is 1.5: expected a whole number.",
        "workers is 'two': expected a whole number.",
        "stop is the string 'dog': expected a list of strings.",
    ]


def test_logits_that_are_not_finite_raise() -> None:
    llama = network("llama")
    with torch.no_grad():
        llama.model.norm.weight[0] = float("nan")
    model = make_story_model(llama, None, source="x", name="x")
    broken = dataclasses.replace(model)
    logits = broken.network(torch.tensor([[1, 2]])).logits[:, -1]
    with pytest.raises(CheckpointError, match="not finite"):
        choose(logits, Sampling(), 0, [0], 0)
