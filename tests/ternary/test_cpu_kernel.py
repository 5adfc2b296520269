"""The C++ kernel: bit for bit the reference's sums and layers, whatever the shape, packing and processor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common import compiling
from tinyalign.common.errors import InputError
from tinyalign.ternary import (
    Quantized,
    TernaryLinear,
    cpu,
    describe,
    dispatch,
    quantize_weight,
    reference,
    using_kernel,
)
from tinyalign.ternary.packing import pack

MARCHES = {"x86-64": "portable", "x86-64-v3": "avx2", "native": None}


@pytest.fixture
def fresh() -> Iterator[None]:
    """The library is looked up again in the test and after it."""
    cpu._library.cache_clear()
    dispatch._choose.cache_clear()
    yield
    cpu._library.cache_clear()
    dispatch._choose.cache_clear()


def some_trits(rows: int, columns: int, packing: str, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if packing == "1bit":
        return (torch.randint(0, 2, (rows, columns), generator=generator) * 2 - 1).to(torch.int8)
    return torch.randint(-1, 2, (rows, columns), generator=generator).to(torch.int8)


def check_sums(values: torch.Tensor, trits: torch.Tensor, packing: str) -> None:
    shape = (trits.shape[0], trits.shape[1])
    found = cpu.matmul(values, pack(trits, packing), shape, packing)
    exact = values.numpy().astype(np.int64) @ trits.numpy().astype(np.int64).T
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy().astype(np.int64), exact)
    assert torch.equal(found, reference.matmul(values, pack(trits, packing), shape, packing))


@given(
    st.integers(0, 40),
    st.integers(1, 70),
    st.integers(1, 150),
    st.sampled_from(cpu.PACKINGS),
    st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_sums_are_exact(tokens: int, d_out: int, d_in: int, packing: str, seed: int) -> None:
    """Rows that begin inside a byte, tiles of every size, codes from -128 on."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-128, 128, (tokens, d_in), generator=generator).to(torch.int8)
    check_sums(values, some_trits(d_out, d_in, packing, seed), packing)


