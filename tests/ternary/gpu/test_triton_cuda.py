"""The Triton kernels on a CUDA device: exact, chosen, captured by graphs, no slower than the reference."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch

import tinyalign
from tests.ternary.gpu.cases import SHAPES, activations, sums, trits
from tinyalign.common.errors import InputError
from tinyalign.ternary import TernaryLinear, absmax_int8, absmean, describe, dispatch, gpu, using_kernel
from tinyalign.ternary.packing import PACKINGS

pytest.importorskip("triton", reason="triton is not installed (it comes for Linux only)")

from tinyalign.ternary.gpu import launch

pytestmark = pytest.mark.gpu

Matmul = Callable[[torch.Tensor, torch.Tensor, tuple[int, int], str], torch.Tensor]

LARGE = [(2050, 2048, 36), (3000, 2048, 192), (4096, 1100, 2049), (300, 50_257, 64), (1, 4096, 16_384)]
# d_out and d_in of the embedded models' layers.
LAYERS = [(192, 192), (512, 192), (192, 512)]


def test_it_is_chosen_on_cuda() -> None:
    assert gpu.unavailable_on_cuda() is None
    for packing in PACKINGS:
        chosen = describe("cuda", packing)
        assert (chosen.kernel, chosen.forced) == ("triton", False)
        assert chosen.passed_over["reference"] == "triton is preferred"
    assert gpu.check().works


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("shape", [*SHAPES, *LARGE], ids=lambda shape: "x".join(map(str, shape)))
def test_sums_are_exact_in_every_run(shape: tuple[int, int, int], packing: str) -> None:
    tokens, d_out, d_in = shape
    values, weights = activations(tokens, d_in, seed=1), trits(d_out, d_in, packing, seed=2)
    for _ in range(5):
        found, expected = sums("triton", values, weights, packing, "cuda")
        assert torch.equal(found, expected)


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_number_of_tokens_is_exact(packing: str) -> None:
    weights = trits(192, 192, packing, seed=3)
    for tokens in range(1, 140):
        found, expected = sums("triton", activations(tokens, 192, tokens), weights, packing, "cuda")
        assert torch.equal(found, expected), tokens


def _layer(d_out: int, d_in: int, *, bias: bool = True) -> TernaryLinear:
    weight = torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(0))
    return TernaryLinear.from_quantized(absmean(weight), torch.randn(d_out) if bias else None).cuda()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 9, 30, 300])
@pytest.mark.parametrize("d_in", [31, 192, 2048])
def test_a_layer_equals_the_reference_bit_for_bit(d_in: int, tokens: int, bias: bool) -> None:
    layer = _layer(70, d_in, bias=bias)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(tokens, d_in, device="cuda", dtype=dtype, requires_grad=True)
        found = layer(x)
        with using_kernel("reference"):
            expected = layer(x)
        assert torch.equal(found, expected)
        gradients = [torch.autograd.grad(y.float().square().sum(), x)[0] for y in (found, expected)]
        assert torch.equal(*gradients)
    x = torch.randn(tokens, d_in, device="cuda")
    expected = layer(x)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("d_in", [1, 31, 192, 1500])
def test_quantising_has_the_bits_of_torch(d_in: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, d_in, generator=generator) * torch.logspace(-9, 30, 400).view(-1, 1)
    x[0] = 0
    x[1] = torch.arange(d_in) % 64 + 0.5
    x[2, d_in // 2], x[3, 0], x[4, -1] = float("nan"), float("inf"), -float("inf")
    found, expected = launch.quantize(x.cuda()), absmax_int8(x.cuda())
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.values.cpu(), absmax_int8(x).values)
    assert torch.equal(found.scale.nan_to_num(nan=-1.0), expected.scale.nan_to_num(nan=-1.0))


def test_a_model_under_hooks_equals_the_reference() -> None:
    model = tinyalign.load("ternary", device="cuda")
    ids = torch.arange(5, 45, device="cuda").view(2, 20)

    def zero_last(activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation[:, -1] = 0
        return activation

    hooks: list[tuple[str | Callable[..., bool], Callable[..., object]]]
    hooks = [("blocks.1.hook_resid_mid", zero_last)]
    with torch.no_grad():
        plain = model.bridge(ids)
        found = model.bridge.run_with_hooks(ids, fwd_hooks=hooks)
        with using_kernel("reference"):
            expected = model.bridge.run_with_hooks(ids, fwd_hooks=hooks)
    assert torch.equal(found, expected)
    assert not torch.equal(found[:, -1], plain[:, -1])


@pytest.mark.parametrize("tokens", [1, 16, 100])
def test_a_graph_replays_the_product(tokens: int) -> None:
    # 4,096 inputs are split for one token and for sixteen: the zeroing is in the graph too.
    layer = _layer(192, 4096)
    x = torch.randn(tokens, 4096, device="cuda")
    with torch.no_grad():
        graph, y = _captured(lambda: layer(x))
        for seed in range(3):
            x.copy_(torch.randn(tokens, 4096, generator=torch.Generator().manual_seed(seed)))
            y.fill_(float("nan"))
            graph.replay()
            with using_kernel("reference"):
                assert torch.equal(y, layer(x))


def test_a_first_run_inside_a_capture_is_refused() -> None:
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        graph.capture_begin()
        try:
            with pytest.raises(InputError, match="run it once before"):
                launch.trial("cuda")
        finally:
            graph.capture_end()


def _captured(run: Callable[[], torch.Tensor]) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """A graph of one call of `run`, after a warm-up on another stream, and the tensor it writes."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        written = run()
    return graph, written


@pytest.mark.parametrize("tokens", [1, 16, 256, 2048])
@pytest.mark.parametrize("shape", LAYERS, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("whole", [False, True], ids=["product", "layer"])
def test_no_slower_than_the_reference(shape: tuple[int, int], tokens: int, whole: bool) -> None:
    layer = _layer(*shape)
    x = torch.randn(tokens, shape[1], device="cuda")
    values = absmax_int8(x).values
    graphs: dict[str, torch.cuda.CUDAGraph] = {}
    written: dict[str, list[torch.Tensor]] = {"triton": [], "reference": []}
    for name, outputs in written.items():
        matmul = dispatch.kernel_named(name).matmul

        def run(matmul: Matmul = matmul, outputs: list[torch.Tensor] = outputs) -> torch.Tensor:
            # All kept, so that every product has an output of its own, to be looked at afterwards.
            outputs[:] = [
                layer(x) if whole else matmul(values, layer.packed, shape, layer.packing) for _ in range(50)
            ]
            return outputs[-1]

        with using_kernel(name), torch.no_grad():
            graphs[name], _ = _captured(run)
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(20):
        for name, graph in graphs.items():
            for output in written[name]:
                output.fill_(-77)
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(begin.elapsed_time(end))
    expected = written["reference"][0].float()
    assert all(torch.equal(output.float(), expected) for outputs in written.values() for output in outputs)
    ratio = statistics.median(times["reference"]) / statistics.median(times["triton"])
    print(f"{'layer' if whole else 'product'}, {tokens} tokens, {shape}: {ratio:.2f} times the reference")
    assert ratio >= 1
