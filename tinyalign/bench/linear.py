"""The linear microbenchmark: one layer in floats, ternary under each packing, and int8 and ternary peers."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinyalign.bench.timing import Timed, contest
from tinyalign.common.errors import CheckpointError
from tinyalign.common.seeds import derive_seed
from tinyalign.ternary import PACKINGS, Quantized, TernaryLinear, absmean, sign

SIZES = ((128, 384), (512, 2048))
ROWS = (1, 16, 256)

# Runs its layer on the input and leaves the product [rows, d_out] in the output given.
Forward = Callable[[torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True)
class LinearResult:
    """Timings of one size: `rows` tokens through a layer from `d_in` to `d_out`.

    `refused` names contestants that gave a wrong product in the timed configuration, and how wrong.
    """

    rows: int
    d_in: int
    d_out: int
    timed: tuple[Timed, ...]
    refused: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        size = {"rows": self.rows, "d_in": self.d_in, "d_out": self.d_out}
        rows = [timed.to_json() for timed in self.timed]
        return {**size, "contestants": rows, "refused": self.refused}


@dataclass(frozen=True)
class _Layer:
    """A contestant: how it multiplies, the exact product, and the relative error its rounding may make."""

    forward: Forward
    expected: torch.Tensor
    tolerance: float
    own: bool


def bench_linear(rows: int, d_in: int, d_out: int, *, rounds: int = 7, peers: bool = False) -> LinearResult:
    """Time a float `nn.Linear` against `TernaryLinear` in every packing, activation quantisation included.

    With `peers`, torch's dynamic int8 and, where it is installed, litespark-inference too. Every timed call
    writes into an output that was filled with NaN, and each output is checked, in the timed
    configuration, against a float64 product of what it should have multiplied. A peer that is wrong is
    refused; raises `CheckpointError` when we are: a fast wrong answer must not be shown as fast.
    """
    generator = torch.Generator().manual_seed(derive_seed("bench-linear", rows, d_in, d_out) % 2**31)
    weight = torch.randn(d_out, d_in, generator=generator)
    x = torch.randn(rows, d_in, generator=generator)
    layers = _own(weight, x)
    if peers:
        layers |= _peers(weight, x)
    # Enough calls a round that the clock's grain does not matter.
    calls = max(1, min(200, int(2e7 / (rows * d_in * d_out))))
    out = {name: torch.empty(rows, d_out) for name in layers}

    def run(name: str, calls: int) -> Callable[[], None]:
        def repeat() -> None:
            out[name].fill_(float("nan"))
            with torch.no_grad():
                for _ in range(calls):
                    layers[name].forward(x, out[name])

        return repeat

    refused: dict[str, str] = {}
    for name, layer in layers.items():
        run(name, 1)()
        error = _error(layer, out[name])
        # A NaN left by a call that wrote nothing fails this comparison too.
        if not error <= layer.tolerance:
            if layer.own:
                raise CheckpointError(
                    f"{name} gave a wrong product in the benchmark (relative error {error:.2g})."
                )
            refused[name] = f"gave a wrong product at {rows} rows (relative error {error:.2g})"
    timed = contest(
        {name: run(name, calls) for name in layers if name not in refused},
        baseline="float",
        rounds=rounds,
        check=lambda name: _check(name, layers[name], out[name]),
    )
    return LinearResult(rows, d_in, d_out, timed, refused)


def _own(weight: torch.Tensor, x: torch.Tensor) -> dict[str, _Layer]:
    plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        plain.weight.copy_(weight)
    layers = {"float": _layer(plain, x)}
    for packing in PACKINGS:
        quantized = sign(weight) if packing == "1bit" else absmean(weight)
        layers[f"ternary {packing}"] = _layer(TernaryLinear.from_quantized(quantized, packing=packing), x)
    return layers


def _layer(module: torch.nn.Linear, x: torch.Tensor) -> _Layer:
    read = module.effective_input(x) if isinstance(module, TernaryLinear) else x
    expected = read.detach().double() @ module.weight.detach().double().T

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(module(given))

    return _Layer(forward, expected, 1e-5, own=True)


def _peers(weight: torch.Tensor, x: torch.Tensor) -> dict[str, _Layer]:
    """Peers round activations their own way, so that their products are near the exact ones only."""
    layers = {"torch dynamic int8": _dynamic_int8(weight, x)}
    if importlib.util.find_spec("litespark_inference") is not None:
        layers["litespark-inference"] = _litespark(absmean(weight), x)
    return layers


def _dynamic_int8(weight: torch.Tensor, x: torch.Tensor) -> _Layer:
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
    return _Layer(forward, expected, 0.05, own=False)


def _litespark(quantized: Quantized, x: torch.Tensor) -> _Layer:
    kernel: Any = importlib.import_module("litespark_inference.torchless.kernel")
    pack: Any = importlib.import_module("litespark_inference.torchless.pack")
    trits = quantized.trits.numpy()
    packed = pack.pack_ternary_4_per_byte(np.ascontiguousarray(trits))
    codes = np.empty(tuple(x.shape), dtype=np.int8)
    scales = np.empty(x.shape[0], dtype=np.float32)
    scale = float(quantized.scale)

    def forward(given: torch.Tensor, out: torch.Tensor) -> None:
        kernel.quantize_activation_batched(given.numpy(), codes, scales)
        kernel.matmul_packed_mT(codes, scales, packed, scale, out.numpy())

    expected = x.double() @ (torch.from_numpy(trits).double() * scale).T
    return _Layer(forward, expected, 0.05, own=False)


def _error(layer: _Layer, found: torch.Tensor) -> float:
    return float((found.double() - layer.expected).abs().max() / layer.expected.abs().max())


def _check(name: str, layer: _Layer, found: torch.Tensor) -> None:
    error = _error(layer, found)
    if not error <= layer.tolerance:
        raise CheckpointError(f"{name} gave a wrong product in the benchmark (relative error {error:.2g}).")
