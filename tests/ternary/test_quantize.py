"""Quantisers against numpy, their edges, and the exactness of the straight-through versions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.ternary import quantize as q

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
SEEDS = st.integers(0, 2**32)


def _matrix(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = 10.0 ** torch.randint(-3, 4, (), generator=generator)
    weight = torch.randn(shape, generator=generator) * spread
    # Half of the entries on a coarse grid, so that ties at half the mean do come up.
    coarse = torch.rand(shape, generator=generator) < 0.5
    return torch.where(coarse, (weight / spread).round() * spread, weight)


def _numpy_trits(weight: np.ndarray) -> tuple[np.ndarray, np.float32]:
    scale = np.float32(max(np.abs(weight.astype(np.float64)).mean(), np.float32(1e-5)))
    return np.clip(np.rint(weight / scale), -1, 1), scale


@given(SHAPES, SEEDS)
def test_absmean_equals_numpy(shape: tuple[int, int], seed: int) -> None:
    weight = _matrix(shape, seed)
    found = q.absmean(weight)
    trits, scale = _numpy_trits(weight.numpy())
    assert np.array_equal(found.trits.numpy(), trits)
    assert found.scale.item() == scale
    assert np.array_equal(found.weight.numpy(), trits.astype(np.float32) * scale)


@given(SHAPES, SEEDS)
def test_sign_equals_numpy(shape: tuple[int, int], seed: int) -> None:
    weight = _matrix(shape, seed)
    found = q.sign(weight)
    assert np.array_equal(found.trits.numpy(), np.where(weight.numpy() >= 0, 1, -1))
    assert found.scale.item() == _numpy_trits(weight.numpy())[1]
    assert q.sign(torch.tensor([[0.0, -0.0, -2.0]])).trits.tolist() == [[1, 1, -1]]


@given(st.tuples(st.integers(0, 4), st.integers(1, 40)), SEEDS)
def test_absmax_int8_equals_numpy(shape: tuple[int, int], seed: int) -> None:
    x = _matrix(shape, seed)
    found = q.absmax_int8(x)
    largest = np.maximum(np.abs(x.numpy()).max(axis=1, keepdims=True), np.float32(1e-5))
    # torch computes 127 / m as 127 * (1 / m), and so does BitNet in transformers.
    expected = np.rint(x.numpy() * (np.float32(127) * (np.float32(1) / largest)))
    assert np.array_equal(found.values.numpy(), expected)
    assert np.array_equal(found.scale.numpy(), largest / np.float32(127))
    assert found.values.abs().max() <= 127 if found.values.numel() else True


def test_half_rounds_to_even() -> None:
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]])
    assert q.absmax_int8(x).values.tolist() == [[127, 0, 2, 2, 0, -2]]
    # mean|W| is exactly 1 here, and the entries of +-0.5 lie exactly between 0 and +-1.
    assert q.absmean(torch.tensor([[0.5, -0.5, 1.5, -1.5]])).trits.tolist() == [[0, 0, 1, -1]]


def test_a_matrix_of_zeros_has_a_positive_scale() -> None:
    zeros = torch.zeros(3, 4)
    assert q.absmean(zeros).trits.count_nonzero() == 0
    assert q.absmean(zeros).scale.item() == np.float32(1e-5)
    assert q.from_levels(zeros).scale.item() == np.float32(1e-5)
    assert torch.equal(q.ste_weight(zeros, 1.58), zeros)
    assert q.sign(zeros).trits.unique().tolist() == [1]


@given(SHAPES, SEEDS, st.sampled_from([1.58, 1]))
def test_from_levels_recovers_exactly(shape: tuple[int, int], seed: int, bits: float) -> None:
    made = q.quantize_weight(_matrix(shape, seed), bits)
    again = q.from_levels(made.weight, bits)
    assert torch.equal(again.trits, made.trits)
    if made.trits.any():
        assert torch.equal(again.scale, made.scale)
    half = q.from_levels(made.weight.double(), bits)
    assert torch.equal(half.trits, made.trits)


def test_absmean_is_not_idempotent_and_from_levels_is() -> None:
    made = q.absmean(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))
    again = q.absmean(made.weight)
    assert torch.equal(again.trits, made.trits)
    assert again.scale < made.scale * 0.8


@pytest.mark.parametrize(
    ("weight", "bits", "message"),
    [
        ([[1.0, 0.5, -1.0]], 1.58, "levels -s, 0, s, found 3"),
        ([[1.0, 0.0, -1.0]], 1, "found zeros"),
        ([[1.0, float("nan")]], 1.58, "NaN or infinite"),
        ([[1.0, -1.0]], 2, "1.58"),
    ],
)
def test_from_levels_refuses(weight: list[list[float]], bits: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        q.from_levels(torch.tensor(weight), bits)


def test_from_levels_refuses_levels_that_float32_cannot_hold() -> None:
    with pytest.raises(InputError, match="float32"):
        q.from_levels(torch.tensor([[0.1, -0.1]], dtype=torch.float64))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("quantiser", [q.absmean, q.sign, q.from_levels])
def test_bad_weights_are_refused(quantiser, bad: float) -> None:
    weight = torch.ones(2, 3)
    weight[1, 2] = bad
    with pytest.raises(InputError, match="1 of 6 weights"):
        quantiser(weight)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("bits", [1.58, 1])
def test_bad_values_never_look_finite_in_training(bad: float, bits: float) -> None:
    weight = torch.ones(2, 3)
    weight[0, 0] = bad
    assert not torch.isfinite(q.ste_weight(weight, bits)).all()
    assert not torch.isfinite(q.ste_activation(weight)[0]).any()
    assert torch.isfinite(q.ste_activation(weight)[1]).all()
    assert not torch.isfinite(q.absmax_int8(weight).scale[0]).any()


@given(SHAPES, SEEDS, st.sampled_from([1.58, 1]))
def test_straight_through_weight(shape: tuple[int, int], seed: int, bits: float) -> None:
    weight = _matrix(shape, seed).requires_grad_()
    out = q.ste_weight(weight, bits)
    assert torch.equal(out, q.quantize_weight(weight.detach(), bits).weight)
    assert out.unique().numel() <= (2 if bits == 1 else 3)
    # A gradient that no rounding could reproduce by accident must come back bit for bit, clipping nothing.
    incoming = _matrix(shape, seed + 1)
    (grad,) = torch.autograd.grad(out, weight, incoming)
    assert torch.equal(grad, incoming)


@given(SHAPES, SEEDS)
def test_straight_through_activation(shape: tuple[int, int], seed: int) -> None:
    x = _matrix(shape, seed).requires_grad_()
    out = q.ste_activation(x)
    tokens = q.absmax_int8(x.detach())
    assert torch.equal(out, tokens.values * tokens.scale)
    incoming = _matrix(shape, seed + 1)
    (grad,) = torch.autograd.grad(out, x, incoming)
    assert torch.equal(grad, incoming)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_keeps_three_levels(dtype: torch.dtype) -> None:
    weight = torch.randn(32, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    out = q.ste_weight(weight, 1.58)
    assert out.dtype == dtype
    assert out.unique().numel() == 3
    assert q.ste_activation(weight).dtype == dtype


COMPILED = """
import torch
from tinyalign.ternary import ste_activation, ste_weight

