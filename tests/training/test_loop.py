"""A run that is killed and resumed gives the same bits as one that is not; interruption, distilling."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.training.checkpoint import FILE, read_checkpoint
from tinyalign.training.estimate import dry_run
from tinyalign.training.loop import train
from tinyalign.training.packing import TokenStream
from tinyalign.training.recipe import Data, Generated, Recipe, Schedule, Shape

SHAPE = Shape(d_model=32, n_layers=2, n_heads=2, d_mlp=48, n_ctx=64, d_vocab=400)
RECIPE = Recipe(
    name="tiny",
    bits=1.58,
    dtype="float32",
    dropout=0.1,
    checkpoint_seconds=0.0,
    validation_every=1000,
    validation_stories=4,
    shape=SHAPE,
    data=Data(sources=(), generated=(Generated(60),)),
    schedule=Schedule(
        steps=40, warmup=5, decay=0.5, long_share=0.25, rows=4, length=32, accumulation=2, vector_rate=0.02
    ),
)
_CHILD = """
import torch
torch.set_num_threads(1)
from tests.training.test_loop import RECIPE
from tinyalign.training.loop import train
train(RECIPE, {runs!r}, quiet=True)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with an uninterrupted run in it."""
    runs = tmp_path_factory.mktemp("whole")
    assert train(RECIPE, runs, quiet=True).finished
    return runs


def same_bits(first: Path, second: Path) -> bool:
    a, b = read_checkpoint(first / "tiny"), read_checkpoint(second / "tiny")
    assert a is not None and b is not None and a.step == b.step
    pairs = [(a.weights, b.weights), (a.optimizer, b.optimizer)]
    return all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in pairs)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bits(whole: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(runs=str(tmp_path))],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 200
    try:
        while (found := read_checkpoint(tmp_path / "tiny")) is None or found.step < 3:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    stopped = read_checkpoint(tmp_path / "tiny")
    assert stopped is not None and 3 <= stopped.step < RECIPE.schedule.steps
    resumed = train(RECIPE, tmp_path, quiet=True)
    assert resumed.finished and same_bits(whole, tmp_path)
    assert (whole / "tiny/model/model.safetensors").read_bytes() == (
        tmp_path / "tiny/model/model.safetensors"
    ).read_bytes()


def test_interruption_saves_and_the_same_call_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TokenStream.batch

    def interrupted(self: TokenStream, step: int, length: int):
        if step == 11:
            raise KeyboardInterrupt
        return plain(self, step, length)

    monkeypatch.setattr(TokenStream, "batch", interrupted)
    run = train(RECIPE, tmp_path, quiet=True)
    assert not run.finished and run.steps == 11 and not (tmp_path / "tiny/model").exists()
    monkeypatch.setattr(TokenStream, "batch", plain)
    assert train(RECIPE, tmp_path, quiet=True, stop_after=20).steps == 20
    assert train(RECIPE, tmp_path, quiet=True).finished
    assert same_bits(whole, tmp_path)


def test_it_learns_and_writes_its_curve(whole: Path) -> None:
    stored = read_checkpoint(whole / "tiny")
    assert stored is not None
    assert stored.history[-1]["loss"] < 5.9  # log(400) is 5.99
    assert "validation_nats" in stored.history[-1]
    assert (whole / "tiny/loss.json").is_file() and "plotly" in (whole / "tiny/loss.html").read_text()


def test_another_recipe_does_not_go_on_from_it(whole: Path) -> None:
    with pytest.raises(CheckpointError, match="another recipe"):
        train(dataclasses.replace(RECIPE, seed=1), whole, quiet=True)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="damaged"):
        train(RECIPE, tmp_path, quiet=True)


def test_going_on_from_a_run_and_distilling_from_it(whole: Path) -> None:
    schedule = Schedule(steps=3, warmup=1, decay=0.0, rows=4, length=32, accumulation=1)
    base = dataclasses.replace(RECIPE, schedule=schedule, dropout=0.0)
    student = train(
        dataclasses.replace(base, name="student", start="tiny", teacher="tiny"), whole, quiet=True
    )
    assert student.finished and student.model.tokenizer is not None
    # By its samples: any teacher serves, whatever its vocabulary.
    data = Data(sources=(), generated=(Generated(20),), teacher_stories=3)
    taught = dataclasses.replace(base, name="taught", bits=1, teacher="tiny", data=data)
    run = train(taught, whole, quiet=True)
    assert run.model.bits == 1
    # A loaded model is fine-tuned at the bits that the recipe gives.
    tuned = dataclasses.replace(base, name="tuned", start=str(whole / "tiny/model"))
    assert train(tuned, whole, quiet=True).model.bits == 1.58


def test_logits_need_one_vocabulary(whole: Path) -> None:
    schedule = Schedule(steps=1, rows=4, length=32, accumulation=1)
    shape = dataclasses.replace(SHAPE, d_vocab=380)
    other = dataclasses.replace(RECIPE, name="other", shape=shape, teacher="tiny", schedule=schedule)
    with pytest.raises(InputError, match="teacher_stories"):
        train(other, whole, quiet=True)


def test_dry_run_estimates_and_keeps_nothing(tmp_path: Path) -> None:
    found = dry_run(RECIPE, tmp_path, steps=2)
    assert found.tokens == 40 * 256 and found.seconds > 0 and found.memory_mib > 50
    assert found.seconds == pytest.approx(40 * found.seconds_per_step)
    assert not list(tmp_path.iterdir())
    assert "60 stories" in found.to_json()["reads"]
