"""Weights to trits or signs, activations to int8, and the same with straight-through gradients.

Sources: BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764, section 2) for `absmean` and the activations,
BitNet (Wang et al. 2023, arXiv:2310.11453) for `sign`, Bengio et al. 2013 (arXiv:1308.3432) for the
straight-through estimator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from tinyalign.common.errors import InputError

# 1.58 (ternary) or 1 (binary); `Literal` takes no floats, so `check_bits` guards it.
Bits: TypeAlias = int | float

# BitNet's guard: a matrix of zeros gets this scale and not 0, a token of zeros this maximum.
SMALLEST_SCALE = 1e-5


@dataclass(frozen=True)
class Quantized:
    """A matrix of two or three levels: `trits * scale`.

    `trits` [d_out, d_in] is int8 in {-1, 0, 1} (never 0 where `bits` is 1), `scale` a positive float32 of
    shape []. Raises `InputError` when an entry or the scale breaks this.
    """

    trits: Int8[Tensor, "d_out d_in"]
    scale: Float[Tensor, ""]
    bits: Bits

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if self.scale.dtype != torch.float32 or not bool(torch.isfinite(self.scale) & (self.scale > 0)):
            raise InputError(
                f"The scale of a quantised matrix is {self.scale.item()} ({self.scale.dtype}), expected a "
                "positive finite float32: check the float weights it came from."
            )
        check_trits(self.trits, self.bits)

    @property
    def weight(self) -> Float[Tensor, "d_out d_in"]:
        """The float32 matrix [d_out, d_in]: exactly -scale, 0 and scale (two levels where `bits` is 1)."""
        return self.trits * self.scale

    def to_json(self) -> dict[str, Any]:
        """Shape, bits, scale and share of zeros; the trits themselves are left out."""
        return {
            "shape": list(self.trits.shape),
            "bits": self.bits,
            "scale": self.scale.item(),
            "share_of_zeros": share_of_zeros(self.trits) if self.trits.numel() else None,
        }


@dataclass(frozen=True)
class QuantizedTokens:
    """Activations as `values * scale`: `values` int8 [..., d], `scale` positive float32 [..., 1]."""

    values: Int8[Tensor, "*tokens d"]
    scale: Float[Tensor, "*tokens 1"]


def absmean(weight: Float[Tensor, "d_out d_in"]) -> Quantized:
    """Ternary quantiser of BitNet b1.58: `clamp(round(W / s), -1, 1)` with `s = max(mean|W|, 1e-5)`.

    Half rounds to even, so an entry of exactly `s / 2` becomes 0. Not idempotent: the mean of a ternary
    matrix is `s` times its density; read such a matrix with `from_levels`. Raises `InputError` on NaN or
    infinite weights.
    """
    _check_finite(weight)
    scale = _absolute_mean(weight)
    return Quantized(_nearest_trits(weight.detach().float(), scale).to(torch.int8), scale, 1.58)


def sign(weight: Float[Tensor, "d_out d_in"]) -> Quantized:
    """1-bit quantiser: `sign(W)` with zero mapped to +1, and scale `max(mean|W|, 1e-5)`.

    Raises `InputError` on NaN or infinite weights.
    """
    _check_finite(weight)
    return Quantized(_signs(weight.detach().float()).to(torch.int8), _absolute_mean(weight), 1)


def quantize_weight(weight: Float[Tensor, "d_out d_in"], bits: Bits) -> Quantized:
    """`absmean` for 1.58 bits, `sign` for 1; raises `InputError` on any other `bits`."""
    check_bits(bits)
    return sign(weight) if bits == 1 else absmean(weight)


def from_levels(weight: Float[Tensor, "d_out d_in"], bits: Bits = 1.58) -> Quantized:
    """Trits and scale of a float matrix that already has the levels -s, 0, s, recovered exactly.

    `from_levels(q.weight)` equals `q` bit for bit, except that a matrix of zeros says nothing of its
    scale and gets 1e-5, as `absmean` gives it. With `bits=1` zeros are refused. Raises `InputError` when
    the matrix has other levels: it is a float matrix, to be quantised with `absmean` or `sign`.
    """
    check_bits(bits)
    _check_finite(weight)
    exact = weight.detach().float()
    if not torch.equal(exact.to(weight.dtype), weight):
        raise InputError(f"The levels of a {weight.dtype} matrix do not fit float32: convert it first.")
    magnitudes = exact.abs()
    scale = magnitudes.max() if exact.numel() else exact.new_tensor(0.0)
    if not bool(((magnitudes == scale) | (magnitudes == 0)).all()):
        found = torch.unique(exact)
        raise InputError(
            f"Expected a matrix with the levels -s, 0, s, found {found.numel()} different values: "
            "quantise it with absmean (ternary) or sign (1-bit)."
        )
    if bits == 1 and bool((magnitudes == 0).any()):
        raise InputError("Expected a matrix with the levels -s and s, found zeros: read it with bits=1.58.")
    trits = exact.sign().to(torch.int8)
    return Quantized(trits, torch.where(scale > 0, scale, exact.new_tensor(SMALLEST_SCALE)), bits)


def absmax_int8(x: Float[Tensor, "*tokens d"]) -> QuantizedTokens:
    """Per-token int8: `round(x * 127 / m)` with `m = max(max|x|, 1e-5)` over the last axis, scale `m / 127`.

    Half rounds to even. A token with NaN or infinity keeps a scale that is NaN or infinite, so that what
    is computed from it is not finite either.
    """
    largest = _largest(x)
    values = _rounded(x, largest).nan_to_num_(nan=0.0).to(torch.int8)
    return QuantizedTokens(values, largest / 127.0)


def ste_weight(weight: Float[Tensor, "d_out d_in"], bits: Bits) -> Float[Tensor, "d_out d_in"]:
    """The quantised matrix `q * s` in `weight`'s dtype, with a straight-through gradient.

    Forward: exactly the levels of `absmean` (1.58) or `sign` (1). Backward: the incoming gradient
    unchanged for every entry (identity, no clipping); the scale counts as a constant. Non-finite weights
    give NaN or infinity, not an error, so that nothing waits for the device.
    """
    check_bits(bits)
    return _SignStraightThrough.apply(weight) if bits == 1 else _TernaryStraightThrough.apply(weight)


def ste_activation(x: Float[Tensor, "*tokens d"]) -> Float[Tensor, "*tokens d"]:
    """The int8-quantised activations `q * s` of `absmax_int8`, in `x`'s dtype, with gradient identity.

    The per-token scale counts as a constant.
    """
    return _Int8StraightThrough.apply(x)


def share_of_zeros(trits: Int8[Tensor, "*shape"]) -> float:
    """Share of zeros among the trits, in [0, 1]; raises `InputError` on an empty tensor."""
    if trits.numel() == 0:
        raise InputError("The share of zeros of an empty matrix is undefined: give at least one trit.")
    return 1.0 - torch.count_nonzero(trits).item() / trits.numel()


def check_bits(bits: Bits) -> None:
    """Raises `InputError` unless `bits` is 1.58 or 1."""
    if bits not in (1, 1.58):
        raise InputError(f"Weights of {bits} bits were asked for, known are 1.58 (ternary) and 1 (binary).")


def check_trits(trits: Int8[Tensor, "*shape"], bits: Bits = 1.58) -> None:
    """Raises `InputError` unless every entry is -1, 0 or 1 (-1 or 1 where `bits` is 1)."""
    if trits.numel() == 0:
        return
    low, high = (int(v) for v in torch.aminmax(trits))
    if low < -1 or high > 1:
        raise InputError(f"Trits must be -1, 0 or 1, found values from {low} to {high}.")
    if bits == 1 and bool((trits == 0).any()):
        raise InputError("1-bit weights must be -1 or 1, found 0: use bits=1.58 for a matrix with zeros.")


class _TernaryStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        scale = _absolute_mean(weight)
        return (_nearest_trits(weight.float(), scale) * scale).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


class _SignStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return (_signs(weight.float()) * _absolute_mean(weight)).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


class _Int8StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        largest = _largest(x)
        return _rounded(x, largest).mul_(largest / 127.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


def _absolute_mean(weight: Tensor) -> Tensor:
    # Summed in float64: the float32 result then hardly depends on the order of summation, so a compiled
    # training step and a later export find the same scale.
    if weight.numel() == 0:
        return torch.full((), SMALLEST_SCALE, device=weight.device)
    return weight.detach().abs().mean(dtype=torch.float64).float().clamp(min=SMALLEST_SCALE)


def _nearest_trits(weight: Tensor, scale: Tensor) -> Tensor:
    # Equal to clamp(round(weight / scale), -1, 1), and gives no negative zeros.
    return (weight / scale).round_().sign_()


def _signs(weight: Tensor) -> Tensor:
    return (weight >= 0).to(weight.dtype).mul_(2).sub_(1)


def _largest(x: Tensor) -> Tensor:
    return x.detach().float().abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST_SCALE)


def _rounded(x: Tensor, largest: Tensor) -> Tensor:
    # No clamp: |x| <= largest, and 127 (1 + a rounding error or two) still rounds to 127.
    return (x.detach().float() * (127.0 / largest)).round_()


def _check_finite(weight: Tensor) -> None:
    if not bool(torch.isfinite(weight).all()):
        bad = int((~torch.isfinite(weight)).sum())
        raise InputError(
            f"{bad} of {weight.numel()} weights of a {list(weight.shape)} matrix are NaN or infinite: "
            "the checkpoint is damaged or its training diverged."
        )
