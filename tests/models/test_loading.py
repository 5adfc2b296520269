"""Names, paths, the hub and its absence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tinyalign
from tests.models.tiny import network, story_model
from tinyalign.common.errors import CheckpointError, InputError, UnknownNameError
from tinyalign.models import catalogue, hub, llama2c
from tinyalign.models.catalogue import find_hub, user_folder


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, no network, and a user folder of its own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(catalogue.platformdirs, "user_data_dir", lambda name: str(tmp_path / "user"))
    return tmp_path


def test_every_published_name_and_alias_is_found() -> None:
    sizes = ("1M", "3M", "8M", "28M", "33M", "1Layer-21M", "2Layers-33M")
    names = [f"roneneldan/TinyStories-{size}" for size in sizes]
    names += [f"roneneldan/TinyStories-Instruct-{size}" for size in sizes]
    names += ["roneneldan/TinyStories-Instuct-1Layer-21M", "tinystories-1m", "TinyStories-33M"]
    names += ["stories15M", "tinyllamas-42m", "karpathy/tinyllamas/stories110M"]
    assert [name for name in names if find_hub(name) is None] == []
    assert find_hub("tinystories-2m") is None


def test_without_network_and_cache_the_folder_to_use_is_named(no_cache: Path) -> None:
    with pytest.raises(CheckpointError, match="connect to the network once") as raised:
        tinyalign.load("tinystories-1m")
    assert str(user_folder() / "roneneldan--TinyStories-1M") in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(CheckpointError, match="put stories15M"):
        tinyalign.load("stories15M")


def test_files_put_there_by_hand_are_used(no_cache: Path) -> None:
    model = story_model("neo")
    model.save(user_folder() / "roneneldan--TinyStories-1M")
    loaded = tinyalign.load("tinystories-1m", tokenizer=False)
    assert loaded.sha256 == model.sha256
    assert loaded.name == "TinyStories-1M"
    assert {row.name for row in tinyalign.models() if row.here} >= {"TinyStories-1M"}


def test_the_hub_cache_is_used_offline_and_its_commit_is_part_of_the_identity(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, commit = story_model("neo"), "0123456789abcdef0123456789abcdef01234567"
    repository = no_cache / "hub" / "models--roneneldan--TinyStories-3M"
    model.save(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    loaded = tinyalign.load("tinystories-3m", tokenizer=False)
    assert loaded.revision == commit
    assert loaded.sha256 != model.sha256
    # A copy saved from it remembers.
    loaded.save(no_cache / "copy")
    assert tinyalign.load(no_cache / "copy", tokenizer=False).sha256 == loaded.sha256
    entry = find_hub("tinystories-3m")
    assert entry is not None
    assert hub.cached(entry)
    with pytest.raises(CheckpointError, match="could not be reached"):
        tinyalign.load("tinystories-3m", tokenizer=False, revision="other")


@pytest.mark.parametrize("name", ["tinystorys-1m", "stories15N", "ternry"])
def test_an_unknown_name_gives_the_nearest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyalign.models.loading.known_names", lambda: [*_hub_names(), "ternary"])
    with pytest.raises(UnknownNameError, match="did you mean") as raised:
        tinyalign.load(name)
    nearest = {"tinystorys-1m": "tinystories-1m", "stories15N": "stories15M", "ternry": "ternary"}[name]
    assert nearest in str(raised.value)


def _hub_names() -> list[str]:
    return [name for entry in catalogue.HUB for name in (entry.name, entry.alias)]


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No model at"):
        tinyalign.load(tmp_path / "absent.bin")
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="--mapping"):
        tinyalign.load(tmp_path / "model.pt")


def test_embedded_names_load_from_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = story_model("llama-ternary")
    model.save(tmp_path / "models" / "small")
    monkeypatch.setattr(catalogue, "data_folder", lambda: tmp_path)
    loaded = tinyalign.load("small", tokenizer=False)
    assert (loaded.name, loaded.source, loaded.sha256) == ("small", "embedded in tinyalign", model.sha256)
    row = next(row for row in tinyalign.models() if row.name == "small")
    assert (row.here, row.bits, row.d_vocab) == (True, 1.58, 96)


def test_dtype_and_device(tmp_path: Path) -> None:
    story_model("llama-ternary").save(tmp_path / "m")
    half = tinyalign.load(tmp_path / "m", tokenizer=False, dtype=torch.bfloat16, device="cpu")
    assert half.network.dtype == torch.bfloat16
    assert half.bits == 1.58
    with pytest.raises(InputError, match="not a float type"):
        tinyalign.load(tmp_path / "m", tokenizer=False, dtype=torch.int8)
    with pytest.raises(InputError, match="cannot be used here"):
        tinyalign.load(tmp_path / "m", tokenizer=False, device="no-such-device")


def test_a_saved_folder_names_no_path_of_this_machine(tmp_path: Path) -> None:
    llama2c.write(network("llama"), tmp_path / "m.bin")
    tinyalign.load(tmp_path / "m.bin", tokenizer=False).save(tmp_path / "out")
    for path in (tmp_path / "out").glob("*.json"):
        assert str(tmp_path) not in path.read_text()
