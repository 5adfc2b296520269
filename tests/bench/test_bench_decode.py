"""Decoding contests: every output is judged, and every contestant gets its best batch."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tinyalign.bench.decode import BASELINE, bench_decode, multiply_adds
from tinyalign.bench.entries import Trial, best_entry
from tinyalign.bench.judging import Judge
from tinyalign.bench.peaks import Peaks, measure_peaks
from tinyalign.bench.peers import Output, Peer, Setting, all_peers
from tinyalign.common.errors import CheckpointError
from tinyalign.models import StoryModel


def test_decoding_contestants_agree_and_are_rated(model: StoryModel) -> None:
    result = bench_decode(
        model,
        peers=["tinyalign-torch", "torch-eager", "torch-int8"],
        tokens=8,
        rounds=3,
        most_stories=3,
        peaks=measure_peaks(tries=1),
    )
    assert [standing.timed.name for standing in result.standings] == [
        "tinyalign, cpu",
        "tinyalign, cpu, int8 cache",
        "tinyalign, torch",
        "tinyalign, static caches",
        "Hugging Face generate",
        "torch eager, static cache",
        "torch dynamic int8, static cache",
    ]
    assert (result.baseline, result.clock, result.device) == (BASELINE, "cpu", "cpu")
    assert {standing.batch for standing in result.standings} == {3}
    assert all(0 < (standing.share_of_peak or 0) < 1 for standing in result.standings)
    for standing in result.standings:
        agreement = standing.agreement
        assert agreement.worst is not None
        assert agreement.allowed is not None
        assert 0 <= (agreement.mean or 0) <= agreement.worst <= agreement.allowed
        assert standing.trial.rates.keys() == {3}
    assert result.standing("Hugging Face generate").agreement.equal == 1
    rows = result.to_json()["contestants"]
    assert rows[0]["slower_than_ours"]["cpu"] == (1, 1, 1)
    assert rows[-1]["agreement"]["allowed"] == 1.0
    assert multiply_adds(model) == 227_200 + 512 * 64


def wrong_peer(fault: str, *, own: bool, near: float | None = None) -> Peer:
    """A contestant with one fault."""

    @contextmanager
    def wrong(setting: Any, stories: int):
        if fault == "it cannot":
            raise RuntimeError("out of memory\nsomewhere")

        def run(output: Output) -> None:
            if fault == "nothing":
                return
            with all_peers()["tinyalign"].prepare(setting, stories) as right:
                right(output)
            tokens = output.collect()
            if fault == "other tokens":
                tokens[:] = 7
            elif fault == "one story missing":
                tokens[-1] = -1
            elif fault == "the last token of one story":
                tokens[-1, -1] = 7

        yield run

    return Peer("wrong", "a wrong one", (2,), wrong, lambda _: None, own=own, near=near)


FAULTS = ["other tokens", "nothing", "one story missing", "the last token of one story"]


@pytest.mark.parametrize("near", [None, 1.0])
@pytest.mark.parametrize("fault", FAULTS)
def test_decoders_that_are_wrong_are_caught(
    model: StoryModel, monkeypatch: pytest.MonkeyPatch, fault: str, near: float | None
) -> None:
    monkeypatch.setattr("tinyalign.bench.torch_peers.PEERS", (wrong_peer(fault, own=False, near=near),))
    absent = bench_decode(model, peers=["wrong"], tokens=8, rounds=3, most_stories=2).absent
    assert absent["a wrong one"].startswith("refused: Greedy decoding disagrees between a wrong one")
    assert ("tokens are missing" if fault in FAULTS[1:3] else "nats short") in absent["a wrong one"]


def test_we_ourselves_must_be_right_and_able(model: StoryModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyalign.bench.torch_peers.PEERS", (wrong_peer("nothing", own=True),))
    with pytest.raises(CheckpointError, match="between a wrong one and the reference"):
        bench_decode(model, peers=["wrong"], tokens=8, rounds=3, most_stories=2)
    monkeypatch.setattr("tinyalign.bench.torch_peers.PEERS", (wrong_peer("it cannot", own=True),))
    with pytest.raises(RuntimeError, match="memory"):
        bench_decode(model, peers=["wrong"], tokens=8, rounds=3, most_stories=2)
    monkeypatch.setattr("tinyalign.bench.torch_peers.PEERS", (wrong_peer("it cannot", own=False),))
    result = bench_decode(model, peers=["wrong"], tokens=8, rounds=3, most_stories=2)
    assert result.absent["a wrong one"] == "it failed at 2 stories: out of memory"


def trial_of(
    model: StoryModel,
    seconds: dict[int, list[float]],
    longest: float = 15.0,
    compiles: bool = False,
    fails: str | None = None,
) -> tuple[int, Trial]:
    """What is chosen of a contestant whose runs take `seconds` by batch, the last of them from then on.

    `fails`: what is wrong when a batch is set up a second time.
    """
    judge = Judge(Setting(model, "The dog", tuple(model.encode("The dog")), 4))
    left = {stories: list(times) for stories, times in seconds.items()}
    prepared: list[int] = []
    now = [0.0]

    @contextmanager
    def prepare(setting: Setting, stories: int):
        again = stories in prepared
        prepared.append(stories)
        if again and fails == "memory":
            raise MemoryError

        def run(output: Output) -> None:
            now[0] += left[stories].pop(0) if len(left[stories]) > 1 else left[stories][0]
            right = np.tile(judge.reference, (stories, 1))
            output.give(np.full_like(right, 7) if again and fails else right)

        yield run

    peer = Peer("a", "a", tuple(seconds), prepare, lambda _: None, compiles=compiles)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        patched.setattr("tinyalign.bench.entries.time", SimpleNamespace(perf_counter=lambda: now[0]))
        found = best_entry(peer, judge, list(seconds), stack, clock="wall", longest=longest)
    if isinstance(found, str):
        raise CheckpointError(found)
    return found.stories, found.trial


def test_batches_grow_while_that_pays(model: StoryModel) -> None:
    best, trial = trial_of(model, {1: [0.02], 2: [0.02], 4: [0.1], 8: [0.1]})
    assert best == 2
    assert list(trial.rates) == [1, 2, 4]
    assert (trial.ended, trial.cut) == ("4 stories were slower", False)
    best, trial = trial_of(model, {1: [0.02], 2: [0.02]}, longest=0.03)
    assert best == 1
    assert (trial.ended, trial.cut) == ("2 stories would take more than 0.03 seconds", True)
    best, trial = trial_of(model, {1: [0.02], 2: [0.02]})
    assert best == 2
    assert (trial.ended, trial.cut) == ("it was the largest batch to try", False)


def test_one_slow_moment_neither_ends_the_search_nor_chooses_a_batch(model: StoryModel) -> None:
    # A run to warm up, a slow one, and as it should be: batches of 2 and 4 are the same but for that moment.
    seconds = {1: [0.05], 2: [0.05, 0.2, 0.05], 4: [0.09]}
    best, trial = trial_of(model, seconds)
    assert best == 4
    assert trial.rates == pytest.approx({1: 4 / 0.05, 2: 2 * 4 / 0.05, 4: 4 * 4 / 0.09})
    # The fastest batch had a moment that made it a twentieth slower than the next one.
    seconds = {1: [0.1], 2: [0.1], 4: [0.15, 0.21, 0.15]}
    assert trial_of(model, seconds)[0] == 4
    assert trial_of(model, seconds, compiles=True)[0] == 2
    assert trial_of(model, seconds, fails="memory")[0] == 2
    with pytest.raises(CheckpointError, match="refused: Greedy decoding disagrees"):
        trial_of(model, seconds, fails="tokens")


def test_several_threads_take_wall_time(model: StoryModel) -> None:
    before = torch.get_num_threads()
    result = bench_decode(model, tokens=4, rounds=3, threads=2, most_stories=2)
    assert (result.clock, result.threads) == ("wall", 2)
    assert torch.get_num_threads() == before
    assert result.to_json()["contestants"][0]["slower_than_ours"]["wall"] == (1, 1, 1)


def test_on_several_threads_the_search_begins_one_below_the_batch_that_was_best_on_one(
    model: StoryModel,
) -> None:
    known = bench_decode(model, tokens=4, rounds=3, most_stories=64)
    best = tuple(replace(standing, batch=1024) for standing in known.standings)
    result = bench_decode(
        model, tokens=4, rounds=3, threads=2, most_stories=1024, known=replace(known, standings=best)
    )
    assert list(result.standing("Hugging Face generate").trial.rates) == [256, 1024]
    again = bench_decode(model, tokens=4, rounds=3, threads=2, most_stories=256, known=known)
    assert list(again.standing("Hugging Face generate").trial.rates) == [64, 256]


def test_a_figure_above_the_peak_is_refused(model: StoryModel) -> None:
    tiny = Peaks(fp32=1e3, int8=None, bandwidth=1e9)
    with pytest.raises(CheckpointError, match="above the machine's measured"):
        bench_decode(model, tokens=8, rounds=3, most_stories=2, peaks=tiny)


def test_outputs_are_spoilt_before_every_run() -> None:
    output = Output(np.full((2, 3), 5), ["a text"])
    output.give([[1, 2, 3]])
    output.spoil()
    assert (output.collect() == -1).all()
    assert output.texts == []
    output.give([(1, 2), (3, 4, 5, 6)])
    assert output.collect().tolist() == [[1, 2, -1], [3, 4, 5]]
