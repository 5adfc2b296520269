"""What the backend asks of a machine that runs the kernel; a GPU in use, an emulated one in tests."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from tinyalign.engine.cuda.layout import Shape


@runtime_checkable
class Kernel(Protocol):
    """The kernel, compiled for a shape."""

    @property
    def blocks(self) -> int:
        """How many blocks run at once."""
        ...

    @property
    def resident(self) -> int:
        """Bytes of packed weights for which a block has shared memory left."""
        ...

    def launch(self, model: torch.Tensor, job: torch.Tensor, blocks: int) -> None:
        """Run `blocks` blocks on the structures `Model` and `Job` and wait for the end.

        Raises `CheckpointError` where the device fails.
        """
        ...


@runtime_checkable
class Machine(Protocol):
    """A device."""

    @property
    def processors(self) -> int:
        """Multiprocessors."""
        ...

    @property
    def shared_memory(self) -> int:
        """Bytes of shared memory that a block may have."""
        ...

    def free_memory(self) -> int:
        """Bytes that can be allocated."""
        ...

    def kernel(self, shape: Shape, packed_bytes: int) -> Kernel:
        """The kernel for a shape and so many bytes of packed weights.

        Raises `InputError` where it cannot run.
        """
        ...
