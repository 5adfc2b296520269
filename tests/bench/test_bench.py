"""The benchmark's guards: order, ratios, and outputs that are checked as they are timed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import tinyalign
from tinyalign.bench.decode import bench_decode
from tinyalign.bench.linear import bench_linear
from tinyalign.bench.timing import contest
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.ternary import TernaryLinear


def test_a_contest_interleaves_and_takes_ratios_within_rounds() -> None:
    order: list[str] = []

    def work(name: str, size: int):
        def run() -> None:
            order.append(name)
            sum(math.sqrt(i) for i in range(size))

        return run

    slow, fast = contest(
        {"slow": work("slow", 60_000), "fast": work("fast", 6_000)}, baseline="slow", rounds=4
    )
    assert order[:2] == ["slow", "fast"]  # warm-up
    assert order[2:] == ["slow", "fast", "fast", "slow"] * 2
    assert slow.ratio == 1
    assert 4 < fast.ratio < 25
    assert fast.ratio_low <= fast.ratio <= fast.ratio_high
    with pytest.raises(InputError, match="baseline"):
        contest({"a": lambda: None}, baseline="b")
    with pytest.raises(InputError, match="rounds"):
        contest({"a": lambda: None}, baseline="a", rounds=2)


def test_linear_results_name_every_packing() -> None:
    result = bench_linear(4, 64, 48, rounds=3)
    assert [t.name for t in result.timed] == ["float", "ternary 2bit", "ternary base3", "ternary 1bit"]
    assert result.to_json()["contestants"][0]["ratio"] == 1


def test_a_layer_that_computes_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(self: TernaryLinear, x: torch.Tensor) -> torch.Tensor:
        return torch.full((*x.shape[:-1], self.out_features), float("nan"))

    monkeypatch.setattr(TernaryLinear, "forward", lazy)
    with pytest.raises(CheckpointError, match="wrong product"):
        bench_linear(4, 64, 48, rounds=3)


def test_decoding_contestants_must_agree(shared_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tinyalign.load(shared_models / "stories260K.bin")
    result = bench_decode(model, stories=3, tokens=8, rounds=3)
    assert [t.name for t in result.timed] == [
        "Hugging Face generate",
        "tinyalign, torch",
        "tinyalign, cpu",
    ]
    monkeypatch.setattr("tinyalign.engine.sampling.choose", lambda logits, *_: logits.argmin(1).numpy())
    with pytest.raises(CheckpointError, match="disagrees"):
        bench_decode(model, stories=3, tokens=8, rounds=3)
