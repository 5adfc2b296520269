"""The benchmark's guards: order, ratios, peaks, and outputs that are checked as they are timed."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinyalign
from tests.cli.running import run
from tinyalign.bench import linear, own
from tinyalign.bench.decode import BASELINE, bench_decode, multiply_adds
from tinyalign.bench.linear import bench_linear
from tinyalign.bench.peaks import Peaks, measure_peaks
from tinyalign.bench.peers import Output, Peer, all_peers, chosen_peers
from tinyalign.bench.profile import profile_decode
from tinyalign.bench.shapes import random_neo
from tinyalign.bench.static_llama import StaticLlama
from tinyalign.bench.timing import contest
from tinyalign.common.errors import CheckpointError, InputError, UnknownNameError
from tinyalign.models import StoryModel
from tinyalign.ternary import TernaryLinear


@pytest.fixture(scope="module")
def model(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


def test_a_contest_interleaves_and_takes_ratios_within_rounds() -> None:
    order: list[str] = []

    def work(name: str, size: int):
        def run() -> None:
            order.append(name)
            sum(math.sqrt(i) for i in range(size))

        return run

    checked: list[str] = []
    slow, fast = contest(
        {"slow": work("slow", 60_000), "fast": work("fast", 6_000)},
        baseline="slow",
        rounds=4,
        work={"slow": 2, "fast": 1},
        check=checked.append,
    )
    assert order[:2] == ["slow", "fast"]  # warm-up
    assert order[2:] == ["slow", "fast", "fast", "slow"] * 2
    assert checked == order
    assert slow.ratio == slow.wall_ratio == 1
    # Ten times the work in the same unit, two units against one.
    assert 2 < fast.ratio < 12.5
    assert fast.ratio_low <= fast.ratio <= fast.ratio_high
    assert slow.rate == 2 / slow.cpu_median
    with pytest.raises(InputError, match="baseline"):
        contest({"a": lambda: None}, baseline="b")
    with pytest.raises(InputError, match="rounds"):
        contest({"a": lambda: None}, baseline="a", rounds=2)


def test_peaks_are_of_this_world_and_refuse_what_is_not() -> None:
    peaks = measure_peaks(tries=1)
    # A core of the last twenty years: 1 to 500 billion multiply-adds, 0.5 to 500 GB a second.
    assert 1e9 < peaks.fp32 < 5e11
    assert 5e8 < peaks.bandwidth < 5e11
    assert peaks.int8 is None or peaks.int8 > peaks.fp32 / 2
    known = Peaks(fp32=1e9, int8=3e9, bandwidth=1e9)
    assert known.check("a", 5e8, ternary=False) == 0.5
    assert known.check("a", 1.5e9, ternary=True) == 0.5
    with pytest.raises(CheckpointError, match="above the machine's measured 1"):
        known.check("a", 1.5e9, ternary=False)


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


def test_a_peer_that_returns_without_computing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def peers(weight: torch.Tensor, x: torch.Tensor) -> dict[str, Any]:
        right = linear._dynamic_int8(weight, x)
        return {"right": right, "lazy": linear._Layer(lambda *_: None, right.expected, 0.05, own=False)}

    monkeypatch.setattr(linear, "_peers", peers)
    result = bench_linear(4, 64, 48, rounds=3, peers=True)
    assert [t.name for t in result.timed][-1] == "right"
    assert list(result.refused) == ["lazy"]
    assert "4 rows (relative error nan)" in result.refused["lazy"]


def test_decoding_contestants_agree_and_are_rated(model: StoryModel) -> None:
    result = bench_decode(
        model,
        peers=["tinyalign-torch", "torch-eager"],
        tokens=8,
        rounds=3,
        most_stories=3,
        peaks=measure_peaks(tries=1),
    )
    assert [t.name for t in result.timed] == [
        "tinyalign, cpu",
        "tinyalign, torch",
        "Hugging Face generate",
        "torch eager, static cache",
    ]
    assert set(result.batches.values()) == {3}
    assert all(share is not None and 0 < share < 1 for share in result.shares.values())
    rows = result.to_json()["contestants"]
    assert rows[0]["slower_than_ours"]["cpu"] == [1, 1, 1]
    assert multiply_adds(model) == 227_200 + 512 * 64


@pytest.mark.parametrize("fault", ["other tokens", "nothing", "one story missing"])
def test_decoders_that_are_wrong_are_caught(
    model: StoryModel, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    @contextmanager
    def wrong(setting: Any, stories: int):
        def run(output: Output) -> None:
            if fault == "other tokens":
                output.tokens[:] = 7
            elif fault == "one story missing":
                with own._cpu(setting, stories) as right:
                    right(output)
                output.tokens[-1] = -1

        yield run

    peer = Peer("wrong", "a wrong one", (2,), wrong, lambda _: None)
    monkeypatch.setattr("tinyalign.bench.torch_peers.PEERS", (peer,))
    with pytest.raises(CheckpointError, match="between a wrong one and the reference"):
        bench_decode(model, peers=["wrong"], tokens=8, rounds=3)


def test_a_figure_above_the_peak_is_refused(model: StoryModel) -> None:
    tiny = Peaks(fp32=1e3, int8=None, bandwidth=1e9)
    with pytest.raises(CheckpointError, match="above the machine's measured"):
        bench_decode(model, tokens=8, rounds=3, most_stories=2, peaks=tiny)


@pytest.mark.parametrize("compiled", [False])
@pytest.mark.parametrize("name", ["ternary", "stories260K"])
def test_the_static_decoder_equals_hugging_face(name: str, compiled: bool, shared_models: Path) -> None:
    loaded = tinyalign.load(name, device="cpu")
    network: Any = loaded.network
    ids = loaded.encode("The dog")
    expected = network.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0, len(ids) :]
    for masked in (False, True):
        decoder = StaticLlama(loaded, 2, len(ids) + 20, compiled=compiled)
        decoder.masked = masked
        found = decoder.greedy(tuple(ids), 20)
        assert torch.equal(found, expected.expand(2, -1))


def test_random_neo_and_the_profile(model: StoryModel) -> None:
    neo = random_neo(vocab_size=500, num_layers=2, attention_types=[[["global", "local"], 1]])
    assert neo.config.window == 256
    assert random_neo(vocab_size=500).sha256 == random_neo(vocab_size=500).sha256
    result = bench_decode(neo, tokens=6, rounds=3, most_stories=2)
    assert result.timed[0].name == BASELINE
    with pytest.raises(InputError, match="cannot be profiled"):
        profile_decode(neo)
    profile = profile_decode(model, tokens=32, stories=64, rounds=1, peaks=Peaks(1e12, 1e12, 1e12))
    assert profile.whole > 0
    assert profile.share_of_peak is not None
    assert profile.share_of_peak == pytest.approx(227_200 / (profile.blocks * 1e-6) / 1e12)


def test_peers_are_chosen_by_name() -> None:
    assert [peer.key for peer in chosen_peers([])] == ["tinyalign", "hf-generate"]
    assert chosen_peers(["all"]) == list(all_peers().values())
    with pytest.raises(UnknownNameError, match="did you mean llama2c"):
        chosen_peers(["lama2c"])


def test_llama2c_says_why_it_is_absent(
    model: StoryModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peer = all_peers()["llama2c"]
    monkeypatch.delenv("TINYALIGN_LLAMA2C", raising=False)
    assert "does not name" in str(peer.missing(model))
    monkeypatch.setenv("TINYALIGN_LLAMA2C", str(tmp_path / "run.c"))
    assert "not a C file" in str(peer.missing(model))


# A stand-in with llama2.c's command line, which prints one text.
STAND_IN = r"""
#include <stdio.h>
#include <string.h>
int main(int argc, char** argv) {
    if (argc != 10 || strcmp(argv[4], "-t") || strcmp(argv[6], "-n")) return 1;
    printf("%s", argv[9]);
    fflush(stdout);
    printf("TEXT\n");
    return 0;
}
"""


@pytest.mark.parametrize("right", [True, False])
def test_llama2c_is_compiled_called_and_its_text_checked(
    model: StoryModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: bool
) -> None:
    ids = model.encode("Once upon a time")
    network: Any = model.network
    new = network.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)[0].tolist()
    text = model.decode(new).removeprefix("Once upon a time") if right else " never"
    source = tmp_path / "run.c"
    source.write_text(STAND_IN.replace("TEXT", text))
    monkeypatch.setenv("TINYALIGN_LLAMA2C", str(source))
    if right:
        result = bench_decode(model, peers=["llama2c"], tokens=6, rounds=3, most_stories=3)
        assert result.timed[-1].name == "llama2.c -O3"
    else:
        with pytest.raises(CheckpointError, match=r"between llama2\.c"):
            bench_decode(model, peers=["llama2c"], tokens=6, rounds=3, most_stories=3)


def test_the_command_writes_json_and_a_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shared_models: Path
) -> None:
    out, page = tmp_path / "bench.json", tmp_path / "bench.html"
    arguments = (
        "--quick",
        "--only",
        "decode",
        "--tokens",
        "6",
        "--rounds",
        "3",
        "--model",
        str(shared_models / "stories260K.bin"),
    )
    code, printed, _ = run(
        capsys, "bench", *arguments, "--threads", "2", "--json", str(out), "--html", str(page)
    )
    assert code == 0
    assert "greedy decoding, 6 new tokens, threads: 2" in " ".join(printed.split())
    figures = json.loads(out.read_text())
    assert [result["threads"] for result in figures["decode"]] == [1, 2]
    assert figures["peaks"]["fp32"] > 0
    assert "Plotly.newPlot" in page.read_text()
    assert str(tmp_path) not in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--peers", "gpt5"), "Unknown peer"),
        (("--device", "abacus"), "Device 'abacus' is unknown"),
        (("--device", "cuda"), "no CUDA contestants"),
        (("--rounds", "1"), "rounds 1"),
        (("--only", "decoding"), "Unknown part of the benchmark"),
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


def test_outputs_are_spoilt_before_every_run() -> None:
    output = Output(np.full((2, 3), 5), ["a text"])
    output.spoil()
    assert (output.tokens == -1).all()
    assert output.texts == []
