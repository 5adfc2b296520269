"""Every instruction set that this processor has gives the same stories and exact integer sums."""

from __future__ import annotations

import pytest
import torch

from tests.engine.test_cpu import from_ids, integers
from tests.models.tiny import story_model, token_ids
from tinyalign.common.errors import InputError
from tinyalign.engine import Sampling
from tinyalign.engine.cpu import build
from tinyalign.engine.cpu.weights import CpuModel
from tinyalign.ternary import reference
from tinyalign.ternary.packing import pack
from tinyalign.ternary.quantize import absmax_int8

# What the compiler may use, and the path of the sources that it takes then.
PATHS = {
    "x86-64": "portable",
    "x86-64-v3": "avx2",
    "x86-64-v4": "avx512f",
    "icelake-server": "avx512vnni",
    "native": None,
}


@pytest.mark.parametrize("march", PATHS)
def test_the_paths_agree(march: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.MARCH_VARIABLE, march)
    if not build.supports(march):
        with pytest.raises(InputError, match="this processor"):
            build.library("float32")
        return
    trits = torch.randint(-1, 2, (37, 1030), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    trits[0] = 1
    x = torch.full((32, 1030), 3.0)
    x[1:] = torch.randn(31, 1030, generator=torch.Generator().manual_seed(2))
    codes, scales, sums = integers(trits, x)
    expected = absmax_int8(x)
    assert torch.equal(codes, expected.values)
    assert torch.equal(scales, expected.scale[:, 0])
    exact = reference.matmul(expected.values, pack(trits, "2bit"), (37, 1030), "2bit")
    assert torch.equal(sums, exact.int())
    prompts = [token_ids(1 + i, batch=1, seed=i)[0].tolist() for i in range(40)]
    for kind in ("llama", "llama-gqa-ternary"):
        model = story_model(kind)
        cpu = CpuModel(model, "scoring")
        assert cpu.instructions == (PATHS[march] or cpu.instructions)
        ids = token_ids(40, batch=1)
        with torch.no_grad():
            logits = model.network(ids).logits[0]
        assert (torch.tensor(cpu.logits(ids[0].tolist())) - logits).abs().max() <= 1e-4
        stories = list(from_ids(model, prompts, Sampling(), limit=20, threads=2))
        assert stories == list(from_ids(model, prompts, Sampling(), limit=20, batch_size=3))


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.MARCH_VARIABLE, "x86-64-v9")
    with pytest.raises(InputError, match="asks for 'x86-64-v9', which is unknown"):
        build.library("float32")
