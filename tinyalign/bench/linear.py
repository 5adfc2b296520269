"""The linear microbenchmark: one layer in floats, ternary under each packing, and int8 and ternary peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tinyalign.bench.failures import FAILURES, first_line
from tinyalign.bench.layers import Layer, graphed, own_layers
from tinyalign.bench.layers import peers as peers_on
from tinyalign.bench.timing import Clock, Timed, contest, synchronizer
from tinyalign.common.errors import CheckpointError
from tinyalign.common.seeds import derive_seed

SIZES = ((128, 384), (512, 2048))
ROWS = (1, 16, 256)
# On a GPU also as many rows as it takes to fill it.
CUDA_ROWS = (1, 16, 256, 4096)
_CUDA_CALLS = 100


@dataclass(frozen=True)
class LinearResult:
    """Timings of one size: `rows` tokens through a layer from `d_in` to `d_out`.

    `refused` names contestants that are not installed, failed, or gave a wrong product in the timed
    configuration, and how wrong. Ratios are of "float", by `clock`.
    """

    device: str
    rows: int
    d_in: int
    d_out: int
    clock: Clock
    timed: tuple[Timed, ...]
    refused: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return {
            "device": self.device,
            "rows": self.rows,
            "d_in": self.d_in,
            "d_out": self.d_out,
            "clock": self.clock,
            "contestants": [timed.to_json() for timed in self.timed],
            "refused": self.refused,
        }


def bench_linear(
    rows: int, d_in: int, d_out: int, *, rounds: int = 7, peers: bool = False, device: str = "cpu"
) -> LinearResult:
    """Time a float `nn.Linear` against `TernaryLinear` in every packing, activation quantisation included.

    Under every kernel that runs on `device`; with `peers`, other libraries' layers too, where installed. On
    CUDA each also as a graph, which leaves out Python's time to launch. Every timed call writes into an
    output that was filled with NaN, and each output is checked, in the timed configuration, against a float64
    product of what it should have multiplied. A peer that is wrong is refused; raises `CheckpointError` when
    we are: a fast wrong answer must not be shown as fast.
    """
    generator = torch.Generator().manual_seed(derive_seed("bench-linear", rows, d_in, d_out) % 2**31)
    weight = torch.randn(d_out, d_in, generator=generator).to(device)
    x = torch.randn(rows, d_in, generator=generator).to(device)
    cuda = x.device.type == "cuda"
    refused: dict[str, str] = {}
    layers = own_layers(weight, x)
    for name, make in peers_on(x.device).items() if peers else ():
        try:
            layers[name] = make(weight, x)
        except FAILURES as error:
            refused[name] = first_line(error)
    # Enough calls a round that the clock's grain does not matter.
    calls = _CUDA_CALLS if cuda else max(1, min(200, int(2e7 / (rows * d_in * d_out))))
    out = {name: torch.empty(rows, d_out, device=device) for name in layers}
    if cuda:
        for name, layer in list(layers.items()):
            whole = f"{name}, graph"
            out[whole] = torch.empty(rows, d_out, device=device)
            try:
                layers[whole] = graphed(layer, x, out[whole])
            except FAILURES as error:
                refused[whole] = first_line(error)

    def run(name: str, calls: int) -> Callable[[], None]:
        def repeat() -> None:
            out[name].fill_(float("nan"))
            with torch.no_grad():
                for _ in range(calls):
                    layers[name].forward(x, out[name])

        return repeat

    for name, layer in layers.items():
        try:
            run(name, 1)()
        except FAILURES as error:
            if layer.own:
                raise
            refused[name] = first_line(error)
            continue
        error = _error(layer, out[name])
        # A NaN left by a call that wrote nothing fails this comparison too.
        if not error <= layer.tolerance:
            if layer.own:
                raise _wrong(name, error)
            refused[name] = f"gave a wrong product at {rows} rows (relative error {error:.2g})"

    def check(name: str) -> None:
        error = _error(layers[name], out[name])
        if not error <= layers[name].tolerance:
            raise _wrong(name, error)

    timed = contest(
        {name: run(name, calls) for name in layers if name not in refused},
        baseline="float",
        rounds=rounds,
        check=check,
        wait=synchronizer(device),
    )
    return LinearResult(x.device.type, rows, d_in, d_out, "wall" if cuda else "cpu", timed, refused)


def _error(layer: Layer, found: torch.Tensor) -> float:
    return float((found.double() - layer.expected).abs().max() / layer.expected.abs().max())


def _wrong(name: str, error: float) -> CheckpointError:
    return CheckpointError(f"{name} gave a wrong product in the benchmark (relative error {error:.2g}).")
