"""The C++ kernel of ternary layers, compiled for 64-bit Arm and emulated: the reference, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.arm import LEVELS, compile_for_arm, emulate, needs_arm
from tinyalign.ternary import absmax_int8, absmean, cpu, pack, reference, sign
from tinyalign.ternary.packing import PACKINGS

pytestmark = needs_arm


@pytest.fixture(scope="module", params=LEVELS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("arm") / "replay"
    source = Path(__file__).with_name("replay_ternary.cpp")
    compile_for_arm(source, cpu.SOURCES.main.parent, request.param, target, *cpu.SOURCES.flags)
    return target


@pytest.mark.parametrize("packing", cpu.PACKINGS)
@pytest.mark.parametrize(("tokens", "d_out", "d_in"), [(1, 3, 5), (17, 70, 192), (9, 33, 501)])
def test_sums_and_layers_equal_the_reference(
    program: Path, tmp_path: Path, packing: str, tokens: int, d_out: int, d_in: int
) -> None:
    generator = torch.Generator().manual_seed(d_in)
    weight, x = torch.randn(d_out, d_in, generator=generator), torch.randn(tokens, d_in, generator=generator)
    bias = torch.randn(d_out, generator=generator)
    quantized = sign(weight) if packing == "1bit" else absmean(weight)
    packed = pack(quantized.trits, packing)
    codes = torch.randint(-128, 128, (tokens, d_in), generator=generator, dtype=torch.int8)
    sizes = np.array([tokens, d_out, d_in, len(packed), PACKINGS[packing].per_byte])
    parts = (packed.numpy(), codes.numpy(), x.numpy(), quantized.scale.numpy(), bias.numpy())
    given = sizes.tobytes() + b"".join(part.tobytes() for part in parts)
    written, said = emulate(program, given, tmp_path)
    assert said == "portable"
    sums, y = torch.from_numpy(np.frombuffer(written, dtype=np.float32).copy()).view(2, tokens, d_out)
    assert torch.equal(sums, reference.matmul(codes, packed, (d_out, d_in), packing))
    quantised = absmax_int8(x)
    exact = reference.matmul(quantised.values, packed, (d_out, d_in), packing)
    assert torch.equal(y, exact * (quantised.scale * quantized.scale) + bias)
