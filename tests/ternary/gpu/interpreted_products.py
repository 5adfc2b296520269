"""Run by `test_triton_interpreter` under TRITON_INTERPRET=1: the kernels' arithmetic, as numpy on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ternary.gpu.cases import SHAPES, activations, sums, trits
from tinyalign.common.errors import InputError
from tinyalign.ternary import TernaryLinear, absmax_int8, absmean, describe, gpu, using_kernel
from tinyalign.ternary.gpu import launch
from tinyalign.ternary.packing import PACKINGS, pack

KERNEL = "triton-interpreter"


def test_the_kernels_are_interpreted_here_and_only_when_forced() -> None:
    assert launch.interpreted()
    assert gpu.unavailable_in_interpreter() is None
    assert describe("cpu", "base3").kernel == "reference"
    assert describe("cpu", "2bit").passed_over[KERNEL].endswith("is preferred")
    with using_kernel(KERNEL):
        assert TernaryLinear.from_quantized(absmean(torch.randn(4, 8))).kernel == KERNEL


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_sums_are_exact(shape: tuple[int, int, int], packing: str) -> None:
    tokens, d_out, d_in = shape
    values, weights = activations(tokens, d_in, seed=1), trits(d_out, d_in, packing, seed=2)
    found, expected = sums(KERNEL, values, weights, packing, "cpu")
    assert torch.equal(found, expected)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 24), st.integers(1, 70), st.integers(1, 150), st.sampled_from(sorted(PACKINGS)), st.data()
)
def test_sums_of_any_shape_are_exact(tokens: int, d_out: int, d_in: int, packing: str, data) -> None:
    seed = data.draw(st.integers(0, 2**32))
    values, weights = activations(tokens, d_in, seed), trits(d_out, d_in, packing, seed + 1)
    found, expected = sums(KERNEL, values, weights, packing, "cpu")
    assert torch.equal(found, expected)


def test_sums_beyond_the_reference_stay_exact() -> None:
    values, weights = activations(1, 140_001, seed=3), trits(2, 140_001, "2bit", seed=4)
    found, expected = sums(KERNEL, values, weights, "2bit", "cpu")
    assert found.abs().max() > 2**24
    assert torch.equal(found, expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.sampled_from([1, 5, 31, 64, 500, 1100]), st.data())
def test_quantising_has_the_bits_of_torch(tokens: int, d_in: int, data) -> None:
    seed = data.draw(st.integers(0, 2**32))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, d_in, generator=generator) * 10.0 ** data.draw(st.integers(-9, 30))
    # Codes that end in a half, about which every rounding of a factor decides.
    largest = x.abs().amax(dim=1, keepdim=True)
    codes = torch.randint(0, 127, (tokens, d_in), generator=generator) + 0.5
    x = torch.where(torch.rand(tokens, d_in, generator=generator) < 0.8, codes / 127 * largest, x)
    x[0, 0] = data.draw(st.sampled_from([0.0, 1.0, float("nan"), float("inf"), -float("inf")]))
    x[-1, -1] = largest[-1, 0]
    found, expected = launch.quantize(x), absmax_int8(x)
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.scale.view(torch.int32), expected.scale.view(torch.int32))


# Both kernels with a bias and without, and a split, whose sums torch scales.
@pytest.mark.parametrize(
    ("shape", "bias"),
    [((2, 9, 90), True), ((7, 2, 31), False), ((2, 90), True), ((1, 31), False), ((1, 1100), True)],
)
def test_a_layer_has_the_bits_of_the_reference(shape: tuple[int, ...], bias: bool) -> None:
    made = absmean(torch.randn(40, shape[-1], generator=torch.Generator().manual_seed(0)))
    layer = TernaryLinear.from_quantized(made, torch.randn(40) if bias else None)
    x = torch.randn(*shape, requires_grad=True)
    with using_kernel("reference"):
        expected = layer(x)
    with using_kernel(KERNEL):
        found = layer(x)
    assert torch.equal(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected)]
    assert torch.equal(*gradients)
    rows = x.detach().view(-1, shape[-1])
    whole = launch.linear(rows, layer.packed, layer.shape, "2bit", layer.scale, layer.bias)
    assert torch.equal(whole, expected.detach().view(-1, 40))


def test_other_layouts_and_dtypes() -> None:
    layer = TernaryLinear.from_quantized(absmean(torch.randn(10, 24)), torch.randn(10))
    x = torch.randn(2, 3, 24)
    for given_x in (x.transpose(0, 1), x.expand(2, 2, 3, 24), x[:, :0], x.bfloat16(), x.double()):
        with using_kernel("reference"):
            expected = layer(given_x)
        with using_kernel(KERNEL):
            found = layer(given_x)
        assert found.dtype == given_x.dtype
        assert torch.equal(found, expected)


def test_a_bad_token_spoils_itself_only() -> None:
    layer = TernaryLinear.from_quantized(absmean(torch.randn(4, 8)))
    x = torch.randn(3, 8)
    x[1, 2], x[2, 0] = float("nan"), float("inf")
    y = launch.linear(x, layer.packed, layer.shape, "2bit", layer.scale, None)
    assert torch.isfinite(y[0]).all()
    assert not torch.isfinite(y[1:]).any()


def test_the_compiler_traces_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    values, packed = activations(2, 8, seed=0), pack(trits(4, 8, "2bit", seed=1), "2bit")
    found = gpu.matmul(values, packed, (4, 8), "2bit")
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    traced = gpu.matmul(values, packed, (4, 8), "2bit")
    assert (found.dtype, traced.dtype) == (torch.int32, torch.float32)
    assert torch.equal(found.float(), traced)


def test_a_trial_tells_wrong_numbers_failures_and_full_memory_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(error: Exception) -> Callable[..., NoReturn]:
        def fail(*_: object) -> NoReturn:
            raise error

        return fail

    assert launch.trial("cpu") is None
    with monkeypatch.context() as patched:
        patched.setattr(launch, "linear", lambda x, *_: torch.zeros(x.shape[0], 64))
        assert launch.trial("cpu") == (
            "a trial run gave wrong numbers for 1 tokens, 2048 inputs and 64 outputs in 2bit"
        )
    with monkeypatch.context() as patched:
        patched.setattr(launch, "matmul", failing(RuntimeError("\n no luck\nat all")))
        assert launch.trial("cpu") == "a trial run failed with RuntimeError: no luck"
    # Wherever memory runs out, in a kernel or in what it is compared with, kernels may work later.
    for place in ("matmul", "absmax_int8"):
        with monkeypatch.context() as patched:
            patched.setattr(launch, place, failing(torch.OutOfMemoryError("full")))
            with pytest.raises(InputError, match="The GPU has no memory left to try the Triton kernels"):
                launch.trial("cpu")
    assert launch.trial("cpu") is None


def test_bytes_that_do_not_fit_are_refused() -> None:
    packed = pack(trits(4, 8, "2bit", seed=0), "2bit")
    with pytest.raises(InputError, match="expected 9 bytes and 9 inputs"):
        launch.matmul(activations(2, 9, seed=0), packed, (4, 9), "2bit")
    with pytest.raises(InputError, match="7 inputs do not fit"):
        launch.matmul(activations(2, 7, seed=0), packed, (4, 8), "2bit")
