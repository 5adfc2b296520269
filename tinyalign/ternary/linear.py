"""`TernaryLinear`: a linear layer that holds packed trits and one scale, and nothing in floats but a bias."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int8, Integer
from torch import Tensor, nn
from torch.autograd import forward_ad

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.ternary import dispatch
from tinyalign.ternary.packing import check_packed, default_packing, pack, packing_named, unpack, unpack_float
from tinyalign.ternary.quantize import (
    Bits,
    Quantized,
    absmax_int8,
    check_trits,
    quantize_weight,
    ste_activation,
)

ActivationBits = Literal[8] | None


class TernaryLinear(nn.Linear):
    """`y = x W^T + b` with W = trits * scale (BitNet b1.58), or signs * scale where `bits` is 1.

    Buffers: `packed` (uint8 [bytes]), `scale` (float32 [], whatever the module's dtype). With
    `activation_bits=8` the input is quantised to int8 a token and the sums are exact integers:
    `y = (values @ trits^T) * (scale_x * scale) + b`; with None the input stays float. The gradient with
    respect to the input is straight-through, `dy W`; the weights have none. It is an `nn.Linear` because
    TransformerLens chooses weight layouts by that type.

    Built by `from_quantized` or `from_linear`. The constructor raises `InputError` where the bias does
    not fit or the packing cannot hold the trits.
    """

    packed: Tensor
    scale: Tensor

    def __init__(
        self,
        quantized: Quantized,
        bias: Tensor | None = None,
        *,
        packing: str | None = None,
        activation_bits: ActivationBits = 8,
        dtype: torch.dtype | None = None,
    ) -> None:
        # nn.Linear's own constructor would make a float weight.
        nn.Module.__init__(self)
        self.out_features, self.in_features = quantized.trits.shape
        if quantized.trits.numel() == 0:
            raise InputError(f"A layer of {self.out_features} x {self.in_features} weights has no use.")
        if bias is not None and bias.shape != (self.out_features,):
            raise InputError(
                f"The bias has the shape {list(bias.shape)}, expected [{self.out_features}]: "
                "give one number an output."
            )
        if activation_bits not in (8, None):
            raise InputError(f"Activations of {activation_bits} bits were asked for, known are 8 and None.")
        self.bits: Bits = quantized.bits
        self.packing = default_packing(quantized.bits) if packing is None else packing_named(packing).name
        self.activation_bits: ActivationBits = activation_bits
        self.weight_dtype = dtype or (torch.float32 if bias is None else bias.dtype)
        self._leaf: Tensor | None = None
        self.register_buffer("packed", pack(quantized.trits, self.packing))
        self.register_buffer("scale", quantized.scale.detach().clone())
        self.register_parameter("bias", None)
        if bias is not None:
            self.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)

    @classmethod
    def from_quantized(
        cls,
        quantized: Quantized,
        bias: Tensor | None = None,
        *,
        packing: str | None = None,
        activation_bits: ActivationBits = 8,
        dtype: torch.dtype | None = None,
    ) -> TernaryLinear:
        """A layer of these trits; `packing` defaults to `2bit` or, for 1-bit trits, `1bit`."""
        return cls(quantized, bias, packing=packing, activation_bits=activation_bits, dtype=dtype)

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, bits: Bits, *, packing: str | None = None, activation_bits: ActivationBits = 8
    ) -> TernaryLinear:
        """Quantise a float layer by `absmean` (1.58) or `sign` (1), keeping bias, dtype and mode.

        Raises `InputError` on NaN or infinite weights and on a layer that is ternary already.
        """
        if isinstance(linear, TernaryLinear):
            raise InputError("The layer is ternary already, and quantising it again would change its scale.")
        layer = cls(
            quantize_weight(linear.weight, bits),
            linear.bias,
            packing=packing,
            activation_bits=activation_bits,
            dtype=linear.weight.dtype,
        )
        return layer.train(linear.training)

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.out_features, self.in_features

    @property
    def trits(self) -> Int8[Tensor, "d_out d_in"]:
        """A new int8 tensor [d_out, d_in] of -1, 0, 1; raises `CheckpointError` on bad bytes."""
        return unpack(self.packed, self.shape, self.packing)

    def _effective_weight(self) -> Float[Tensor, "d_out d_in"]:
        """A new float matrix [d_out, d_in], `trits * scale` in the module's dtype: three levels, or two."""
        if self._leaf is not None:
            return self._leaf
        return _dequantized(self.packed, self.scale, self.shape, self.packing).to(self.weight_dtype)

    # A property where nn.Linear declares a tensor: the cast keeps the declared type for readers.
    weight = cast(Tensor, property(_effective_weight))

    @property
    def quantized(self) -> Quantized:
        """The trits and the scale."""
        return Quantized(self.trits, self.scale.detach().clone(), self.bits)

    @property
    def kernel(self) -> str:
        """Name of the kernel that would run now (see `dispatch.describe`)."""
        return dispatch.choose(self.packed.device.type, self.packing).name

    @property
    def packed_bytes(self) -> int:
        """Bytes that the weights take in memory: the storages of `packed` and `scale`, measured."""
        return self.packed.untyped_storage().nbytes() + self.scale.untyped_storage().nbytes()

    @property
    def bits_per_weight(self) -> float:
        """`packed_bytes` in bits, divided by the number of weights."""
        return 8.0 * self.packed_bytes / (self.out_features * self.in_features)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            raise InputError(
                "The weight of a ternary layer cannot be set as floats: use set_trits, or flip for a few "
                "entries, or build a layer with TernaryLinear.from_linear."
            )
        super().__setattr__(name, value)

    def reset_parameters(self) -> None:
        """Raises `InputError`: packed trits are never initialised at random in place."""
        raise InputError("A ternary layer cannot be reset: build it from a fresh linear with from_linear.")

    @torch.no_grad()
    def set_trits(self, trits: Int8[Tensor, "d_out d_in"]) -> None:
        """Write all trits in place; the scale stays. Raises `InputError` on other shapes or values."""
        if tuple(trits.shape) != self.shape:
            raise InputError(
                f"The trits have the shape {list(trits.shape)}, expected {list(self.shape)}: "
                "give [d_out, d_in]."
            )
        check_trits(trits, self.bits)
        self.packed.copy_(pack(trits.to(self.packed.device), self.packing))

    def flip(
        self,
        rows: Integer[Tensor, " k"],
        columns: Integer[Tensor, " k"],
        trits: Int8[Tensor, " k"],
    ) -> Int8[Tensor, " k"]:
        """Set k single trits in place and return what stood there, so that the same call undoes it.

        Raises `InputError` on an index outside the matrix, an entry named twice, or a value that is no trit.
        """
        d_out, d_in = self.shape
        inside = (rows >= 0) & (rows < d_out) & (columns >= 0) & (columns < d_in)
        if not bool(inside.all()):
            raise InputError(
                f"{int((~inside).sum())} of the entries lie outside the {d_out} x {d_in} matrix."
            )
        if torch.unique(rows.long() * d_in + columns.long()).numel() != rows.numel():
            raise InputError("An entry is named twice in one flip: give each entry once.")
        current = self.trits
        where = (rows.long().to(current.device), columns.long().to(current.device))
        before = current[where]
        current[where] = trits.to(current.device)
        self.set_trits(current)
        return before

    @contextlib.contextmanager
    def weight_leaf(self) -> Iterator[Float[Tensor, "d_out d_in"]]:
        """Inside the block `weight` is one float tensor that takes gradients, and `forward` multiplies by it.

        For ranking trits by the gradient of a loss with respect to the effective weights [d_out, d_in]. The
        product is then a float one (equal up to rounding), and the float matrix is freed with the block.
        """
        outer, self._leaf = self._leaf, self.weight.detach().requires_grad_()
        try:
            yield self._leaf
        finally:
            self._leaf = outer

    def effective_input(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_in"]:
        """The input that the product sees, in floats: int8-quantised a token, with gradient identity.

        For code that multiplies by `weight` itself (per-head results) and must agree with `forward`.
        """
        return x if self.activation_bits is None else ste_activation(x)

    def forward(self, input: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_out"]:
        """y [..., d_out] in the dtype of the input; raises `InputError` where the last axis is not d_in."""
        if input.shape[-1] != self.in_features:
            raise InputError(f"The input has {input.shape[-1]} features, the layer takes {self.in_features}.")
        if self.activation_bits is None or self._leaf is not None:
            bias = None if self.bias is None else self.bias.to(input.dtype)
            return nn.functional.linear(self.effective_input(input), self.weight.to(input.dtype), bias)
        arguments = (input, self.packed, self.scale, self.bias, self.shape, self.packing)
        if torch.is_grad_enabled() or forward_ad.unpack_dual(input).tangent is not None:
            return _Int8Linear.apply(*arguments)
        # Bookkeeping for gradients would take longer than a product with few tokens.
        return _int8_product(*arguments)

    def extra_repr(self) -> str:
        """Sizes, bits, packing and activation bits."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, bits={self.bits}, packing={self.packing}, "
            f"activation_bits={self.activation_bits}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TernaryLinear:
        # `.half()` and `.to(dtype)` reach every float buffer, `.type(dtype)` even the packed bytes: both
        # buffers only ever change device, and the dtype asked for becomes that of `weight`.
        packed, scale = self.packed, self.scale
        super()._apply(fn, recurse)
        self.weight_dtype = fn(torch.empty(0, dtype=self.weight_dtype, device=scale.device)).dtype
        if self.packed.dtype != torch.uint8:
            self.packed = packed.to(self.packed.device)
        if self.scale.dtype != torch.float32:
            self.scale = scale.to(self.scale.device)
        return self

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        packed, scale = state_dict.get(f"{prefix}packed"), state_dict.get(f"{prefix}scale")
        if packed is not None:
            check_packed(packed, self.shape, self.packing)
        if scale is not None and not bool(torch.isfinite(scale).all() & (scale > 0).all()):
            raise CheckpointError(
                f"The scale of {prefix.rstrip('.') or 'the layer'} is {scale.tolist()}, expected a positive "
                "finite number: the checkpoint is damaged."
            )
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _dequantized(packed: Tensor, scale: Tensor, shape: tuple[int, int], packing: str) -> Tensor:
    return unpack_float(packed, shape, packing) * scale


def _int8_product(
    x: Tensor, packed: Tensor, scale: Tensor, bias: Tensor | None, shape: tuple[int, int], packing: str
) -> Tensor:
    rows = x if x.dim() == 2 else x.reshape(-1, shape[1])
    kernel = dispatch.choose(x.device.type, packing)
    floats = x.dtype == torch.float32 and (bias is None or bias.dtype == torch.float32)
    if kernel.linear is not None and floats:
        y = kernel.linear(rows, packed, shape, packing, scale, bias)
    else:
        tokens = absmax_int8(rows)
        y = kernel.matmul(tokens.values, packed, shape, packing).float().mul_(tokens.scale * scale)
        if bias is not None:
            y.add_(bias)
        y = y.to(x.dtype)
    return y if x.dim() == 2 else y.view(*x.shape[:-1], shape[0])


class _Int8Linear(torch.autograd.Function):
    """The exact integer product; backward multiplies by the float weight, unpacked again."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        packed: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        shape: tuple[int, int],
        packing: str,
    ) -> Tensor:
        # Saved as tensors, so that torch refuses a backward after the trits were changed in place.
        ctx.save_for_backward(packed, scale)
        ctx.shape, ctx.packing, ctx.dtype = shape, packing, x.dtype
        ctx.bias_dtype = None if bias is None else bias.dtype
        return _int8_product(x, packed, scale, bias, shape, packing)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        packed, scale = ctx.saved_tensors
        grad = grad_outputs[0].float()
        grad_x = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ _dequantized(packed, scale, ctx.shape, ctx.packing)).to(ctx.dtype)
        if ctx.needs_input_grad[3]:
            grad_bias = grad.reshape(-1, ctx.shape[0]).sum(dim=0).to(ctx.bias_dtype)
        return grad_x, None, None, grad_bias, None, None
