"""The decoder compiled for 64-bit Arm and run under emulation, against this machine's."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.arm import LEVELS, compile_for_arm, emulate, needs_arm
from tests.engine.test_cpu import integers
from tests.models.tiny import story_model, token_ids
from tinyalign.engine import Sampling
from tinyalign.engine.cpu import build, native
from tinyalign.engine.cpu import weights as cpu_weights
from tinyalign.engine.cpu.sampling import run
from tinyalign.engine.cpu.weights import CpuModel
from tinyalign.engine.sampling import Request

SOURCES = Path(build.__file__).resolve().parent / "csrc"
PROMPTS = [token_ids(1 + i % 7, batch=1, seed=i)[0].tolist() for i in range(40)]

pytestmark = needs_arm


@pytest.fixture(scope="module", params=LEVELS)
def replay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder as a program for Arm."""
    target = tmp_path_factory.mktemp("arm") / "replay"
    compile_for_arm(Path(__file__).with_name("replay.cpp"), SOURCES, request.param, target)
    return target


class Recording:
    """Takes the place of the decoder's library while a model is copied into it, and writes the calls down."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def note(self, call: str, *parts: Any) -> int:
        """One call: numbers are written as int32, arrays and structures as they are."""
        written = [np.int32(part).tobytes() if isinstance(part, int) else bytes(part) for part in parts]
        self.calls.append(call.encode() + b"".join(written))
        return 0

    def library(self, _: build.Use) -> SimpleNamespace:
        """What `native.bound` would give."""

        def at(address: int, count: int, size: int) -> bytes:
            return ctypes.string_at(address, count * size)

        return SimpleNamespace(
            ta_model=lambda shape: self.note("M", shape._obj) or 1,
            ta_model_free=lambda _: None,
            ta_set_vector=lambda _, name, layer, values, size: self.note(
                "V", name, layer, size, at(values, size, 4)
            ),
            ta_set_window=lambda _, layer, window: self.note("W", layer, window),
            ta_set_bias=lambda _, layer, part, bias, rows: self.note(
                "B", layer, part, rows, at(bias, rows, 4)
            ),
            ta_set_float=lambda _, layer, part, weight, rows, columns: self.note(
                "F", layer, part, rows, columns, at(weight, rows * columns, 4)
            ),
            ta_set_ternary=lambda _, layer, part, trits, scale, rows, columns: self.note(
                "T", layer, part, rows, columns, np.float32(scale).tobytes(), at(trits, rows * columns, 1)
            ),
        )

    def run(self, program: Path, tmp_path: Path) -> bytes:
        """What the program writes when it replays the calls."""
        written, said = emulate(program, b"".join(self.calls), tmp_path)
        assert said == "portable"
        return written


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    noted = Recording()
    monkeypatch.setattr(cpu_weights.native, "bound", noted.library)
    return noted


@pytest.mark.parametrize("kind", ["llama-gqa", "llama-ternary", "llama-binary", "neo", "neo-ternary"])
def test_logits_and_stories_equal_this_machines(
    replay: Path, recording: Recording, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = story_model(kind)
    CpuModel(model, "float32")
    ids = token_ids(50, batch=1)[0].tolist()
    recording.note("L", len(ids), np.array(ids, dtype=np.int32))
    offsets = np.cumsum([0, *map(len, PROMPTS)], dtype=np.int64)
    tokens = np.concatenate([np.array(prompt, dtype=np.int32) for prompt in PROMPTS])
    draw = native.Draw(1.0, 0.0, 0, 3)
    for call in ("S", "Q"):
        recording.note(call, len(PROMPTS), 2, 30, offsets, tokens, draw)
    written = recording.run(replay, tmp_path)
    monkeypatch.undo()
    size = 50 * model.config.d_vocab
    found = np.frombuffer(written[: 4 * size], dtype=np.float32).reshape(50, -1)
    assert np.abs(found - CpuModel(model, "scoring").logits(ids)).max() <= 1e-4
    stories = np.frombuffer(written[4 * size :], dtype=np.int32).reshape(2, 80, 30)
    for cache, own in zip(("float32", "int8"), stories, strict=True):
        request = Request([""] * len(PROMPTS), PROMPTS, 2, 30, Sampling(), (), 3, None, cache)
        expected = [list(story.tokens) for story in run(model, request, batch_size=32, threads=1)]
        same = [mine == theirs for mine, theirs in zip(own.tolist(), expected, strict=True)]
        # Int8 codes can turn where sums are rounded in another order.
        assert sum(same) >= (80 if cache == "float32" and model.bits == 32 else 72)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (9, 1030), (70, 150)])
def test_integer_sums_are_exact(replay: Path, tmp_path: Path, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    trits = torch.randint(-1, 2, (rows, columns), generator=generator).to(torch.int8)
    x = torch.randint(-254, 255, (32, columns), generator=generator) / 2
    recording = Recording()
    recording.note("I", rows, columns, trits.numpy(), x.numpy())
    written = recording.run(replay, tmp_path)
    codes, scales, sums = integers(trits, x)
    expected = b"".join(part.numpy().tobytes() for part in (codes, scales, sums))
    assert written == expected
