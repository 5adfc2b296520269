"""The first story: how soon it comes, what it does not import, and that it is the ordinary path's story."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tinyalign
from tests.cli.running import run
from tinyalign.common.resources import data_folder
from tinyalign.engine import sample
from tinyalign.engine.light import light_sample
from tinyalign.engine.light_folder import read_light
from tinyalign.models import StoryModel

EMBEDDED = ("ternary", "binary", "float")
COMMAND = (
    "from tinyalign.cli import main; import sys; sys.argv = ['tinyalign', 'sample', 'ternary', '-n', '2']; "
)
SAMPLING: dict[str, Any] = {"max_new_tokens": 60, "temperature": 0.8, "top_k": None, "top_p": None, "seed": 0}


def light(source: str | Path, prompt: str, **changes: Any) -> list[tuple[int, str, str]] | None:
    arguments = {**SAMPLING, "n": 1, "threads": 1, **changes}
    found = light_sample(str(source), prompt, **arguments)
    return None if found is None else [(story.index, story.text, story.stopped) for story in found]


def ordinary(model: StoryModel, prompt: str, **changes: Any) -> list[tuple[int, str, str]]:
    arguments = {**SAMPLING, "n": 1, **changes}
    found = sample(model, prompt, backend="cpu", **arguments)
    return [(story.index, story.text, story.stopped) for story in found]


def processor_seconds(script: str, **environment: str) -> float:
    """Processor time of a Python process that runs `script`, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("--- 0 (")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_story_comes_within_a_second_and_a_half_without_torch() -> None:
    script = COMMAND + (
        "main(); heavy = {'torch', 'transformers', 'transformer_lens', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    processor_seconds(script)  # builds the decoder where this machine has not yet
    # Processor time of the fastest of three: the machine may be busy with other tests.
    assert min(processor_seconds(script) for _ in range(3)) < 1.5


@pytest.mark.slow
def test_the_first_story_of_all_is_built_and_told_within_five_seconds(tmp_path: Path) -> None:
    seconds = [
        processor_seconds(COMMAND + "main()", TINYALIGN_CACHE=str(tmp_path / str(turn))) for turn in range(2)
    ]
    assert any((tmp_path / "0").glob("decoder-*.so"))
    # 3.9 on an idle core; a busy machine makes processor seconds longer too.
    assert min(seconds) < 8, seconds


@pytest.mark.parametrize("name", EMBEDDED)
def test_stories_equal_the_ordinary_paths_to_the_byte(name: str) -> None:
    model = tinyalign.load(name, device="cpu")
    for changes in (
        {"n": 40},
        {"temperature": 0.0, "max_new_tokens": 200},
        {"n": 33, "temperature": 1.2, "top_k": 50, "top_p": 0.8, "seed": 2**40 + 7, "max_new_tokens": 90},
    ):
        expected = ordinary(model, "Tom and his mom went to the park. \"Don't run", **changes)
        assert light(name, "Tom and his mom went to the park. \"Don't run", **changes) == expected
        assert len({text for _, text, _ in expected}) == len(expected)
    assert light(name, "", n=5, threads=2) == ordinary(model, "", n=5)
    assert light(name, "The  café é\n", n=3) == ordinary(model, "The  café é\n", n=3)


def test_a_saved_model_with_grouped_queries_is_served(tmp_path: Path, shared_models: Path) -> None:
    model = tinyalign.load(shared_models / "stories260K.bin", device="cpu")
    for made in (model, tinyalign.ternarize(model)):
        made.save(tmp_path / "saved")
        saved = tinyalign.load(tmp_path / "saved", device="cpu")
        found = light(tmp_path / "saved", "Lily had a red ball.", n=10)
        # A layer whose rows four doesn't divide is stored unpacked: the ordinary path serves it.
        assert found is not None or made is not model
        assert found in (None, ordinary(saved, "Lily had a red ball.", n=10))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(data_folder() / "models" / "ternary", tmp_path / "copy"))


def test_the_copy_that_the_next_tests_change_is_served(copy: Path) -> None:
    assert light(copy, "Once") == light("ternary", "Once") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"sliding_window": 8},
        {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}},
        {"tinyalign": None},
        {"num_key_value_heads": 3},
        {"quantization_config": {"quant_method": "gptq"}},
        {"architectures": ["MistralForCausalLM"]},
        {"num_hidden_layers": 3},
        {"hidden_size": 191},
        {"vocab_size": 2000},
    ],
)
def test_an_unknown_configuration_is_left_to_the_ordinary_path(copy: Path, change: dict[str, Any]) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    assert read_light(copy) is None


@pytest.mark.parametrize(
    "damage", ["nan", "code", "missing", "more", "shape", "truncated", "tokenizer", "config"]
)
def test_damaged_files_are_left_to_the_ordinary_path(copy: Path, damage: str) -> None:
    weights = copy / "model.safetensors"
    tensors = load_file(weights)
    if damage == "nan":
        tensors["model.norm.weight"][5] = np.nan
    elif damage == "code":
        tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = 3
    elif damage == "missing":
        del tensors["model.layers.2.self_attn.k_proj.weight_scale"]
    elif damage == "more":
        tensors["model.layers.4.mlp.up_proj.weight"] = tensors["model.layers.3.mlp.up_proj.weight"]
    elif damage == "shape":
        tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1]
    save_file(tensors, weights)
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "tokenizer":
        (copy / "tokenizer.json").write_text("{")
    elif damage == "config":
        (copy / "config.json").write_text("[]")
    assert read_light(copy) is None


def test_damage_is_told_in_one_sentence(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"][5] = np.inf
    save_file(tensors, copy / "model.safetensors")
    code, out, err = run(capsys, "sample", str(copy))
    assert (code, out) == (2, "")
    assert "NaN or infinite" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--temperature", "-1"), "Temperature -1.0 cannot be used"),
        (("--temperature", "nan"), "Temperature nan cannot be used"),
        (("--top-k", "0"), "top_k 0"),
        (("--top-p", "1.5"), "top_p 1.5"),
        (("-n", "0"), "n 0"),
        (("--prompt", "word " * 600), "the model reads 512 at most"),
        (("--backend", "abacus"), "Backend 'abacus' is unknown"),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    code, out, err = run(capsys, "sample", "ternary", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_without_a_compiler_the_ordinary_path_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert light("ternary", "Once") is None


def test_the_command_prints_the_same_by_either_path(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("sample", "ternary", "-n", "3", "--seed", "4", "--max-new-tokens", "40")
    by_light = run(capsys, *arguments)
    monkeypatch.setattr("tinyalign.engine.light.light_sample", lambda *_, **__: None)
    assert run(capsys, *arguments) == by_light
    assert by_light[0] == 0
