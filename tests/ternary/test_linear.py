"""`TernaryLinear`: exact arithmetic, gradients, memory, moves, copies and edits."""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.ternary import TernaryLinear, absmax_int8, absmean, sign, ste_activation, using_kernel

KINDS = [("2bit", 1.58), ("base3", 1.58), ("1bit", 1), ("2bit", 1)]


def _layer(
    d_in: int, d_out: int, packing: str = "2bit", bits: float = 1.58, *, bias: bool = True, seed: int = 0
) -> TernaryLinear:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(d_out, d_in, generator=generator)
    made = sign(weight) if bits == 1 else absmean(weight)
    offset = torch.randn(d_out, generator=generator) if bias else None
    return TernaryLinear.from_quantized(made, offset, packing=packing)


def _x(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 4


@pytest.mark.parametrize(("packing", "bits"), KINDS)
@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**32))
def test_forward_equals_integer_numpy(packing: str, bits: float, d_in: int, d_out: int, batch, seed) -> None:
    layer = _layer(d_in, d_out, packing, bits, seed=seed)
    x = _x(*batch, d_in, seed=seed + 1)
    tokens = absmax_int8(x)
    sums = tokens.values.numpy().astype(np.int64) @ layer.trits.numpy().astype(np.int64).T
    expected = sums.astype(np.float32) * (tokens.scale.numpy() * layer.scale.numpy())
    expected = expected + layer.bias.detach().numpy()
    assert np.array_equal(layer(x).detach().numpy(), expected)


def test_sums_stay_exact_at_the_largest_magnitudes() -> None:
    d_in = 40_000
    trits = torch.ones(2, d_in, dtype=torch.int8)
    trits[1, ::3] = -1
    made = absmean(trits.float())
    layer = TernaryLinear.from_quantized(made)
    x = torch.full((1, d_in), 127.0)
    x[0, ::7] = 126.0
    sums = x.numpy().astype(np.int64) @ trits.numpy().astype(np.int64).T
    assert np.array_equal(layer(x).numpy(), sums.astype(np.float32))


@pytest.mark.parametrize(("packing", "bits"), KINDS)
def test_weight_has_exactly_its_levels(packing: str, bits: float) -> None:
    layer = _layer(96, 48, packing, bits)
    scale = layer.scale.item()
    assert layer.weight.unique().tolist() == ([-scale, scale] if bits == 1 else [-scale, 0.0, scale])
    assert torch.equal(layer.weight, layer.quantized.weight)
    assert isinstance(layer, nn.Linear)
    assert [name for name, _ in layer.named_parameters()] == ["bias"]


@pytest.mark.parametrize(("packing", "bound"), [("2bit", 2.05), ("base3", 1.65), ("1bit", 1.05)])
@pytest.mark.parametrize(("d_out", "d_in"), [(384, 128), (128, 512), (172, 64)])
def test_memory_held(packing: str, bound: float, d_out: int, d_in: int) -> None:
    layer = _layer(d_in, d_out, packing, 1 if packing == "1bit" else 1.58, bias=False)
    assert layer.bits_per_weight <= bound
    held = sum(t.untyped_storage().nbytes() for t in [*layer.buffers(), *layer.parameters()])
    assert held == layer.packed_bytes
    layer(_x(3, d_in))
    # Nothing unpacked may stay behind: every tensor reachable from the layer is one of its buffers.
    assert not [value for value in vars(layer).values() if isinstance(value, torch.Tensor)]
    assert sum(t.untyped_storage().nbytes() for t in [*layer.buffers(), *layer.parameters()]) == held


@pytest.mark.parametrize("activation_bits", [8, None])
def test_gradients_are_straight_through(activation_bits: Literal[8] | None) -> None:
    layer = _layer(24, 10)
    layer.activation_bits = activation_bits
    assert layer.bias is not None
    layer.bias.requires_grad_()
    x, incoming = _x(2, 5, 24).requires_grad_(), _x(2, 5, 10, seed=2)
    grad_x, grad_bias = torch.autograd.grad(layer(x), [x, layer.bias], incoming)
    torch.testing.assert_close(grad_x, incoming @ layer.weight)
    torch.testing.assert_close(grad_bias, incoming.sum(dim=(0, 1)))
    # The same layer written with the training functions, which attribution would otherwise use.
    again = x if activation_bits is None else ste_activation(x)
    (other,) = torch.autograd.grad(nn.functional.linear(again, layer.weight, layer.bias), x, incoming)
    torch.testing.assert_close(grad_x, other)
    torch.testing.assert_close(
        layer(x), nn.functional.linear(layer.effective_input(x), layer.weight, layer.bias)
    )


