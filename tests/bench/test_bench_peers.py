"""Peers: who they are, and that what is written for them is read right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tinyalign
from tinyalign.bench.decode import bench_decode
from tinyalign.bench.gguf_file import remark, unsuited
from tinyalign.bench.peers import all_peers, chosen_peers
from tinyalign.bench.shapes import loaded, random_neo, random_ternary
from tinyalign.bench.static_llama import StaticLlama
from tinyalign.common.errors import InputError, UnknownNameError
from tinyalign.models import StoryModel


@pytest.mark.parametrize("name", ["ternary", "stories260K"])
def test_the_static_decoder_equals_hugging_face(name: str, shared_models: Path) -> None:
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
        decoder = StaticLlama(loaded, 2, len(ids) + 20, how="eager")
        decoder.masked = masked
        found = decoder.greedy(tuple(ids), 20)
        assert torch.equal(found, expected.expand(2, -1))
    with pytest.raises(InputError, match="CUDA graph"):
        StaticLlama(loaded, 2, 30, how="graph")


def test_a_ternary_model_fills_the_blocks_of_llama_cpp() -> None:
    model = random_ternary()
    assert model.bits == 1.58
    assert 1e6 < model.config.n_block_parameters < 1.3e6
    assert unsuited(model, "TQ2_0") is None
    assert "float weights" in str(unsuited(model, "Q8_0"))
    assert "have 192, 512" in str(unsuited(tinyalign.load("ternary", device="cpu"), "TQ2_0"))


def test_rows_that_a_block_does_not_divide_are_named(model: StoryModel) -> None:
    assert unsuited(model, "Q8_0") is unsuited(model, "F32") is None
    assert "rows of 172" in str(remark(model, "Q8_0"))
    assert remark(model, "F32") is None
    assert "ternary weights" in str(unsuited(model, "TQ2_0"))
    assert "GPTNeo" in str(unsuited(random_neo(vocab_size=50), "F32"))


@pytest.mark.parametrize(
    ("key", "name"), [("llamacpp-q8", "stories260K"), ("llamacpp-tq2", "random-ternary-1M")]
)
def test_llama_cpp_decodes_what_is_written_for_it(key: str, name: str, shared_models: Path) -> None:
    """The whole way through llama.cpp, where it is installed."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python, an optional peer, is not installed")
    pytest.importorskip("gguf", reason="gguf, an optional peer, is not installed")
    result = bench_decode(loaded(name, "cpu"), peers=[key], tokens=8, rounds=3, most_stories=2)
    standing = result.standing(all_peers()[key].name)
    assert standing.agreement.worst is not None
    assert standing.agreement.worst <= 1.0
    assert "F16" in str(standing.remark)


def test_peers_are_chosen_by_name() -> None:
    own = ["tinyalign", "tinyalign-int8-cache", "tinyalign-static"]
    assert [peer.key for peer in chosen_peers([])] == [*own, "hf-generate"]
    assert chosen_peers(["all"]) == [peer for peer in all_peers().values() if "cpu" in peer.devices]
    on_gpu = [peer.key for peer in chosen_peers([], "cuda")]
    assert on_gpu == ["tinyalign-static", "tinyalign-cuda", "tinyalign-cuda-int8-cache", "hf-generate"]
    assert {"torch-graph", "torch-graph-bf16"} <= {peer.key for peer in chosen_peers(["all"], "cuda")}
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
        assert result.standings[-1].timed.name == "llama2.c -O3"
        assert result.standings[-1].agreement.worst is None
    else:
        result = bench_decode(model, peers=["llama2c"], tokens=6, rounds=3, most_stories=3)
        assert "other text" in result.absent["llama2.c -O3"]
