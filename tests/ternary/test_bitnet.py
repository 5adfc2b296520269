"""The on-disk layout and the layer against transformers' own BitNet code."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.integrations import bitnet as hf

from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.ternary import TernaryLinear, absmean, pack_bitnet, sign, unpack_bitnet


@pytest.fixture(autouse=True, scope="module")
def _transformers_without_compiling():
    with torch.compiler.set_stance("force_eager"):
        yield


def _trits(d_out: int, d_in: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (d_out, d_in), generator=generator).to(torch.int8)


@settings(deadline=None)
@given(st.integers(1, 33), st.integers(1, 9), st.integers(0, 2**32))
def test_layout_equals_transformers(d_out: int, d_in: int, seed: int) -> None:
    trits = _trits(d_out, d_in, seed)
    packed = pack_bitnet(trits)
    # transformers' packer changes its argument in place.
    assert torch.equal(packed, hf.pack_weights(trits.clone()))
    assert torch.equal(unpack_bitnet(packed, d_out), trits)
    assert torch.equal(unpack_bitnet(packed), hf.unpack_weights(packed, dtype=torch.int8))


def test_damaged_bytes_are_refused() -> None:
    packed = pack_bitnet(_trits(8, 3, 0))
    packed[1, 2] |= 0b11_00_00
    with pytest.raises(CheckpointError, match="codes of the BitNet weights are 3"):
        unpack_bitnet(packed)
    with pytest.raises(CheckpointError, match="12 rows need 3"):
        unpack_bitnet(packed, 12)
    with pytest.raises(InputError, match="from -1 to 3"):
        pack_bitnet(torch.tensor([[3, -1]], dtype=torch.int8))


@pytest.mark.parametrize("bits", [1.58, 1])
@pytest.mark.parametrize("with_bias", [False, True])
def test_forward_equals_both_transformers_layers(bits: float, with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(48, 96, generator=generator)
    bias = torch.randn(48, generator=generator) if with_bias else None
    x = torch.randn(4, 50, 96, generator=generator) * 3
    made = sign(weight) if bits == 1 else absmean(weight)
    ours = TernaryLinear.from_quantized(made, bias)(x).detach()

    auto = hf.AutoBitLinear(96, 48, bias=with_bias, online_quant=False)
    auto.weight.data = hf.unpack_weights(pack_bitnet(made.trits), dtype=torch.float32)
    auto.weight_scale.fill_(made.scale.item())
    if bias is not None:
        # The offline layer multiplies its bias by the weight scale too.
        auto.bias.data = bias / made.scale
    # Ours is rounded once; AutoBitLinear sums dequantised floats.
    bound = 1e-6 * ours.abs().max()
    assert (auto(x).detach() - ours).abs().max() <= bound

    packed = hf.BitLinear(96, 48, bias=with_bias, dtype=torch.float32)
    assert (packed.bias is None) != with_bias
    packed.weight.copy_(pack_bitnet(made.trits))
    # This one divides by its weight scale.
    packed.weight_scale.fill_(1.0 / made.scale.item())
    if bias is not None and packed.bias is not None:
        packed.bias.copy_(bias)
    assert (packed(x).detach() - ours).abs().max() <= bound


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_quantisers_equal_transformers(seed: int) -> None:
    weight = torch.randn(12, 16, generator=torch.Generator().manual_seed(seed))
    theirs = hf.WeightQuant.apply(weight)
    assert torch.equal(theirs.sign(), absmean(weight).trits.float())
    torch.testing.assert_close(theirs, absmean(weight).weight, rtol=1e-6, atol=0)
