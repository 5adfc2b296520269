"""The kernel through NVRTC and nvcc without a GPU, and the sentences for what can go wrong."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.tiny import story_model
from tinyalign.common.errors import InputError
from tinyalign.engine.cuda import compiling
from tinyalign.engine.cuda.compiling import SOURCES, compiled
from tinyalign.engine.cuda.gpu import Gpu
from tinyalign.engine.cuda.layout import Shape
from tinyalign.engine.cuda.serving import refusal

SHAPE = Shape.of(story_model("llama-gqa"), 8, False)
NEEDS_NVRTC = pytest.mark.skipif(compiling.missing() is not None, reason=str(compiling.missing()))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYALIGN_CACHE", str(tmp_path))
    return tmp_path


@NEEDS_NVRTC
@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize(("stories", "int8"), [(8, False), (16, True)])
def test_nvrtc_compiles_for_every_architecture(
    empty_cache: Path, architecture: int, stories: int, int8: bool
) -> None:
    code = compiled(Shape.of(story_model("llama-gqa"), stories, int8).macros, architecture)
    assert code[:4] == b"\x7fELF"
    assert b"ta_decode" in code
    assert [path.read_bytes() for path in empty_cache.glob("*.cubin")] == [code]


@NEEDS_NVRTC
def test_a_second_call_reads_the_cache_unless_it_was_cut_short(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compiled(SHAPE.macros, 90)
    again: list[bytes] = []
    monkeypatch.setattr(compiling, "_compile", lambda _: again.append(code) or code)
    assert compiled(SHAPE.macros, 90) == code
    assert not again
    (kept,) = empty_cache.glob("*.cubin")
    kept.write_bytes(code[:1000])
    assert compiled(SHAPE.macros, 90) == kept.read_bytes() == code
    assert again == [code]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize("architecture", [80, 90])
def test_nvcc_compiles_the_same_source(tmp_path: Path, architecture: int) -> None:
    macros = [f"-D{name}={value}" for name, value in SHAPE.macros.items()]
    target = tmp_path / "decode.cubin"
    command = ["nvcc", "-std=c++17", f"-arch=sm_{architecture}", "-cubin", *macros, "-o", str(target)]
    done = subprocess.run([*command, str(SOURCES / "decode.cu")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert b"ta_decode" in target.read_bytes()
    if shutil.which("cuobjdump"):
        listing = subprocess.run(
            ["cuobjdump", "-sass", str(target)], capture_output=True, text=True, check=True
        ).stdout
        assert "IMMA.16832.U8.S8" in listing


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="cuda-bindings is not installed"):
        compiled(SHAPE.macros, 90)


@NEEDS_NVRTC
def test_a_package_without_its_library_and_a_gpu_that_nvrtc_does_not_know_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        InputError, match=r"NVRTC [\d.]+ does not compile for .*capability 9\.9: install a newer"
    ):
        compiled(SHAPE.macros, 99)

    def unloaded() -> tuple[int, int]:
        raise RuntimeError("no library of this name\nwas found")

    monkeypatch.setattr(compiling, "nvrtc_version", unloaded)
    with pytest.raises(InputError, match=r"library cannot be loaded \(no library of this name\)"):
        compiled(SHAPE.macros, 90)


@NEEDS_NVRTC
def test_a_source_that_does_not_compile_is_said(empty_cache: Path) -> None:
    without = {name: value for name, value in SHAPE.macros.items() if name != "TA_VOCAB"}
    with pytest.raises(InputError, match=r"NVRTC refused .*TA_VOCAB"):
        compiled(without, 90)
    assert not list(empty_cache.glob("*.cubin"))


@NEEDS_NVRTC
def test_an_old_gpu_and_a_folder_that_cannot_be_written_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"capability 8.0 or more and the device has 7.5"):
        compiled(SHAPE.macros, 75)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TINYALIGN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be kept in .*file"):
        compiled(SHAPE.macros, 90)


def test_models_that_are_not_served_are_refused_with_a_reason() -> None:
    assert refusal(story_model("llama")) == "is on cpu, not on cuda"
    assert refusal(story_model("llama"), "cpu") is None
    assert "GPTNeoForCausalLM" in str(refusal(story_model("neo"), "cpu"))
    hooked: Any = story_model("llama")
    hooked.network.model.register_forward_hook(lambda *_: None)
    assert "hook" in str(refusal(hooked, "cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is visible")
def test_without_a_gpu_the_backend_says_so() -> None:
    with pytest.raises(InputError, match="needs a CUDA device"):
        Gpu(torch.device("cuda"))
