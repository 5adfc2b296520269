"""What step k reads is a function of (seed, k), every token once an epoch, targets one token on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.training.packing import TokenStream

STORIES = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=20), min_size=8, max_size=30)


def stream_of(stories: list[list[int]], seed: int, per_step: int = 8, first_epoch: int = 0) -> TokenStream:
    return TokenStream([np.array([0, *s], dtype=np.int32) for s in stories], per_step, seed, first_epoch)


@given(STORIES, st.integers(0, 9), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_a_batch_depends_on_seed_and_step_alone(stories: list[list[int]], seed: int, step: int) -> None:
    first, second = stream_of(stories, seed), stream_of(stories, seed)
    for other in range(step % 5):
        second.batch(other * 7, 4)
    a, b = first.batch(step, 4), second.batch(step, 4)
    assert torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)
    # The target of a token is the input that follows it.
    assert torch.equal(a.inputs.flatten()[1:], a.targets.flatten()[:-1])
    # Rows of another length are the same tokens.
    assert torch.equal(first.batch(step, 8).inputs.flatten(), a.inputs.flatten())


@given(STORIES, st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_an_epoch_reads_whole_stories_once(stories: list[list[int]], seed: int) -> None:
    stream = stream_of(stories, seed)
    read = [stream.batch(k, 4).inputs.flatten() for k in range(stream.steps_per_epoch)]
    tokens = torch.cat(read).tolist()
    found = " ".join(map(str, tokens))
    total = sum(len(s) + 1 for s in stories)
    assert len(tokens) == total // 8 * 8
    whole = [story for story in stories if f"0 {' '.join(map(str, story))} 0" in f"{found} 0"]
    # At most the stories in the last, unfinished step are missing.
    assert len(whole) >= len(stories) - 8


def test_epochs_differ_and_can_be_offset() -> None:
    stories = [[i + 1] * 3 for i in range(40)]
    plain, later = stream_of(stories, 0), stream_of(stories, 0, first_epoch=1)
    assert not torch.equal(plain.batch(0, 4).inputs, plain.batch(plain.steps_per_epoch, 4).inputs)
    assert torch.equal(plain.batch(plain.steps_per_epoch, 4).inputs, later.batch(0, 4).inputs)


def test_too_few_stories_are_refused() -> None:
    with pytest.raises(InputError, match="fewer than the 1000"):
        stream_of([[1, 2, 3]], 0, per_step=1000)
