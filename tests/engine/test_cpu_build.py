"""Building the decoder: the cache, compilers that fail, models that are not served."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tinyalign
from tests.models.tiny import story_model
from tinyalign.common import compiling
from tinyalign.common.errors import InputError
from tinyalign.engine import sample
from tinyalign.engine.cpu import build
from tinyalign.engine.cpu.serving import refusal
from tinyalign.engine.cpu.weights import CpuModel
from tinyalign.models import StoryModel


@pytest.fixture(scope="module")
def stories260k(shared_models: Path) -> StoryModel:
    return tinyalign.load(shared_models / "stories260K.bin", device="cpu")


def fake_compiler(folder: Path, script: str) -> str:
    path = folder / "cxx"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_compiler_that_fails_is_one_sentence_and_auto_goes_on(
    stories260k: StoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = '[ "$1" = --version ] && echo fake 1 && exit 0\necho "fatal: no such luck" >&2\nexit 3'
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, failing))
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "kernels"))
    with pytest.raises(InputError, match=r"failed with code 3 \(fatal: no such luck\): name another in CXX"):
        sample(stories260k, "Once", backend="cpu")
    assert [path.suffix for path in (tmp_path / "kernels").iterdir()] in ([], [".lock"])
    with pytest.warns(UserWarning, match="runs on the static backend, .* slower: The C.. compiler") as caught:
        stories = list(sample(stories260k, "Once", max_new_tokens=4))
    # Of other libraries' warnings there may be more.
    assert len([warning for warning in caught if warning.category is UserWarning]) == 1
    assert stories == list(sample(stories260k, "Once", max_new_tokens=4, backend="torch"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be started (Exec format error): name another in CXX"),
        (b"#!/bin/sh\nprintf 'no \\377 luck' >&2\nexit 3\n", "failed with code 3 (no \ufffd luck)"),
    ],
)
def test_a_compiler_that_cannot_be_run_or_read_is_one_sentence(
    stories260k: StoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, sentence: str
) -> None:
    compiler = tmp_path / "cxx"
    compiler.write_bytes(content)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "kernels"))
    with pytest.raises(InputError, match=re.escape(sentence)):
        sample(stories260k, "Once", backend="cpu")


def test_a_compiler_that_is_absent_is_one_sentence(
    stories260k: StoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler -m64")
    with pytest.raises(InputError, match="CXX names the compiler 'no-such-compiler'"):
        sample(stories260k, "Once", backend="cpu")
    monkeypatch.setenv("CXX", '"g++')
    with pytest.raises(InputError, match=r"which is no command \(No closing quotation\): name a compiler"):
        sample(stories260k, "Once", backend="cpu")
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(compiling, "_zig_is_there", lambda: False)
    with pytest.raises(InputError, match=r"found no c\+\+, g\+\+ or clang\+\+"):
        sample(stories260k, "Once", backend="cpu")


def test_the_ziglang_package_compiles_where_there_is_nothing_else(
    stories260k: StoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of that name that notes how it is called, in the place of a compiler of 100 MB."""
    package = tmp_path / "ziglang"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(
        "import sys, pathlib\n"
        "if '--version' in sys.argv: sys.exit(print('fake clang'))\n"
        f"pathlib.Path({str(tmp_path / 'called')!r}).write_text(' '.join(sys.argv[1:]))\n"
        "pathlib.Path(sys.argv[sys.argv.index('-o') + 1]).write_text('no library')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv(build.MARCH_VARIABLE, "x86-64-v3" if build.supports("x86-64-v3") else "x86-64")
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "kernels"))
    with pytest.raises(InputError, match=r"cannot be loaded .* delete it"):
        sample(stories260k, "Once", backend="cpu")
    called = (tmp_path / "called").read_text(encoding="utf-8").split()
    assert called[0] == "c++" and any(word.endswith("decoder.cpp") for word in called)
    assert {"-march=x86_64_v3", "-march=x86_64"} & set(called)
    assert "-fvect-cost-model=dynamic" not in called


def test_a_cache_folder_that_cannot_be_written_is_one_sentence(
    stories260k: StoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "file" / "kernels"))
    with pytest.raises(
        InputError, match=f"cannot be kept in .*name another folder in {build.CACHE_VARIABLE}"
    ):
        sample(stories260k, "Once", backend="cpu")


def test_a_full_cache_folder_is_one_sentence(
    stories260k: StoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "fatal error: error writing to out.s: No space left on device"
    full = f'[ "$1" = --version ] && echo fake 2 && exit 0\necho "{said}" >&2\nexit 1'
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, full))
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "kernels"))
    with pytest.raises(
        InputError,
        match=r"No space left on device\): make room, name another cache folder in TINYALIGN_CACHE",
    ):
        sample(stories260k, "Once", backend="cpu")


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    """A compiler that counts its calls and copies an empty library's place."""
    compiler = fake_compiler(
        tmp_path,
        f'[ "$1" = --version ] && echo fake 3 && exit 0\necho built >> {tmp_path}/count\nsleep 0.3\n'
        'while [ "$1" != -o ]; do shift; done\necho library > "$2"',
    )
    code = (
        "from pathlib import Path; from tinyalign.common.compiling import build;"
        f"build([{compiler!r}], Path({str(tmp_path / 'kernels' / 'one.so')!r}), name='x', otherwise='wait')"
    )
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert (tmp_path / "count").read_text(encoding="utf-8") == "built\n"
    assert (tmp_path / "kernels" / "one.so").read_text(encoding="utf-8") == "library\n"


