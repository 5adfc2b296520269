"""The Triton kernels without a GPU: in Triton's interpreter, and what they need to run at all.

Triton decides at its import whether it interprets, so those tests run in a process of their own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from tinyalign.common.errors import InputError
from tinyalign.ternary import dispatch, gpu
from tinyalign.ternary.gpu import availability
from tinyalign.ternary.gpu.plan import LARGEST_D_IN, LARGEST_MATRIX, plan
from tinyalign.ternary.packing import PACKINGS

HERE = Path(__file__).parent
triton_only = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (it comes for Linux only)"
)


@triton_only
@pytest.mark.parametrize("name", ["interpreted_products", "interpreted_models"])
def test_in_the_interpreter(name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, str(HERE / f"{name}.py")],
        cwd=HERE.parents[2],
        env={**os.environ, availability.INTERPRETER_VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    summary = done.stdout.strip().splitlines()[-1]
    assert " passed" in summary
    assert "skipped" not in summary


def test_importing_the_room_does_not_import_triton() -> None:
    script = "import sys, tinyalign.ternary; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(availability.INTERPRETER_VARIABLE, raising=False)
    assert gpu.unavailable_in_interpreter() == "TRITON_INTERPRET=1 is not set"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.unavailable_on_cuda() == "no CUDA device is visible"
    assert asdict(gpu.check()) == {
        "name": "Triton kernels",
        "works": False,
        "detail": "no CUDA device is visible; the reference serves",
    }
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert gpu.unavailable_on_cuda() == "torch was built without CUDA"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: [(9, 0), (7, 5)][i])
    assert gpu.unavailable_on_cuda() == "the device has compute capability 7.5, needed is 8.0"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: (9, 0))
    monkeypatch.setattr(availability, "version", lambda name: "3.2.0")
    assert gpu.unavailable_on_cuda() == "triton 3.2.0 is installed, needed is 3.6"
    monkeypatch.setenv(availability.INTERPRETER_VARIABLE, "1")
    assert gpu.unavailable_on_cuda() == "TRITON_INTERPRET is set, which runs Triton on the CPU"


def test_a_missing_package_and_a_late_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(availability.INTERPRETER_VARIABLE, "1")
    monkeypatch.setattr(availability, "version", _not_found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert gpu.unavailable_in_interpreter() == "triton is not installed"


def _not_found(name: str) -> str:
    raise availability.PackageNotFoundError(name)


def test_on_the_cpu_the_kernel_says_why_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(availability.INTERPRETER_VARIABLE, raising=False)
    with (
        dispatch.using_kernel("triton"),
        pytest.raises(InputError, match="'triton' was asked for but runs on cuda, not on cpu"),
    ):
        dispatch.choose("cpu", "2bit")
    with (
        dispatch.using_kernel("triton-interpreter"),
        pytest.raises(InputError, match="TRITON_INTERPRET=1 is not set"),
    ):
        dispatch.choose("cpu", "2bit")


def test_the_table_covers_the_inputs_once() -> None:
    for tokens in (1, 4, 5, 16, 17, 128, 129, 5000):
        for d_in in (1, 31, 64, 65, 512, 513, 1024, 1025, 5000, 16_384, LARGEST_D_IN):
            for whole in (True, False):
                chosen = plan(tokens, 64, d_in, whole)
                assert (chosen.splits - 1) * chosen.split_in < d_in <= chosen.splits * chosen.split_in
                assert chosen.splits == 1 or chosen.split_in % chosen.block_in == 0
                assert chosen.block_in >= 32
                assert chosen.kernel == ("gemv" if tokens <= 4 else "tiled")


def test_the_trial_meets_every_tile_a_split_of_each_kernel_and_every_packing() -> None:
    trials = pytest.importorskip("tinyalign.ternary.gpu.launch", reason="triton is not installed").TRIALS
    plans = []
    for tokens, d_out, d_in, packing in trials:
        chosen = PACKINGS[packing]
        plans.append(plan(tokens, d_out, d_in, chosen.base != 3 and d_in % chosen.per_byte == 0))
    tiles = {(tokens, plan(tokens, 2048, 320, True).block_tokens) for tokens in (1, 16, 64, 160, 2048)}
    assert {(t[0], p.block_tokens) for t, p in zip(trials, plans, strict=True)} == tiles
    assert {(p.kernel, p.splits > 1) for p in plans} == {
        (k, s) for k in ("gemv", "tiled") for s in (True, False)
    }
    assert {p.whole_bytes for p in plans if p.kernel == "tiled"} == {True, False}
    assert {packing for *_, packing in trials} == set(PACKINGS)
    assert all(p.split_in > p.block_in for p in plans if p.kernel == "tiled")


def test_layers_beyond_int32_are_refused() -> None:
    assert plan(1, LARGEST_MATRIX // LARGEST_D_IN, LARGEST_D_IN, True).splits == 16
    with pytest.raises(InputError, match="split the layer"):
        plan(1, 1, LARGEST_D_IN + 1, True)
    with pytest.raises(InputError, match="split the layer"):
        plan(1, 2**16, 2**15, True)
