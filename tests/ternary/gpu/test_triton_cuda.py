"""The Triton kernels on a CUDA device: exact, chosen, captured by graphs, no slower than the reference."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
import torch

import tinyalign
from tests.ternary.gpu.cases import SHAPES, activations, sums, trits
from tinyalign.common.errors import InputError
from tinyalign.ternary import TernaryLinear, absmean, describe, dispatch, gpu, using_kernel
from tinyalign.ternary.packing import PACKINGS, pack

pytestmark = pytest.mark.gpu

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


def _layer(d_out: int, d_in: int) -> TernaryLinear:
    weight = torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(0))
    return TernaryLinear.from_quantized(absmean(weight), torch.randn(d_out)).cuda()


def test_a_layer_equals_the_reference_bit_for_bit() -> None:
    layer = _layer(70, 90)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(3, 9, 90, device="cuda", dtype=dtype, requires_grad=True)
        found = layer(x)
        with using_kernel("reference"):
            expected = layer(x)
        assert torch.equal(found, expected)
        gradients = [torch.autograd.grad(y.float().square().sum(), x)[0] for y in (found, expected)]
        assert torch.equal(*gradients)
    x = torch.randn(30, 90, device="cuda")
    expected = layer(x)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.equal(layer(x), expected)


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
    from tinyalign.ternary.gpu import launch

    stream = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        graph.capture_begin()
        try:
            with pytest.raises(InputError, match="run it once before"):
                launch.trial("cuda")
            torch.zeros(1, device="cuda")
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
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: "x".join(map(str, layer)))
def test_no_slower_than_the_reference(layer: tuple[int, int], tokens: int) -> None:
    d_out, d_in = layer
    values = activations(tokens, d_in, seed=1).cuda()
    packed = pack(trits(d_out, d_in, "2bit", seed=2), "2bit").cuda()
    repeats = 50
    graphs: dict[str, torch.cuda.CUDAGraph] = {}
    written: dict[str, list[torch.Tensor]] = {}
    for name in ("triton", "reference"):
        matmul = dispatch.kernel_named(name).matmul
        written[name] = []

        def run(matmul: Callable[..., torch.Tensor] = matmul, kept: list[torch.Tensor] = written[name]):
            # Kept, so that every product has an output of its own, to be looked at afterwards.
            kept[:] = [matmul(values, packed, (d_out, d_in), "2bit") for _ in range(repeats)]
            return kept[-1]

        graphs[name], _ = _captured(run)
    seconds: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(20):
        for name, graph in graphs.items():
            for output in written[name]:
                output.fill_(-77)
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            seconds[name].append(begin.elapsed_time(end))
    first = written["reference"][0].int()
    assert all(torch.equal(output.int(), first) for outputs in written.values() for output in outputs)
    ratio = statistics.median(seconds["reference"]) / statistics.median(seconds["triton"])
    print(f"{tokens} tokens, {d_out} x {d_in}: {ratio:.2f} times the reference's speed")
    assert ratio >= 1
