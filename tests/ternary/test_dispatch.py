"""The kernel registry: what is chosen, what is forced, and that nothing is passed over unseen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tinyalign.common.errors import InputError, UnknownNameError
from tinyalign.ternary import TernaryLinear, absmean, describe, dispatch, reference, using_kernel
from tinyalign.ternary.packing import pack

CALLS: list[str] = []


def _counting(name: str):
    def matmul(values: torch.Tensor, packed: torch.Tensor, shape: tuple[int, int], packing: str):
        CALLS.append(name)
        return reference.matmul(values, packed, shape, packing).to(torch.int32)

    return matmul


@pytest.fixture
def more_kernels() -> Iterator[None]:
    CALLS.clear()
    made = [
        dispatch.Kernel("fast", ("cpu",), ("2bit",), 10, lambda: None, _counting("fast")),
        dispatch.Kernel("broken", ("cpu",), ("2bit",), 20, lambda: "no compiler", _counting("broken")),
        dispatch.Kernel("cuda", ("cuda",), ("2bit",), 30, lambda: None, _counting("cuda")),
    ]
    for kernel in made:
        dispatch.register(kernel)
    yield
    for kernel in made:
        dispatch.unregister(kernel.name)


@pytest.mark.usefixtures("more_kernels")
def test_the_best_available_kernel_runs() -> None:
    layer = TernaryLinear.from_quantized(absmean(torch.randn(4, 8)))
    x = torch.randn(2, 8)
    y = layer(x)
    assert CALLS == ["fast"]
    assert layer.kernel == "fast"
    with using_kernel("reference"):
        assert torch.equal(layer(x), y)
        assert layer.kernel == "reference"
    assert CALLS == ["fast"]
    assert describe("cpu", "2bit").to_json() == {
        "device_type": "cpu",
        "packing": "2bit",
        "kernel": "fast",
        "forced": False,
        "passed_over": {
            "cuda": "runs on cuda, not on cpu",
            "broken": "no compiler",
            "triton": "runs on cuda, not on cpu",
            "cpu": dispatch.kernel_named("cpu").unavailable() or "fast is preferred",
            "reference": "fast is preferred",
            "triton-interpreter": dispatch.kernel_named("triton-interpreter").unavailable()
            or "fast is preferred",
        },
    }
    assert describe("cpu", "base3").kernel == "reference"
    assert describe("cpu", "base3").passed_over["fast"] == "reads 2bit, not base3"
    assert describe("cuda", "2bit").kernel == "cuda"


@pytest.mark.usefixtures("more_kernels")
def test_a_forced_kernel_runs_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = TernaryLinear.from_quantized(absmean(torch.randn(4, 8)), packing="base3")
    with using_kernel("fast"), pytest.raises(InputError, match="'fast' was asked for but reads 2bit"):
        layer(torch.randn(2, 8))
    monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, "broken")
    with pytest.raises(InputError, match="no compiler"):
        dispatch.choose("cpu", "2bit")
    with using_kernel("fast"):
        assert describe("cpu", "2bit").forced
    monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, "reference")
    assert describe("cpu", "2bit").passed_over["fast"] == "reference was forced"
    monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, "refrence")
    with pytest.raises(UnknownNameError, match="did you mean reference"):
        layer(torch.randn(2, 8))


def test_a_kernel_below_the_reference_runs_only_when_forced() -> None:
    last = dispatch.Kernel("last", ("cpu",), ("base3",), -1, lambda: None, _counting("last"))
    dispatch.register(last)
    CALLS.clear()
    try:
        layer = TernaryLinear.from_quantized(absmean(torch.randn(4, 8)), packing="base3")
        x = torch.randn(2, 8)
        y = layer(x)
        assert (CALLS, layer.kernel) == ([], "reference")
        assert describe("cpu", "base3").passed_over["last"] == "reference is preferred"
        with using_kernel("last"):
            assert torch.equal(layer(x), y)
        assert CALLS == ["last"]
    finally:
        dispatch.unregister("last")


def test_the_registry_guards_itself() -> None:
    kernel = dispatch.kernel_named("reference")
    with pytest.raises(InputError, match="registered already"):
        dispatch.register(kernel)
    with pytest.raises(InputError, match="cannot be taken out"):
        dispatch.unregister("reference")
    with pytest.raises(UnknownNameError), using_kernel("nothing"):
        pass
    with pytest.raises(UnknownNameError):
        dispatch.register(dispatch.Kernel("x", None, ("3bit",), 1, lambda: None, reference.matmul))
    with pytest.raises(InputError, match="both chosen"):
        dispatch.Choice("cpu", "2bit", "a", False, {"a": "b"})
    assert "x" not in [k.name for k in dispatch.kernels()]


def test_the_reference_refuses_what_it_cannot_do_exactly() -> None:
    assert 127 * reference.LARGEST_D_IN < 2**24 <= 127 * (reference.LARGEST_D_IN + 1)
    shape = (1, reference.LARGEST_D_IN + 1)
    packed = pack(torch.ones(shape, dtype=torch.int8), "2bit")
    with pytest.raises(InputError, match="132104"):
        reference.matmul(torch.ones(1, shape[1], dtype=torch.int8), packed, shape, "2bit")
