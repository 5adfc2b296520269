"""The contestants of the linear microbenchmark: ours in every packing and kernel, floats, and peers."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tinyalign.engine.static.graphs import capture
from tinyalign.ternary import (
    PACKINGS,
    Quantized,
    TernaryLinear,
    absmax_int8,
    absmean,
    kernels,
    sign,
    using_kernel,
)

# Runs its layer on the input and leaves the product [rows, d_out] in the output given.
Forward = Callable[[torch.Tensor, torch.Tensor], None]

# Peers round weights or activations their own way, so that their products are near the exact ones only.
_NEAR = 0.05
# A kernel below the reference's priority is there to be forced in tests.
_LEAST_PRIORITY = 0


@dataclass(frozen=True)
class Layer:
    """A contestant: how it multiplies, the exact product, and the relative error its rounding may make."""

    forward: Forward
    expected: Float[torch.Tensor, "rows d_out"]
    tolerance: float
    own: bool


# Makes a contestant from weights [d_out, d_in] and an input [rows, d_in]; raises where it cannot.
Make = Callable[[torch.Tensor, torch.Tensor], Layer]


def own_layers(weight: torch.Tensor, x: torch.Tensor) -> dict[str, Layer]:
    """`nn.Linear`, and `TernaryLinear` in every packing under every kernel that runs on that device."""
    plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=x.device)
    with torch.no_grad():
        plain.weight.copy_(weight)
    layers = {"float": _module(plain, x, 1e-5)}
    for packing in PACKINGS:
        quantized = sign(weight) if packing == "1bit" else absmean(weight)
        module = TernaryLinear.from_quantized(quantized, packing=packing).to(x.device)
        for kernel in kernels():
            if kernel.priority < _LEAST_PRIORITY or kernel.refusal(x.device.type, packing) is not None:
                continue
            layers[f"ternary {packing}, {kernel.name}"] = _forced(module, x, kernel.name)
    return layers


def peers(device: torch.device) -> dict[str, Make]:
    """Peers on that device, installed or not."""
    if device.type == "cuda":
        return {
            "float bfloat16": _bfloat16,
            "torch int8 (_int_mm)": _int_mm,
            "gemlite A8W158": _gemlite,
            "BitBLAS int8 x int2": _bitblas,
        }
    return {"torch dynamic int8": _dynamic_int8, "litespark-inference": _litespark}


def graphed(layer: Layer, x: torch.Tensor, out: torch.Tensor) -> Layer:
    """The same layer as a CUDA graph on this input and output, without the time that Python takes to launch.

    Raises `RuntimeError` where the layer cannot be captured.
    """
    with torch.no_grad():
        captured = capture(lambda: layer.forward(x, out), x.device, None)

    def forward(_x: torch.Tensor, _out: torch.Tensor) -> None:
        captured.replay()

    return replace(layer, forward=forward, own=False)


def _module(module: torch.nn.Linear, x: torch.Tensor, tolerance: float) -> Layer:
    read = module.effective_input(x) if isinstance(module, TernaryLinear) else x
    expected = read.detach().double() @ module.weight.detach().double().T

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(module(given))

    return Layer(forward, expected, tolerance, own=True)


def _forced(module: TernaryLinear, x: torch.Tensor, kernel: str) -> Layer:
    layer = _module(module, x, 1e-5)

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        with using_kernel(kernel):
            layer.forward(given, out)

    return replace(layer, forward=forward)


def _dynamic_int8(weight: torch.Tensor, x: torch.Tensor) -> Layer:
    plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad(), warnings.catch_warnings():
        plain.weight.copy_(weight)
        # Quantisation in torch itself is announced to move to another package.
        warnings.simplefilter("ignore")
        module: Any = torch.ao.quantization.quantize_dynamic(
            torch.nn.Sequential(plain), {torch.nn.Linear}, dtype=torch.qint8
        )

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(module(given))

    expected = x.double() @ module[0].weight().dequantize().double().T
    return Layer(forward, expected, _NEAR, own=False)


def _litespark(weight: torch.Tensor, x: torch.Tensor) -> Layer:
    """Its layer alone: its engine loads published models by name, so it takes no part in decoding."""
    kernel: Any = importlib.import_module("litespark_inference.torchless.kernel")
    pack: Any = importlib.import_module("litespark_inference.torchless.pack")
    quantized = absmean(weight)
    packed = pack.pack_ternary_4_per_byte(np.ascontiguousarray(quantized.trits.numpy()))
    codes = np.empty(tuple(x.shape), dtype=np.int8)
    scales = np.empty(x.shape[0], dtype=np.float32)
    scale = float(quantized.scale)

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        kernel.quantize_activation_batched(given.numpy(), codes, scales)
        kernel.matmul_packed_mT(codes, scales, packed, scale, out.numpy())

    return Layer(forward, _levels(quantized, x), _NEAR, own=False)


def _bfloat16(weight: torch.Tensor, x: torch.Tensor) -> Layer:
    narrow = weight.to(torch.bfloat16)

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(given.to(torch.bfloat16) @ narrow.T)

    return Layer(forward, x.double() @ weight.double().T, _NEAR, own=False)


def _int_mm(weight: torch.Tensor, x: torch.Tensor) -> Layer:
    """The trits as int8 under cuBLAS, activations rounded as ours are."""
    quantized = absmean(weight)
    columns = quantized.trits.T

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        codes = absmax_int8(given)
        sums = torch.ops.aten._int_mm(codes.values, columns)
        torch.mul(sums, codes.scale * quantized.scale, out=out)

    return Layer(forward, _levels(quantized, x), _NEAR, own=False)


def _gemlite(weight: torch.Tensor, x: torch.Tensor) -> Layer:
    helper: Any = importlib.import_module("gemlite.helper")
    quantized = absmean(weight)
    module = helper.A8W158(device=str(x.device)).from_weights(
        quantized.trits.to(torch.float16), quantized.scale
    )

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(module(given.to(torch.float16)))

    return Layer(forward, _levels(quantized, x), _NEAR, own=False)


def _bitblas(weight: torch.Tensor, x: torch.Tensor) -> Layer:
    bitblas: Any = importlib.import_module("bitblas")
    quantized = absmean(weight)
    config = bitblas.MatmulConfig(
        M=x.shape[0],
        N=weight.shape[0],
        K=weight.shape[1],
        A_dtype="int8",
        W_dtype="int2",
        accum_dtype="int32",
        out_dtype="int32",
        layout="nt",
        with_bias=False,
        group_size=None,
        with_scaling=False,
        with_zeros=False,
        zeros_mode=None,
    )
    matmul = bitblas.Matmul(config, enable_tuning=True)
    packed = matmul.transform_weight(quantized.trits)

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        codes = absmax_int8(given)
        torch.mul(matmul(codes.values, packed), codes.scale * quantized.scale, out=out)

    return Layer(forward, _levels(quantized, x), _NEAR, own=False)


def _levels(quantized: Quantized, x: torch.Tensor) -> Float[torch.Tensor, "rows d_out"]:
    """The product with the ternary weights, activations unrounded, in float64."""
    return x.double() @ (quantized.trits.double() * quantized.scale.double()).T
