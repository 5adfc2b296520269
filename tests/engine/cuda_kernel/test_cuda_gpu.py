"""The kernel on a GPU; without one, what is asked of the driver, by a driver that runs the emulated one."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tinyalign
from tests.engine.cuda_kernel.emulated_machine import library
from tests.engine.cuda_kernel.test_cuda_emulated import MIXED, emulated
from tests.models.tiny import story_model
from tinyalign.common.errors import InputError
from tinyalign.engine import sample
from tinyalign.engine.cuda import gpu
from tinyalign.engine.cuda.layout import Shape
from tinyalign.engine.cuda.sampling import run
from tinyalign.engine.sampling import Request, Sampling

KINDS = ("llama", "llama-gqa", "llama-ternary", "llama-gqa-ternary", "llama-binary")


def emulated_driver(shape: Shape, shared: int) -> SimpleNamespace:
    """The calls of CUDA's driver that the backend makes, for a device with `shared` bytes a block."""
    asked = {"dynamic": 0, "launches": 0}

    def answer(*values: Any, status: int = 0) -> tuple[Any, ...]:
        return (SimpleNamespace(value=status, name=f"status {status}"), *values)

    def load(code: bytes) -> tuple[Any, ...]:
        return answer("module", status=0 if code[:4] == b"\x7fELF" else 209)

    def function_of(module: str, name: bytes) -> tuple[Any, ...]:
        return answer("function", status=0 if (module, name) == ("module", b"ta_decode") else 500)

    def set_attribute(function: str, attribute: str, value: int) -> tuple[Any, ...]:
        assert (function, attribute) == ("function", "dynamic")
        asked["dynamic"] = value
        return answer(status=0 if value <= shared else 1)

    def occupancy(function: str, threads: int, dynamic: int) -> tuple[Any, ...]:
        assert threads == 32 * shape.stories
        return answer(1 if dynamic <= shared else 0)

    def launch(function: str, *rest: Any) -> tuple[Any, ...]:
        blocks, _, _, threads, _, _, dynamic, stream, parameters, _ = rest
        assert (threads, dynamic, stream) == (32 * shape.stories, asked["dynamic"], ("stream", 77))
        places = ctypes.cast(parameters, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)))
        library(shape).ta_emulate(places[0][0], places[1][0], blocks, asked["launches"])
        asked["launches"] += 1
        return answer()

    return SimpleNamespace(
        CUdevice_attribute=SimpleNamespace(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN="optin"),
        CUfunction_attribute=SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="dynamic"),
        CUstream=lambda handle: ("stream", handle),
        cuDriverGetVersion=lambda: answer(20_000),
        cuDeviceGet=lambda index: answer(f"device {index}"),
        cuDeviceGetAttribute=lambda attribute, device: answer(shared),
        cuModuleLoadData=load,
        cuModuleGetFunction=function_of,
        cuFuncSetAttribute=set_attribute,
        cuOccupancyMaxActiveBlocksPerMultiprocessor=occupancy,
        cuLaunchKernel=launch,
    )


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A CUDA device as torch would tell of it, where there is none."""
    # Imported before its neighbour, the driver, is exchanged.
    pytest.importorskip("cuda.bindings.nvrtc")
    properties = SimpleNamespace(multi_processor_count=2, major=9, minor=0)
    stream = SimpleNamespace(cuda_stream=77, synchronize=lambda: None, query=lambda: True)
    for name, value in {
        "is_available": lambda: True,
        "init": lambda: None,
        "synchronize": lambda _: None,
        "device": lambda _: contextlib.nullcontext(),
        "current_stream": lambda _: stream,
        "get_device_properties": lambda _: properties,
        "mem_get_info": lambda _: (1 << 30, 1 << 30),
        "memory_reserved": lambda _: 0,
        "memory_allocated": lambda _: 0,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for known in (gpu._loaded, gpu._shared_memory):
        known.cache_clear()
    yield torch.device("cuda", 0)
    # What an emulated driver loaded must not meet a real one.
    for known in (gpu._loaded, gpu._shared_memory):
        known.cache_clear()


def test_the_driver_is_asked_for_the_right_things(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = story_model("llama-ternary")
    shape = Shape.of(model, 16, False)
    # Room for some of the packed weights only.
    shared = shape.scratch + 5000
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", emulated_driver(shape, shared))
    request = Request([""] * len(MIXED), MIXED, 1, 8, Sampling(), (), 3)
    machine = gpu.Gpu(device)
    assert list(run(model, request, batch_size=None, machine=machine)) == list(
        emulated(model, MIXED, limit=8)
    )
    kernel = machine.kernel(shape, 10**6)
    assert (kernel.blocks, kernel.resident) == (2, 4992)


def test_a_model_too_wide_for_the_device_and_a_failing_driver_are_said(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape.of(story_model("llama"), 8, False)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", emulated_driver(shape, shape.scratch - 1))
    with pytest.raises(InputError, match="bytes of shared memory for this model and the device has"):
        gpu.Gpu(device).kernel(shape, 0)
    gpu._shared_memory.cache_clear()
    driver = emulated_driver(shape, 10**6)
    driver.cuModuleGetFunction = lambda *_: (SimpleNamespace(value=500, name="CUDA_ERROR_NOT_FOUND"),)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", driver)
    with pytest.raises(InputError, match="driver failed with CUDA_ERROR_NOT_FOUND"):
        gpu.Gpu(device).kernel(shape, 0)


def test_a_driver_of_an_older_generation_and_a_model_that_never_fits_are_said(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = story_model("llama")
    driver = emulated_driver(Shape.of(model, 8, False), Shape.of(model, 8, False).scratch)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", driver)
    gpu.check_fits(model, device, int8=True)
    assert gpu.Gpu(device).shared_memory == Shape.of(model, 8, False).scratch
    gpu._shared_memory.cache_clear()
    driver.cuDeviceGetAttribute = lambda *_: (SimpleNamespace(value=0), 1000)
    with pytest.raises(InputError, match="bytes of shared memory for this model and the device has 1000"):
        gpu.check_fits(model, device, int8=False)
    driver.cuDriverGetVersion = lambda: (SimpleNamespace(value=0), 11_080)
    with pytest.raises(InputError, match=r"driver is of version 11\.8 .*install cuda-bindings<12"):
        gpu.check_device(device)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_stories_on_the_gpu_equal_the_emulated_kernels(kind: str) -> None:
    model = story_model(kind)
    expected = [story.tokens for story in emulated(model, MIXED, each=2)]
    network: Any = model.network
    network.to("cuda")
    found = sample(model, MIXED, n=2, max_new_tokens=20, seed=3, backend="cuda")
    same = [story.tokens == tokens for story, tokens in zip(found, expected, strict=True)]
    # Sums in another order may turn a draw, and an int8 activation of a ternary model.
    assert sum(same) >= 36


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["float32", "int8"])
def test_no_story_on_the_gpu_depends_on_its_neighbours(cache: Any) -> None:
    model = tinyalign.load("ternary", device="cuda")
    runs = [
        list(
            sample(
                model,
                ["Once upon a time", "The dog"],
                n=600,
                max_new_tokens=60,
                seed=1,
                backend="cuda",
                batch_size=size,
                cache=cache,
            )
        )
        # A block has 8 stories of the smaller batches, and 16 of the largest on up to 149 multiprocessors.
        for size in (None, 7, 64)
    ]
    assert runs[0] == runs[1] == runs[2]
    assert len({story.text for story in runs[0]}) > 900


@pytest.mark.gpu
def test_the_kernel_is_faster_than_static_caches() -> None:
    model = tinyalign.load("ternary", device="cuda")

    def seconds(backend: str) -> float:
        begun = time.perf_counter()
        stories = list(
            sample(model, "Once upon a time", n=2048, max_new_tokens=128, backend=backend, batch_size=2048)
        )
        assert len(stories) == 2048
        return time.perf_counter() - begun

    for backend in ("cuda", "static"):
        seconds(backend)
    assert seconds("cuda") < seconds("static")
