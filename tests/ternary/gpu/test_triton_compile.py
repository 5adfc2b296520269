"""The Triton kernels compile for GPUs that are not here, onto int8 tensor-core instructions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed (it comes for Linux only)")

from tests.ternary.gpu.compiling import compiled, compiled_quantizer

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("TRITON_INTERPRET")), reason="TRITON_INTERPRET is set: nothing would be compiled"
)

# Shared memory a program may take without asking for more, in bytes.
SHARED_MEMORY = 48 * 1024
# The instruction for tiles of 64 outputs (Triton 3.6 knows no int8 tcgen05); narrower ones take mma.sync.
WIDE = {80: {"mma.sync"}, 90: {"wgmma.mma_async"}, 100: {"tcgen05.mma", "mma.sync"}}
# Tokens, d_out, d_in, packing.
SMALL_BATCH = (16, 512, 2048, "2bit")
WIDE_TILES = {
    "few tokens": (64, 512, 192, "2bit"),
    "1bit": (64, 512, 192, "1bit"),
    "base3": (64, 512, 192, "base3"),
    "rows that share bytes": (512, 192, 499, "2bit"),
    "large": (4096, 2048, 2048, "2bit"),
}


@pytest.fixture(autouse=True)
def _nothing_from_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("capability", "packing"), [(80, "2bit"), (90, "2bit"), (90, "base3"), (100, "1bit")]
)
def test_the_product_with_a_vector_compiles(capability: int, packing: str) -> None:
    made = compiled(capability, 1, 192, 512, packing)
    assert made.cubin.startswith(b"\x7fELF")
    assert f".target sm_{capability}" in made.ptx
    assert not made.int8_products
    assert "atom" not in made.ptx
    assert "fma.rn" not in made.ptx
    assert made.spilled == 0


@pytest.mark.parametrize("capability", WIDE)
def test_small_batches_split_the_inputs(capability: int) -> None:
    made = compiled(capability, *SMALL_BATCH)
    assert made.cubin.startswith(b"\x7fELF")
    assert made.int8_products == {"mma.sync"}
    assert "red." in made.ptx or "atom." in made.ptx


@pytest.mark.parametrize(
    ("capability", "tile"),
    [
        *((90, tile) for tile in WIDE_TILES),
        (80, "few tokens"),
        (100, "few tokens"),
        (100, "large"),
    ],
)
def test_tiles_run_on_tensor_cores(capability: int, tile: str) -> None:
    made = compiled(capability, *WIDE_TILES[tile])
    assert made.cubin.startswith(b"\x7fELF")
    assert len(made.int8_products) == 1
    assert made.int8_products <= WIDE[capability]
    assert "fma.rn" not in made.ptx
    assert made.spilled == 0
    assert made.shared <= (2 * SHARED_MEMORY if tile == "large" else SHARED_MEMORY)


@pytest.mark.parametrize("capability", WIDE)
def test_quantising_rounds_every_operation(capability: int) -> None:
    made = compiled_quantizer(capability, 192)
    assert made.cubin.startswith(b"\x7fELF")
    # The division is a correctly rounded one, and no product is fused with the sum that rounds it.
    assert "div.rn.f32" in made.ptx
    assert "fma.rn" not in made.ptx
    assert made.spilled == 0
