"""The linear microbenchmark: one layer in floats, and ternary under each packing and kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tinyalign.bench.timing import Timed, contest
from tinyalign.common.errors import CheckpointError
from tinyalign.common.seeds import derive_seed
from tinyalign.ternary import PACKINGS, TernaryLinear, absmean, sign

SIZES = ((128, 384), (512, 2048))
ROWS = (1, 16, 256)


@dataclass(frozen=True)
class LinearResult:
    """Timings of one size: `rows` tokens through a layer from `d_in` to `d_out`."""

    rows: int
    d_in: int
    d_out: int
    timed: tuple[Timed, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        size = {"rows": self.rows, "d_in": self.d_in, "d_out": self.d_out}
        return {**size, "contestants": [timed.to_json() for timed in self.timed]}


def bench_linear(rows: int, d_in: int, d_out: int, *, rounds: int = 7) -> LinearResult:
    """Time a float `nn.Linear` against `TernaryLinear` in every packing, activation quantisation included.

    Every timed call writes into an output that was filled with NaN, and each contestant's output is checked,
    in the timed configuration, against a float64 product of what it should have multiplied. Raises
    `CheckpointError` when one is wrong: a fast wrong answer must not be shown as fast.
    """
    generator = torch.Generator().manual_seed(derive_seed("bench-linear", rows, d_in, d_out) % 2**31)
    weight = torch.randn(d_out, d_in, generator=generator)
    x = torch.randn(rows, d_in, generator=generator)
    layers: dict[str, torch.nn.Linear] = {"float": torch.nn.Linear(d_in, d_out, bias=False)}
    with torch.no_grad():
        layers["float"].weight.copy_(weight)
    for packing in PACKINGS:
        quantized = sign(weight) if packing == "1bit" else absmean(weight)
        layers[f"ternary {packing}"] = TernaryLinear.from_quantized(quantized, packing=packing)
    # Enough calls a round that the clock's grain does not matter.
    calls = max(1, int(2e7 / (rows * d_in * d_out)))
    out = {name: torch.full((rows, d_out), float("nan")) for name in layers}

    def run(name: str, layer: torch.nn.Linear) -> Callable[[], None]:
        def repeat() -> None:
            out[name].fill_(float("nan"))
            with torch.no_grad():
                for _ in range(calls - 1):
                    layer(x)
                out[name].copy_(layer(x))

        return repeat

    timed = contest(
        {name: run(name, layer) for name, layer in layers.items()}, baseline="float", rounds=rounds
    )
    for name, layer in layers.items():
        _check(name, layer, x, out[name])
    return LinearResult(rows, d_in, d_out, timed)


def _check(name: str, layer: torch.nn.Linear, x: torch.Tensor, found: torch.Tensor) -> None:
    read = layer.effective_input(x) if isinstance(layer, TernaryLinear) else x
    expected = read.detach().double() @ layer.weight.detach().double().T
    error = float((found.double() - expected).abs().max() / expected.abs().max())
    # A NaN left by a call that wrote nothing fails this comparison too.
    if not error <= 1e-5:
        raise CheckpointError(f"{name} gave a wrong product in the benchmark (relative error {error:.2g}).")
