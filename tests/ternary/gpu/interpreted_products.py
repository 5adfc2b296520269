"""Run by `test_triton_interpreter` under TRITON_INTERPRET=1: the kernels' arithmetic, as numpy on the CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ternary.gpu.cases import SHAPES, activations, sums, trits
from tinyalign.common.errors import InputError
from tinyalign.ternary import TernaryLinear, absmean, describe, gpu, using_kernel
from tinyalign.ternary.gpu import launch
from tinyalign.ternary.gpu.plan import plan
from tinyalign.ternary.packing import PACKINGS, pack

KERNEL = "triton-interpreter"


def test_the_kernels_are_interpreted_here_and_only_when_forced() -> None:
    assert launch.interpreted()
    assert gpu.unavailable_in_interpreter() is None
    assert describe("cpu", "2bit").kernel == "reference"
    assert describe("cpu", "2bit").passed_over[KERNEL] == "reference is preferred"
    with using_kernel(KERNEL):
        assert TernaryLinear.from_quantized(absmean(torch.randn(4, 8))).kernel == KERNEL


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_sums_are_exact(shape: tuple[int, int, int], packing: str) -> None:
    tokens, d_out, d_in = shape
    values, weights = activations(tokens, d_in, seed=1), trits(d_out, d_in, packing, seed=2)
    found, expected = sums(KERNEL, values, weights, packing, "cpu")
    assert torch.equal(found, expected)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 24), st.integers(1, 70), st.integers(1, 150), st.sampled_from(sorted(PACKINGS)), st.data()
)
def test_sums_of_any_shape_are_exact(tokens: int, d_out: int, d_in: int, packing: str, data) -> None:
    seed = data.draw(st.integers(0, 2**32))
    values, weights = activations(tokens, d_in, seed), trits(d_out, d_in, packing, seed + 1)
    found, expected = sums(KERNEL, values, weights, packing, "cpu")
    assert torch.equal(found, expected)


def test_the_large_tile_is_exact() -> None:
    assert plan(2050, 2048, 36, True).block_tokens == 128
    values, weights = activations(2050, 36, seed=1), trits(2048, 36, "2bit", seed=2)
    found, expected = sums(KERNEL, values, weights, "2bit", "cpu")
    assert torch.equal(found, expected)


def test_sums_beyond_the_reference_stay_exact() -> None:
    values, weights = activations(1, 140_001, seed=3), trits(2, 140_001, "2bit", seed=4)
    found, expected = sums(KERNEL, values, weights, "2bit", "cpu")
    assert found.abs().max() > 2**24
    assert torch.equal(found, expected)


def test_a_layer_equals_the_reference_bit_for_bit() -> None:
    made = absmean(torch.randn(70, 90, generator=torch.Generator().manual_seed(0)))
    layer = TernaryLinear.from_quantized(made, torch.randn(70))
    x = torch.randn(2, 9, 90, requires_grad=True)
    expected = layer(x)
    with using_kernel(KERNEL):
        found = layer(x)
    assert torch.equal(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected)]
    assert torch.equal(*gradients)
    with using_kernel(KERNEL):
        assert layer(x[:, :0]).shape == (2, 0, 70)
        assert torch.equal(layer(x.transpose(0, 1)), expected.transpose(0, 1))


def test_bytes_that_do_not_fit_are_refused() -> None:
    packed = pack(trits(4, 8, "2bit", seed=0), "2bit")
    with pytest.raises(InputError, match="expected 9 bytes and 9 inputs"):
        launch.matmul(activations(2, 9, seed=0), packed, (4, 9), "2bit")
    with pytest.raises(InputError, match="7 inputs do not fit"):
        launch.matmul(activations(2, 7, seed=0), packed, (4, 8), "2bit")