def test_the_gradient_of_the_weights_inside_a_block() -> None:
    layer, x, incoming = _layer(24, 10), _x(2, 5, 24), _x(2, 5, 10, seed=2)
    exact = layer(x).detach()
    with layer.weight_leaf() as weight:
        assert layer.weight is weight
        y = layer(x)
        torch.testing.assert_close(y.detach(), exact)
        y.backward(incoming)
    expected = incoming.view(-1, 10).T @ ste_activation(x).view(-1, 24)
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, expected)
    assert layer.weight is not weight
    assert torch.equal(layer(x), exact)
    assert not [value for value in vars(layer).values() if isinstance(value, torch.Tensor)]


def test_gradient_of_a_gradient() -> None:
    layer = _layer(6, 4, bias=False)
    x = _x(3, 6).requires_grad_()
    (grad,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), x)
    # d/dx of 2 (y W) summed is 2 (1 W^T) W for a linear y.
    torch.testing.assert_close(second, 2 * (torch.ones(3, 6) @ layer.weight.T) @ layer.weight)


def test_backward_after_an_edit_is_refused() -> None:
    layer = _layer(6, 4)
    y = layer(_x(3, 6).requires_grad_())
    layer.set_trits(-layer.trits)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_moves_keep_the_trits(dtype: torch.dtype) -> None:
    layer = _layer(32, 16)
    packed, scale = layer.packed.clone(), layer.scale.clone()
    layer.to(dtype)
    assert (layer.packed.dtype, layer.scale.dtype) == (torch.uint8, torch.float32)
    assert layer.weight.dtype == dtype
    assert layer.weight.unique().numel() == 3
    assert layer(_x(2, 32).to(dtype)).dtype == dtype
    layer.float()
    assert torch.equal(layer.packed, packed)
    assert torch.equal(layer.scale, scale)
    assert layer.weight.dtype == torch.float32
    layer.type(torch.float16)
    assert layer.packed.dtype == torch.uint8
    assert layer.to("meta").packed.device.type == "meta"


def test_a_token_does_not_depend_on_its_batch() -> None:
    layer, x = _layer(300, 70), _x(33, 300)
    whole = layer(x)
    assert all(torch.equal(layer(x[i : i + 1])[0], whole[i]) for i in range(33))


def test_half_precision_agrees_with_float() -> None:
    layer, x = _layer(64, 32), _x(8, 64).half()
    expected = layer(x.float())
    assert torch.equal(copy.deepcopy(layer)(x), expected.half())


def test_autocast_does_not_round_the_sums() -> None:
    layer, x = _layer(600, 16, bias=False), _x(4, 600)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(x)
    assert torch.equal(inside, layer(x))