def layer(x, weight, bits):
    return torch.nn.functional.linear(ste_activation(x), ste_weight(weight, bits))

generator = torch.Generator().manual_seed(2)
x, weight = (torch.randn(6, 5, generator=generator).requires_grad_() for _ in range(2))
for bits in (1.58, 1):
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x, weight, bits), layer(x, weight, bits))
    grads = [torch.autograd.grad(f(x, weight, bits).square().sum(), [x, weight]) for f in (compiled, layer)]
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))
"""


@pytest.mark.slow
def test_compiles_without_graph_breaks() -> None:
    # In a process of its own: the type checks that tests switch on are no part of what is compiled.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_quantized_checks_itself() -> None:
    trits = torch.tensor([[1, 0]], dtype=torch.int8)
    with pytest.raises(InputError, match="positive"):
        q.Quantized(trits, torch.tensor(0.0), 1.58)
    with pytest.raises(InputError, match="found 0"):
        q.Quantized(trits, torch.tensor(1.0), 1)
    with pytest.raises(InputError, match="from -2 to 1"):
        q.Quantized(torch.tensor([[1, -2]], dtype=torch.int8), torch.tensor(1.0), 1.58)
    assert q.Quantized(trits, torch.tensor(0.5), 1.58).to_json() == {
        "shape": [1, 2],
        "bits": 1.58,
        "scale": 0.5,
        "share_of_zeros": 0.5,
    }


def test_share_of_zeros() -> None:
    assert q.share_of_zeros(torch.tensor([[0, 1, -1, 0]], dtype=torch.int8)) == 0.5
    with pytest.raises(InputError, match="empty"):
        q.share_of_zeros(torch.zeros(0, 3, dtype=torch.int8))
