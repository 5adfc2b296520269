"""Products that a Triton kernel must get right, with sums from numpy's int64 to compare with."""

from __future__ import annotations

import numpy as np
import torch

from tinyalign.ternary import dispatch, reference, using_kernel
from tinyalign.ternary.packing import PACKINGS, pack

# Tokens, d_out, d_in: every tile of the table, splits, rows that share bytes, and sides of one.
SHAPES = [
    (1, 1, 1),
    (1, 3, 5),
    (2, 7, 31),
    (4, 20, 64),
    (1, 40, 500),
    (1, 9, 2500),
    (2, 10, 1111),
    (5, 1, 192),
    (5, 20, 31),
    (16, 33, 64),
    (7, 40, 1037),
    (16, 36, 1600),
    (17, 1, 1),
    (17, 65, 31),
    (17, 66, 192),
    (33, 66, 260),
    (130, 66, 100),
]


def trits(d_out: int, d_in: int, packing: str, seed: int) -> torch.Tensor:
    """Random trits int8 [d_out, d_in]; the first row is all 1 and the last all -1."""
    generator = torch.Generator().manual_seed(seed)
    if PACKINGS[packing].holds_zero:
        made = torch.randint(-1, 2, (d_out, d_in), generator=generator)
    else:
        made = torch.randint(0, 2, (d_out, d_in), generator=generator) * 2 - 1
    made[0], made[-1] = 1, -1
    return made.to(torch.int8)


def activations(tokens: int, d_in: int, seed: int) -> torch.Tensor:
    """Random int8 [tokens, d_in] of the whole range; the first token is all -128, the last all 127."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(-128, 128, (tokens, d_in), generator=generator)
    made[0], made[-1] = -128, 127
    return made.to(torch.int8)


def sums(
    kernel: str, values: torch.Tensor, weights: torch.Tensor, packing: str, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sums [tokens, d_out] by the named kernel through dispatch, and numpy's, both int64 on the CPU."""
    shape = (weights.shape[0], weights.shape[1])
    packed = pack(weights, packing).to(device)
    # What the allocator will hand out next holds garbage, so that an output left unwritten shows.
    torch.full((values.shape[0], shape[0]), -77, dtype=torch.int32, device=device)
    with using_kernel(kernel):
        found = dispatch.choose(torch.device(device).type, packing).matmul(
            values.to(device), packed, shape, packing
        )
    assert found.dtype == torch.int32
    expected = values.numpy().astype(np.int64) @ weights.numpy().astype(np.int64).T
    if shape[1] <= reference.LARGEST_D_IN:
        same = reference.matmul(values, packed.cpu(), shape, packing)
        assert np.array_equal(same.numpy(), expected.astype(np.float32))
    return found.cpu().long(), torch.from_numpy(expected)