def test_copies_and_state_dict() -> None:
    layer = _layer(20, 7, "base3")
    twin = copy.deepcopy(layer)
    twin.set_trits(torch.zeros(7, 20, dtype=torch.int8))
    assert layer.trits.any()
    twin.load_state_dict(layer.state_dict())
    assert sorted(layer.state_dict()) == ["bias", "packed", "scale"]
    assert torch.equal(twin.trits, layer.trits)
    assert torch.equal(twin(_x(3, 20)), layer(_x(3, 20)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("packed", torch.full((28,), 250, dtype=torch.uint8), "no code of the base3"),
        ("packed", torch.zeros(35, dtype=torch.uint8), "need 28 bytes"),
        ("packed", torch.zeros(28), "of torch.float32"),
        ("scale", torch.tensor(float("nan")), "positive finite"),
        ("scale", torch.tensor(0.0), "positive finite"),
    ],
)
def test_damaged_state_is_refused(key: str, value: torch.Tensor, message: str) -> None:
    layer = _layer(20, 7, "base3")
    with pytest.raises(CheckpointError, match=message):
        layer.load_state_dict({**layer.state_dict(), key: value})


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32), st.sampled_from(KINDS))
def test_flip_is_undone_by_flip(d_in: int, d_out: int, seed: int, kind: tuple[str, float]) -> None:
    layer = _layer(d_in, d_out, *kind, seed=seed)
    before = layer.packed.clone()
    count = min(3, d_in * d_out)
    flat = torch.randperm(d_in * d_out, generator=torch.Generator().manual_seed(seed))[:count]
    rows, columns = flat // d_in, flat % d_in
    old = layer.trits
    returned = layer.flip(rows, columns, -old[rows, columns])
    assert torch.equal(returned, old[rows, columns])
    changed = old.clone()
    changed[rows, columns] *= -1
    assert torch.equal(layer.trits, changed)
    layer.flip(rows, columns, returned)
    assert torch.equal(layer.packed, before)


def test_edits_that_are_refused() -> None:
    layer = _layer(5, 3)
    one, two = torch.tensor([1]), torch.tensor([1, 1])
    with pytest.raises(InputError, match="outside the 3 x 5"):
        layer.flip(torch.tensor([3]), one, torch.tensor([1], dtype=torch.int8))
    with pytest.raises(InputError, match="named twice"):
        layer.flip(two, two, torch.tensor([1, 0], dtype=torch.int8))
    with pytest.raises(InputError, match="from -1 to 2"):
        layer.flip(one, one, torch.tensor([2], dtype=torch.int8))
    with pytest.raises(InputError, match=r"\[5, 3\], expected \[3, 5\]"):
        layer.set_trits(layer.trits.T)
    with pytest.raises(InputError, match="found 0"):
        _layer(5, 3, "1bit", 1).set_trits(torch.zeros(3, 5, dtype=torch.int8))
    for floats in (torch.zeros(3, 5), nn.Parameter(torch.zeros(3, 5))):
        with pytest.raises(InputError, match="use set_trits"):
            layer.weight = floats
    with pytest.raises(InputError, match="cannot be reset"):
        layer.reset_parameters()


def test_what_cannot_be_built() -> None:
    made = absmean(torch.tensor([[1.0, 0.1, -1.0]]))
    with pytest.raises(InputError, match=r"shape \[2\], expected \[1\]"):
        TernaryLinear.from_quantized(made, torch.zeros(2))
    with pytest.raises(InputError, match="found 0"):
        TernaryLinear.from_quantized(made, packing="1bit")
    with pytest.raises(InputError, match="no use"):
        TernaryLinear.from_quantized(absmean(torch.zeros(0, 4)))
    with pytest.raises(InputError, match="already"):
        TernaryLinear.from_linear(TernaryLinear.from_quantized(made), 1.58)
    broken = nn.Linear(4, 4)
    broken.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="1 of 16 weights"):
        TernaryLinear.from_linear(broken, 1.58)


def test_a_bad_token_spoils_itself_only() -> None:
    layer = _layer(8, 4)
    x = _x(3, 8)
    x[1, 2], x[2, 0] = float("nan"), float("inf")
    y = layer(x)
    assert torch.isfinite(y[0]).all()
    assert not torch.isfinite(y[1:]).any()
    with pytest.raises(InputError, match="has 7 features, the layer takes 8"):
        layer(_x(3, 7))


def test_from_linear_keeps_bias_dtype_and_mode() -> None:
    linear = nn.Linear(6, 4, dtype=torch.bfloat16).eval()
    layer = TernaryLinear.from_linear(linear, 1, packing="2bit")
    assert (layer.bits, layer.packing, layer.training) == (1, "2bit", False)
    assert layer.kernel in ("cpu", "reference")
    assert layer.weight.dtype == torch.bfloat16
    assert torch.equal(layer.bias, linear.bias)
    assert "bits=1, packing=2bit" in repr(layer)
    with using_kernel("reference"):
        assert layer.kernel == "reference"
