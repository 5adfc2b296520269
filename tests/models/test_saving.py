"""Saved folders: same trits, same identity, and plain transformers gives the same logits from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tinyalign
from tests.models.tiny import KINDS, story_model, token_ids
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.models import StoryModel, ternarize
from tinyalign.models.story_model import make_story_model
from tinyalign.ternary import ternary_layers


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load_keep_trits_weights_and_identity(kind: str, tmp_path: Path) -> None:
    model = story_model(kind)
    model.save(tmp_path / "saved")
    again = tinyalign.load(tmp_path / "saved", tokenizer=False)
    assert again.sha256 == model.sha256
    assert again.bits == model.bits
    assert again.config == model.config
    for name, layer in ternary_layers(model.network).items():
        other = ternary_layers(again.network)[name]
        assert torch.equal(other.trits, layer.trits)
        assert torch.equal(other.scale, layer.scale)
    for (name, a), (_, b) in zip(
        model.network.named_parameters(), again.network.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    ids = token_ids()
    with torch.no_grad():
        assert torch.equal(again.network(ids).logits, model.network(ids).logits)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_plain_transformers_gives_the_same_logits(kind: str, tmp_path: Path) -> None:
    model = story_model(kind)
    model.save(tmp_path / "saved")
    # transformers compiles its unpacking; run as written, it needs no C++ compiler.
    with torch.compiler.set_stance("force_eager"):
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", attn_implementation="eager").eval()
        ids = token_ids(12)
        found, expected = plain(ids).logits, model.network(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_identity_tells_models_apart_and_formats_not(tmp_path: Path) -> None:
    model = story_model("llama-ternary")
    seen = {model.sha256, story_model("llama-ternary", seed=3).sha256, story_model("llama").sha256}
    assert len(seen) == 3
    edited = story_model("llama-ternary")
    layer = ternary_layers(edited.network)["model.layers.1.mlp.down_proj"]
    trits = layer.trits
    trits[0, 0] = 1 if trits[0, 0] <= 0 else -1
    layer.set_trits(trits)
    assert _again(edited).sha256 not in seen
    revised = make_story_model(model.network, None, source="x", name="x", revision="abc")
    assert revised.sha256 != model.sha256
    revised.save(tmp_path / "revised")
    assert tinyalign.load(tmp_path / "revised", tokenizer=False).sha256 == revised.sha256
    # A name or a source says nothing about what the model computes.
    assert _again(model).sha256 == model.sha256


def _again(model: StoryModel) -> StoryModel:
    return make_story_model(model.network, model.tokenizer, source="other", name="other")


def test_float16_folders_load_everywhere_alike(tmp_path: Path) -> None:
    written = tinyalign.convert(_folder(tmp_path), tmp_path / "half", bits=16, tokenizer=False)
    assert load_file(tmp_path / "half" / "model.safetensors")["model.norm.weight"].dtype == torch.float16
    loaded = tinyalign.load(tmp_path / "half", tokenizer=False)
    assert (loaded.sha256, loaded.bits) == (written.sha256, 16)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "half", attn_implementation="eager")
    with torch.no_grad():
        torch.testing.assert_close(plain(token_ids()).logits, loaded.network(token_ids()).logits)


def _folder(tmp_path: Path, kind: str = "llama") -> Path:
    story_model(kind).save(tmp_path / "folder")
    return tmp_path / "folder"


def test_an_interrupted_save_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinyalign.models.saving.save_file", full)
    with pytest.raises(InputError, match="No space left"):
        story_model("llama", seed=5).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_model_card_stays_when_a_model_is_saved_over_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "README.md").write_text("my card")
    story_model("llama").save(folder)
    assert (folder / "README.md").read_text() == "my card"


def test_bad_folders_are_refused_in_one_sentence(tmp_path: Path) -> None:
    def broken(change, kind: str = "llama") -> Path:
        folder = tmp_path / f"case{len(list(tmp_path.iterdir()))}"
        story_model(kind).save(folder)
        change(folder)
        return folder

    def edit_config(**fields: object):
        def change(folder: Path) -> None:
            path = folder / "config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

        return change

    def edit_weights(function):
        def change(folder: Path) -> None:
            path = folder / "model.safetensors"
            save_file(function(load_file(path)), path, metadata={"format": "pt"})

        return change

    def truncate(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-200])

    def nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors["model.norm.weight"][3] = float("nan")
        return tensors

    def without(name: str):
        return lambda tensors: {key: value for key, value in tensors.items() if key != name}

    q = "model.layers.0.self_attn.q_proj.weight"

    def bad_code(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[q][0, 0] = 255
        return tensors

    cases = [
        ("GPT2LMHeadModel", broken(edit_config(architectures=["GPT2LMHeadModel"]))),
        ("names no architecture", broken(edit_config(architectures=[], model_type="mystery"))),
        ("not JSON", broken(lambda folder: (folder / "config.json").write_text("{"))),
        ("no config.json", broken(lambda folder: (folder / "config.json").unlink())),
        ("no weights", broken(lambda folder: (folder / "model.safetensors").unlink())),
        ("truncated", broken(truncate)),
        ("NaN or infinite numbers in model.norm.weight", broken(edit_weights(nan))),
        (f"missing {q}", broken(edit_weights(without(q)))),
        ("shape", broken(edit_config(intermediate_size=32))),
        ("gptq", broken(edit_config(quantization_config={"quant_method": "gptq"}))),
        (f"missing {q}", broken(edit_weights(without(q)), "llama-ternary")),
        ("no weight_scale", broken(edit_weights(without(q + "_scale")), "llama-ternary")),
        ("expected 0, 1 or 2", broken(edit_weights(bad_code), "llama-ternary")),
    ]
    for sentence, folder in cases:
        with pytest.raises(CheckpointError, match=sentence) as raised:
            tinyalign.load(folder, tokenizer=False)
        assert "\n" not in str(raised.value)


class _Payload:
    def __reduce__(self) -> tuple:
        return (print, ("this must never run",))


def test_a_pickle_with_code_is_refused_without_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _folder(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": _Payload()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a pickle with code in it"):
        tinyalign.load(folder, tokenizer=False)
    assert "never run" not in capsys.readouterr().out


def test_old_pytorch_weights_load(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "neo")
    tensors = load_file(folder / "model.safetensors")
    # Files of the GPT-Neo family still carry attention masks as tensors.
    tensors["transformer.h.0.attn.attention.bias"] = torch.ones(1, 1, 64, 64)
    tensors["transformer.h.0.attn.attention.masked_bias"] = torch.tensor(-1e9)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert tinyalign.load(folder, tokenizer=False).sha256 == story_model("neo").sha256


@pytest.mark.parametrize("bits", [1, 1.58])
def test_ternarize_reports_what_it_cost(bits: float, shared_models: Path) -> None:
    model = tinyalign.load(shared_models / "stories260K.bin")
    rounded = ternarize(model, bits, text="Once upon a time there was a girl. She was happy.")
    conversion = rounded.conversion
    assert conversion is not None
    assert conversion.base_sha256 == model.sha256
    assert conversion.layers == 35
    assert conversion.loss_before is not None
    assert conversion.loss_after is not None
    assert conversion.loss_before < 2 < conversion.loss_after
    assert ternarize(model, bits).conversion is not None
    with pytest.raises(InputError, match="already"):
        ternarize(rounded)
    with pytest.raises(InputError, match="expected 1"):
        ternarize(model, 2)