def test_a_library_that_was_cut_short_is_built_again(tmp_path: Path) -> None:
    """In processes of their own: one that reads beyond a library's end is ended by a signal."""
    (tmp_path / "tiny.cpp").write_text(
        'static const char text[100000] = {1}; extern "C" int answer(int at) { return 42 + text[at]; }\n',
        encoding="utf-8",
    )
    code = (
        "from pathlib import Path; from tinyalign.common.compiling import Sources, library;"
        f"tiny = Sources('tiny', Path({str(tmp_path / 'tiny.cpp')!r}), 'The test', 'go without');"
        "print(library(tiny).answer(0), library(tiny).answer(99999))"
    )
    kernels = tmp_path / "kernels"
    environment = {**os.environ, build.CACHE_VARIABLE: str(kernels)}

    def answer() -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert answer() == "43 42\n"
    (built,) = kernels.glob("*.so")
    before = built.read_bytes()
    assert answer() == "43 42\n"
    os.truncate(built, len(before) // 2)
    (kernels / f".{built.name}.left").write_bytes(b"by a process that was killed")
    assert answer() == "43 42\n"
    assert built.stat().st_size == len(before)
    assert {path.suffix for path in kernels.iterdir()} == {".so", ".lock", ".sha256"}


def test_a_damaged_library_says_to_delete_it(
    stories260k: StoryModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes_rubbish = (
        '[ "$1" = --version ] && echo fake 4 && exit 0\nwhile [ "$1" != -o ]; do shift; done\necho no > "$2"'
    )
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, writes_rubbish))
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "kernels"))
    with pytest.raises(InputError, match=r"cannot be loaded .* delete it"):
        sample(stories260k, "Once", backend="cpu")


def test_models_that_would_give_wrong_numbers_are_refused() -> None:
    assert refusal(story_model("llama-gqa-ternary")) is None
    assert refusal(story_model("neo-ternary")) is None
    hooked = story_model("llama")
    handle = hooked.network.get_submodule("model.layers.1.mlp").register_forward_hook(lambda *_: None)
    assert refusal(hooked) == "has a hook on model.layers.1.mlp"
    handle.remove()
    assert refusal(hooked) is None
    half = story_model("llama")
    half.network.bfloat16()
    assert "torch.bfloat16 weights" in str(refusal(half))
    training = story_model("llama")
    training.network.train()
    assert "is in training mode" in str(refusal(training))
    other_forward: Any = story_model("llama")
    mlp = other_forward.network.model.layers[0].mlp
    mlp.forward = lambda x: x
    assert refusal(other_forward) == "has another forward method on model.layers.0.mlp"
    masked: Any = story_model("neo")
    masked.network.transformer.h[1].attn.attention.bias.fill_(True)
    assert "another attention mask in layer 1" in str(refusal(masked))
    uneven: Any = story_model("llama")
    uneven.network.model.layers[1].input_layernorm.variance_epsilon = 1e-3
    assert refusal(uneven) == "has norms with different epsilons"
    narrowed = story_model("llama")
    narrowed.network.get_submodule("model.layers.0.mlp").up_proj = torch.nn.Linear(32, 32, bias=False)
    assert refusal(narrowed) == "has a matrix of 32 x 32 where its configuration says 64 x 32"

    class Other(torch.nn.Linear):
        """A layer that might compute anything."""

    replaced = story_model("llama")
    replaced.network.get_submodule("model.layers.0.mlp").down_proj = Other(64, 32, bias=False)
    assert refusal(replaced) == "has a Other at layers.0.mlp.down_proj"
    with pytest.raises(InputError, match="which has a Other at"):
        CpuModel(replaced, "float32")


def test_bad_input_is_refused_in_one_sentence(stories260k: StoryModel) -> None:
    with pytest.raises(InputError, match="reads 512 at most"):
        sample(stories260k, "word " * 600, backend="cpu")
    with pytest.raises(InputError, match="threads 0: expected 1 or more"):
        sample(stories260k, "Once", backend="cpu", threads=0)
    with pytest.raises(InputError, match="Backend 'gpu' is unknown: expected one of auto, torch, static"):
        sample(stories260k, "Once", backend="gpu")
    for ids in ([], [512], [1] * 513):
        with pytest.raises(InputError, match="expected 1 to 512 ids below 512"):
            CpuModel(stories260k, "scoring").logits(ids)
