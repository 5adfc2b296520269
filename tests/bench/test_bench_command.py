"""Scoring, the cache's price, the profile, and the command that runs all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinyalign
from tests.cli.running import run
from tinyalign.bench import caches, profile, scoring
from tinyalign.bench.caches import measured_cost
from tinyalign.bench.decode import BASELINE, bench_decode
from tinyalign.bench.peaks import Peaks
from tinyalign.bench.profile import profile_decode
from tinyalign.bench.running import Plan
from tinyalign.bench.scoring import bench_score
from tinyalign.bench.shapes import random_neo, random_ternary
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.models import StoryModel


def test_scores_are_checked_as_they_are_timed(model: StoryModel, monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench_score(model, rounds=3, quick=True)
    names = [timed.name.partition(", batch")[0] for timed in result.timed]
    assert names == ["tinyalign, cpu", "tinyalign, torch", "Hugging Face forward"]
    assert result.prompts == 4
    assert max(result.off.values()) <= result.allowed == 1e-4
    assert result.to_json()["contestants"][0]["slower_than_ours"]["cpu"] == (1, 1, 1)
    right, faults = scoring._ours, [0.0]

    def off(*arguments: Any, **more: Any) -> np.ndarray:
        found = right(*arguments, **more)
        found[2, 3] += faults[-1]
        return found

    monkeypatch.setattr(scoring, "_ours", off)
    for fault in (2e-4, float("nan")):
        faults.append(fault)
        with pytest.raises(CheckpointError, match="nats off the reference"):
            bench_score(model, rounds=3, threads=2, quick=True)
    with pytest.raises(InputError, match="no tokenizer"):
        bench_score(random_ternary(num_hidden_layers=1), rounds=3)


def test_the_int8_cache_has_its_price(model: StoryModel, monkeypatch: pytest.MonkeyPatch) -> None:
    real = measured_cost(model, 3)
    assert (real.on, real.cost.texts) == ("real stories", 3)
    assert real.cost.worst > 0
    monkeypatch.setattr(caches, "shared_folder", lambda _: None)
    told = measured_cost(model, 3)
    assert (told.on, told.cost.texts) == ("its own stories", 3)
    untold = measured_cost(random_ternary(num_hidden_layers=1), 2)
    assert untold.on == "its own stories"
    result = bench_decode(model, tokens=4, rounds=3, most_stories=2, cache_cost=real)
    assert result.to_json()["int8_cache_cost"]["cost"]["texts"] == 3


def test_random_neo_and_the_profile(model: StoryModel) -> None:
    neo = random_neo(vocab_size=500, num_layers=2, attention_types=[[["global", "local"], 1]])
    assert neo.config.window == 256
    assert random_neo(vocab_size=500).sha256 == random_neo(vocab_size=500).sha256
    result = bench_decode(neo, tokens=6, rounds=3, most_stories=2)
    assert result.baseline == BASELINE
    with pytest.raises(InputError, match="cannot be profiled"):
        profile_decode(neo)
    measured = profile_decode(model, tokens=32, stories=64, rounds=1, peaks=Peaks(1e12, 1e12, 1e12))
    assert measured.whole > 0
    assert measured.share_of_peak is not None
    assert measured.share_of_peak == pytest.approx(227_200 / (measured.blocks * 1e-6) / 1e12)
    # A busy machine can drown the difference.
    assert measured.share_of_peak_inside is None or 0 < measured.share_of_peak_inside < 1


@pytest.mark.parametrize("name", ["ternary", "stories260K"])
def test_the_wide_copy_tells_the_same_story(name: str, shared_models: Path) -> None:
    narrow = tinyalign.load(name, device="cpu")
    wide = profile._twice_as_wide(narrow)
    assert wide.config.d_mlp == 2 * narrow.config.d_mlp
    ids = torch.tensor([narrow.encode("The dog was happy. The")])
    with torch.no_grad():
        pairs = [one.network(ids).logits for one in (narrow, wide)]
    assert torch.allclose(*pairs, atol=1e-4)


def test_the_command_writes_json_and_a_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shared_models: Path
) -> None:
    out, page = tmp_path / "bench.json", tmp_path / "bench.html"
    arguments = (
        "--quick",
        "--only",
        "decode,score,profile",
        "--tokens",
        "6",
        "--rounds",
        "3",
        "--model",
        str(shared_models / "stories260K.bin"),
    )
    code, printed, _ = run(capsys, "bench", *arguments, "--json", str(out), "--html", str(page))
    assert code == 0
    assert "greedy decoding, 6 new tokens, threads: 1" in " ".join(printed.split())
    figures = json.loads(out.read_text())
    assert [result["threads"] for result in figures["decode"]] == [1]
    assert [result["threads"] for result in figures["score"]] == [1]
    assert Plan(threads=2).threads_to_try == [1, 2]
    assert figures["decode"][0]["int8_cache_cost"]["on"] == "real stories"
    assert figures["peaks"]["fp32"] > 0
    shown = page.read_text()
    assert "Plotly.newPlot" in shown
    assert "The int8 cache costs" in shown
    assert len(shown) < 6e6
    assert str(tmp_path) not in out.read_text()


def test_a_search_for_batches_that_was_cut_off_is_told(
    capsys: pytest.CaptureFixture[str], shared_models: Path
) -> None:
    arguments = ("--only", "decode", "--tokens", "4", "--rounds", "3", "--most", "256")
    code, printed, _ = run(
        capsys, "bench", *arguments, "--model", str(shared_models / "stories260K.bin"), "--longest", "0.001"
    )
    assert code == 0
    told = "Hugging Face generate may have a better batch: 256 stories would take more than 0.001 seconds"
    assert told in " ".join(printed.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--peers", "gpt5"), "Unknown peer"),
        (("--device", "abacus"), "Device 'abacus' is unknown"),
        pytest.param(
            ("--device", "cuda"),
            "No CUDA device is visible",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is visible here"),
        ),
        (("--longest", "0"), "expected more than 0"),
        (("--rounds", "1"), "rounds 1"),
        (("--only", "decoding"), "Unknown part of the benchmark"),
        (("--only", ""), "No part of the benchmark was asked for"),
        (("--most", "0"), "At most 0 stories"),
        (("--quick", "--model", "no-such-model"), "Unknown model"),
        (("--quick", "--model", "ternary", "--tokens", "600"), "do not fit the context"),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, err = run(capsys, "bench", *arguments, *(() if "--rounds" in arguments else ("--rounds", "3")))
    assert (code, out) == (2, "")
    assert sentence in err
    assert len([line for line in err.splitlines() if line.startswith("tinyalign:")]) == 1


@pytest.mark.gpu
def test_the_command_runs_on_a_gpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """All of it, small: ours, the peers that are installed, and their checks, on the device."""
    out = tmp_path / "bench.json"
    models = ("--model", "ternary", "--model", "random-ternary-1M", "--model", "random-neo-1M")
    arguments = ("--device", "cuda", "--quick", "--rounds", "3", "--tokens", "8", "--peers", "all", *models)
    code, _, err = run(capsys, "bench", *arguments, "--json", str(out))
    assert code == 0, err
    figures = json.loads(out.read_text())
    assert figures["peaks"]["bf16"] > figures["peaks"]["fp32"] > 1e11
    for result in figures["decode"]:
        assert (result["device"], result["clock"]) == ("cuda", "wall")
        names = {row["name"] for row in result["contestants"]}
        assert {"tinyalign, static caches", "tinyalign, torch", "Hugging Face generate"} <= names
    assert "torch, CUDA graph, static cache" in {row["name"] for row in figures["decode"][0]["contestants"]}
    layer_names = {row["name"] for row in figures["linear"][0]["contestants"]}
    assert {"float", "float, graph", "ternary 2bit, reference", "ternary 2bit, triton"} <= layer_names