@pytest.mark.parametrize("packing", cpu.PACKINGS)
@pytest.mark.parametrize("march", MARCHES)
@pytest.mark.usefixtures("fresh")
def test_every_instruction_set_gives_the_same(
    packing: str, march: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all products have one sign, which would leave int16 sums first."""
    monkeypatch.setenv(compiling.MARCH_VARIABLE, march)
    if not compiling.supports(march):
        assert "this processor" in str(cpu.unavailable())
        return
    assert cpu.unavailable() is None
    assert cpu._library().ta_ternary_instructions().decode() == (
        MARCHES[march] or cpu._library().ta_ternary_instructions().decode()
    )
    for tokens in (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33):
        for d_out, d_in in ((1, 1), (17, 64), (33, 130), (16, 1030)):
            trits = some_trits(d_out, d_in, packing, tokens)
            check_sums(torch.randint(-128, 128, (tokens, d_in)).to(torch.int8), trits, packing)
    for code in (-128, 127):
        values = torch.full((9, 2100), code, dtype=torch.int8)
        check_sums(values, torch.ones(20, 2100, dtype=torch.int8), packing)
        check_sums(values, -torch.ones(20, 2100, dtype=torch.int8), packing)
    for layer in some_layers(packing):
        x = torch.randn(21, layer.in_features) * 3
        with using_kernel("cpu"):
            found = layer(x)
        with using_kernel("reference"):
            assert torch.equal(found, layer(x))


def some_layers(packing: str) -> list[TernaryLinear]:
    made = []
    for d_in, d_out, bias in ((64, 48, False), (65, 51, True), (7, 3, True)):
        linear = torch.nn.Linear(d_in, d_out, bias=bias)
        made.append(TernaryLinear.from_linear(linear, 1 if packing == "1bit" else 1.58, packing=packing))
    return made


@pytest.mark.parametrize("packing", cpu.PACKINGS)
def test_a_layer_is_bit_for_bit_the_references(packing: str) -> None:
    """Ties between two codes, tokens of zeros, tiny and huge ones, NaN and infinity, and all gradients."""
    for layer in some_layers(packing):
        x = torch.randint(-254, 255, (12, layer.in_features)) / 2.0
        x[:, 0] = 127
        x[1], x[2], x[3], x[4] = 0.0, x[2] * 1e-30, x[3] * 1e30, -x[4]
        x[5, 1], x[6, 2], x[7, 0], x[8] = torch.nan, torch.inf, -torch.inf, 1e-44
        both = []
        for kernel in ("cpu", "reference"):
            given_x = x.clone().requires_grad_()
            layer.zero_grad()
            with using_kernel(kernel):
                y = layer(given_x.view(3, 4, -1))
            y.nan_to_num().sum().backward()
            grads = [given_x.grad, *(parameter.grad for parameter in layer.parameters())]
            both.append([y.detach(), *(grad for grad in grads if grad is not None)])
        assert y.shape == (3, 4, layer.out_features)
        for own, other in zip(*both, strict=True):
            assert torch.equal(own.view(torch.int32), other.view(torch.int32))


def test_millions_of_codes_are_those_of_torch() -> None:
    """A factor rounded in another way gives another code once in a million."""
    layer = TernaryLinear.from_quantized(
        Quantized(torch.ones(1, 1000, dtype=torch.int8), torch.tensor(1.0), 1.58)
    )
    x = torch.randn(4000, 1000, generator=torch.Generator().manual_seed(1))
    with using_kernel("reference"):
        expected = layer(x)
    with using_kernel("cpu"):
        assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_take_the_sums_alone(dtype: torch.dtype) -> None:
    for layer in some_layers("2bit"):
        x = torch.randn(5, layer.in_features).to(dtype)
        with using_kernel("reference"):
            expected = layer(x)
        with using_kernel("cpu"):
            assert torch.equal(layer(x), expected)


def test_views_are_read_and_trits_changed_in_place_are_seen() -> None:
    layer = TernaryLinear.from_linear(torch.nn.Linear(40, 24), 1.58)
    x = torch.randn(40, 6).T
    for change in range(4):
        if change == 1:
            layer.flip(torch.tensor([0, 23]), torch.tensor([0, 39]), torch.tensor([1, -1], dtype=torch.int8))
        elif change == 2:
            layer.packed[7] ^= 1 if layer.packed[7] & 3 == 0 else layer.packed[7] & 3
        elif change == 3:
            layer.packed = pack(torch.ones(24, 40, dtype=torch.int8), "2bit")
        with using_kernel("reference"):
            expected = layer(x)
        with using_kernel("cpu"):
            assert torch.equal(layer(x), expected)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randint(-128, 128, (37, 300)).to(torch.int8)
    packed = pack(some_trits(200, 300, "2bit", 1), "2bit")
    alone = cpu.matmul(values, packed, (200, 300), "2bit")
    monkeypatch.setattr(cpu, "_FOR_A_THREAD", 1000)
    before = torch.get_num_threads()
    try:
        for threads in (2, 5, 64):
            torch.set_num_threads(threads)
            assert torch.equal(cpu.matmul(values, packed, (200, 300), "2bit"), alone)
    finally:
        torch.set_num_threads(before)


def test_a_digit_that_is_no_trit_gives_nan_in_its_row_alone() -> None:
    trits = some_trits(20, 64, "2bit", 3)
    packed = pack(trits, "2bit")
    packed[16 * 5 + 3] |= 3 << 4
    values = torch.ones(3, 64, dtype=torch.int8)
    found = cpu.matmul(values, packed, (20, 64), "2bit")
    expected = reference.matmul(values, packed, (20, 64), "2bit")
    assert torch.equal(found.isnan(), expected.isnan())
    assert found.isnan().sum() == 3
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_sizes_that_do_not_fit_are_refused() -> None:
    values, packed = torch.ones(2, 8, dtype=torch.int8), pack(torch.ones(4, 8, dtype=torch.int8), "2bit")
    with pytest.raises(InputError, match=r"8 packed bytes and 8 inputs do not fit a 2bit layer of \[5, 8\]"):
        cpu.matmul(values, packed, (5, 8), "2bit")
    with pytest.raises(InputError, match=r"exceeds the 132104 for which the C\+\+ kernel is exact"):
        cpu.matmul(values, packed, (1, 132_105), "2bit")


def test_it_serves_unless_another_is_asked_for() -> None:
    choice = describe("cpu", "2bit")
    assert choice.kernel == "cpu"
    assert choice.passed_over["reference"] == "cpu is preferred"
    assert describe("cpu", "base3").passed_over["cpu"] == "reads 2bit or 1bit, not base3"


@pytest.mark.usefixtures("fresh")
def test_without_a_compiler_the_reference_serves_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv(compiling.CACHE_VARIABLE, str(tmp_path))
    layer = TernaryLinear.from_quantized(quantize_weight(torch.randn(4, 8), 1.58))
    assert layer.kernel == "reference"
    assert layer(torch.randn(2, 8)).shape == (2, 4)
    assert "CXX names the compiler 'no-such-compiler'" in describe("cpu", "2bit").passed_over["cpu"]
    with using_kernel("cpu"), pytest.raises(InputError, match="was asked for but CXX names the compiler"):
        layer(torch.randn(2, 8))


def test_nothing_is_compiled_by_importing_or_building_a_layer(tmp_path: Path) -> None:
    code = (
        "import torch; from tinyalign.ternary import TernaryLinear, absmean;"
        "TernaryLinear.from_quantized(absmean(torch.randn(4, 8))).trits"
    )
    environment = {"CXX": "no-such-compiler", compiling.CACHE_VARIABLE: str(tmp_path / "none")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=Path.cwd())
    assert not (tmp_path / "none").exists()
