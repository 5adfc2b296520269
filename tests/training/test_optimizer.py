"""Muon against its definition, AdamW against PyTorch's, and state that comes back exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tinyalign.training.optimizer import Muon, Optimizer, orthogonalise
from tinyalign.training.recipe import Schedule


def test_orthogonalise_keeps_directions_and_levels_singular_values() -> None:
    torch.manual_seed(0)
    update = torch.randn(3, 16, 40) * torch.tensor([1e-4, 1.0, 1e3]).view(3, 1, 1)
    found = orthogonalise(update)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3 and values.max() < 1.4
    u, _, vh = torch.linalg.svd(update, full_matrices=False)
    aligned = (u.mT @ found @ vh.mT).diagonal(dim1=1, dim2=2)
    assert aligned.min() > 0.3


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_muon_moves_against_the_gradient_at_the_stated_size(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    weight = nn.Parameter(torch.zeros(shape))
    gradient = torch.randn(shape)
    weight.grad = gradient.clone()
    Muon([weight]).step(rate=0.1, weight_decay=0.0)
    assert (weight * gradient).sum() < 0 and weight.grad is None
    # 0.1 * 0.2 * sqrt(10) times an orthogonal matrix with 6 singular values of about 1.
    assert weight.norm().item() == pytest.approx(0.1 * 0.2 * 10**0.5 * 6**0.5, rel=0.25)


def _net() -> tuple[nn.Module, list[tuple[str, nn.Parameter]]]:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
    return net, [(n, p) for n, p in net.named_parameters() if p.dim() == 2]


def _learn(net: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        net(torch.randn(4, 5, generator=draw)).square().mean().backward()
        optimizer.step(step)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_state_comes_back_to_the_bit(kind: str) -> None:
    schedule = Schedule(steps=20, warmup=2, optimizer=kind)
    whole, matrices = _net()
    _learn(whole, Optimizer(whole, matrices, schedule), range(12))
    first, matrices = _net()
    begun = Optimizer(first, matrices, schedule)
    _learn(first, begun, range(5))
    second, matrices = _net()
    second.load_state_dict(first.state_dict())
    resumed = Optimizer(second, matrices, schedule)
    resumed.restore({k: v.clone() for k, v in begun.state().items()})
    _learn(second, resumed, range(5, 12))
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_adamw_is_pytorchs() -> None:
    schedule = Schedule(steps=10, warmup=0, decay=0.0, optimizer="adamw", weight_decay=0.1)
    net, matrices = _net()
    _learn(net, Optimizer(net, matrices, schedule), range(4))
    other, matrices = _net()
    vectors = [p for p in other.parameters() if p.dim() == 1]
    reference = torch.optim.AdamW(
        [
            {"params": vectors, "lr": schedule.vector_rate, "weight_decay": 0.0},
            {"params": [p for _, p in matrices], "lr": schedule.matrix_rate, "weight_decay": 0.1},
        ],
        betas=(0.9, 0.98),
    )
    for step in range(4):
        draw = torch.Generator().manual_seed(step)
        other(torch.randn(4, 5, generator=draw)).square().mean().backward()
        reference.step()
        reference.zero_grad()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
