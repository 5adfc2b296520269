"""The linear microbenchmark: wrong products are refused, whoever gives them."""

from __future__ import annotations

import pytest
import torch

from tinyalign.bench import layers, linear
from tinyalign.bench.linear import bench_linear
from tinyalign.common.errors import CheckpointError
from tinyalign.ternary import TernaryLinear


def test_linear_results_name_every_packing() -> None:
    result = bench_linear(4, 64, 48, rounds=3)
    found = [t.name for t in result.timed]
    assert found[0] == "float"
    assert {f"ternary {packing}, reference" for packing in ("2bit", "base3", "1bit")} <= set(found)
    assert result.to_json()["contestants"][0]["ratio"] == 1
    assert (result.device, result.clock) == ("cpu", "cpu")


def test_a_layer_that_computes_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(self: TernaryLinear, x: torch.Tensor) -> torch.Tensor:
        return torch.full((*x.shape[:-1], self.out_features), float("nan"))

    monkeypatch.setattr(TernaryLinear, "forward", lazy)
    with pytest.raises(CheckpointError, match="wrong product"):
        bench_linear(4, 64, 48, rounds=3)


def test_a_peer_that_returns_without_computing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(weight: torch.Tensor, x: torch.Tensor) -> layers.Layer:
        return layers.Layer(lambda *_: None, layers._dynamic_int8(weight, x).expected, 0.05, own=False)

    def failing(weight: torch.Tensor, x: torch.Tensor) -> layers.Layer:
        raise RuntimeError("no kernel for this shape\nat some line")

    makes = {"right": layers._dynamic_int8, "lazy": lazy, "failing": failing}
    monkeypatch.setattr(linear, "peers_on", lambda _: makes)
    result = bench_linear(4, 64, 48, rounds=3, peers=True)
    assert [t.name for t in result.timed][-1] == "right"
    assert set(result.refused) == {"lazy", "failing"}
    assert "4 rows (relative error nan)" in result.refused["lazy"]
    assert result.refused["failing"] == "no kernel for this shape"


@pytest.mark.parametrize("name", ["float bfloat16", "torch int8 (_int_mm)"])
def test_the_layers_of_a_gpu_multiply_right(name: str) -> None:
    """The same code on a CPU: what only a GPU can run is absent, with a reason."""
    generator = torch.Generator().manual_seed(1)
    weight, x = (torch.randn(size, 64, generator=generator) for size in (48, 32))
    makes = layers.peers(torch.device("cuda"))
    layer = makes[name](weight, x)
    out = torch.full((32, 48), float("nan"))
    layer.forward(x, out)
    assert linear._error(layer, out) <= layer.tolerance
