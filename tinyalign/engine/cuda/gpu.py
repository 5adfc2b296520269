"""A CUDA device through its driver: the compiled kernel loaded, its shared memory chosen, and launched."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinyalign.common.doctor import Check
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.cuda.compiling import check_architecture, check_compiler, compiled, nvrtc_version
from tinyalign.engine.cuda.layout import SMALLEST_BLOCK, Shape
from tinyalign.models import StoryModel


@dataclass(frozen=True)
class GpuKernel:
    """`machine.Kernel` on a GPU: `function` is the driver's handle of `ta_decode`."""

    function: Any
    module: Any
    device: torch.device
    blocks: int
    resident: int
    shape: Shape

    def launch(self, model: torch.Tensor, job: torch.Tensor, blocks: int) -> None:
        """Launch on torch's current stream and wait; raises `CheckpointError` where the device fails."""
        driver: Any = importlib.import_module("cuda.bindings.driver")
        stream = torch.cuda.current_stream(self.device)
        # The driver takes an array of the places where the arguments lie.
        values = np.array([model.data_ptr(), job.data_ptr()], dtype=np.uint64)
        places = values.ctypes.data + np.arange(2, dtype=np.uint64) * np.uint64(values.itemsize)
        with torch.cuda.device(self.device):
            # Makes the device's context current in a thread that has asked nothing of it yet.
            stream.query()
            _checked(
                driver.cuLaunchKernel(
                    self.function,
                    *(blocks, 1, 1),
                    *(32 * self.shape.stories, 1, 1),
                    self.shape.scratch + self.resident,
                    driver.CUstream(stream.cuda_stream),
                    places.ctypes.data,
                    0,
                )
            )
        try:
            stream.synchronize()
        except RuntimeError as error:
            raise CheckpointError(f"The CUDA kernel failed on {self.device}: {error}.") from error


def check_device(device: torch.device) -> None:
    """Raises `InputError` where the kernel cannot be compiled or `device` cannot run it."""
    check_compiler()
    if device.type != "cuda" or not torch.cuda.is_available():
        raise InputError(f"The CUDA backend needs a CUDA device, {device} is none: use another backend.")
    properties = torch.cuda.get_device_properties(device)
    check_architecture(properties.major * 10 + properties.minor)
    driver: Any = importlib.import_module("cuda.bindings.driver")
    (serves,) = _checked(driver.cuDriverGetVersion())
    generation, (major, minor) = serves // 1000, nvrtc_version()
    # A driver takes what any compiler of its generation made.
    if generation < major:
        raise InputError(
            f"The CUDA driver is of version {generation}.{serves % 1000 // 10} and NVRTC of {major}.{minor}: "
            f"install cuda-bindings<{generation + 1}, or use backend='static' or 'torch'."
        )


def check_fits(model: StoryModel, device: torch.device, *, int8: bool) -> None:
    """Raises `InputError` where the smallest blocks take more shared memory than `device` has for one."""
    _check_shared(Shape.of(model, SMALLEST_BLOCK, int8), _shared_memory(_index(device)))


def check() -> Check:
    """The line of `tinyalign doctor`."""
    try:
        check_device(torch.device("cuda"))
    except InputError as error:
        return Check("CUDA decoder", False, str(error))
    return Check("CUDA decoder", True, "Llama models on a GPU are sampled by it")


class Gpu:
    """`machine.Machine` for a CUDA device; raises `InputError` where there is none."""

    def __init__(self, device: torch.device) -> None:
        check_device(device)
        self.device = device
        self._properties = torch.cuda.get_device_properties(device)

    @property
    def processors(self) -> int:
        """Multiprocessors of the device."""
        return int(self._properties.multi_processor_count)

    @property
    def shared_memory(self) -> int:
        """Bytes of shared memory that a block may ask for."""
        return _shared_memory(_index(self.device))

    def free_memory(self) -> int:
        """Bytes that torch could still allocate."""
        # What torch holds without using it is free, too.
        held = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(torch.cuda.mem_get_info(self.device)[0]) + int(held)

    def kernel(self, shape: Shape, packed_bytes: int) -> GpuKernel:
        """Compile (or take from the cache) and load; as `machine.Machine.kernel`."""
        return _loaded(shape, packed_bytes, _index(self.device))


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def _check_shared(shape: Shape, most: int) -> None:
    if shape.scratch > most:
        raise InputError(
            f"The CUDA kernel needs {shape.scratch} bytes of shared memory for this model and the device "
            f"has {most}: use backend='static' or 'torch'."
        )


@functools.lru_cache(maxsize=16)
def _shared_memory(index: int) -> int:
    driver: Any = importlib.import_module("cuda.bindings.driver")
    torch.cuda.init()
    attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    (handle,) = _checked(driver.cuDeviceGet(index))
    (most,) = _checked(driver.cuDeviceGetAttribute(attribute, handle))
    return int(most)


@functools.lru_cache(maxsize=16)
def _loaded(shape: Shape, packed_bytes: int, index: int) -> GpuKernel:
    driver: Any = importlib.import_module("cuda.bindings.driver")
    device = torch.device("cuda", index)
    properties = torch.cuda.get_device_properties(device)
    most = _shared_memory(index)
    _check_shared(shape, most)
    code = compiled(shape.macros, properties.major * 10 + properties.minor)
    torch.cuda.init()
    with torch.cuda.device(device):
        # The driver's calls need the context that torch has made current by this.
        torch.cuda.synchronize(device)
        (module,) = _checked(driver.cuModuleLoadData(code))
        (function,) = _checked(driver.cuModuleGetFunction(module, b"ta_decode"))
        resident = min(packed_bytes, most - shape.scratch) // 16 * 16
        wanted = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _checked(driver.cuFuncSetAttribute(function, wanted, shape.scratch + resident))
        (each,) = _checked(
            driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                function, 32 * shape.stories, shape.scratch + resident
            )
        )
    blocks = max(1, int(each)) * int(properties.multi_processor_count)
    return GpuKernel(function, module, device, blocks, resident, shape)


def _checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a call of the driver gives, without its status; raises `InputError` where that is not success."""
    status, *rest = result
    if status.value:
        raise InputError(f"The CUDA driver failed with {status.name}: use backend='static' or 'torch'.")
    return tuple(rest)
