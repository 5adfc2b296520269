"""Muon for the matrices of the blocks, AdamW for embedding and norms; state that can be saved exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tinyalign.training.recipe import Schedule

_MOMENTUM = 0.95
# Muon's quintic Newton-Schulz coefficients (Jordan 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Scales an orthogonal update to the root mean square of AdamW's (Liu et al. 2025, arXiv:2502.16982).
_RMS = 0.2


def orthogonalise(update: Tensor) -> Tensor:
    """Each matrix of [batch rows columns] with its singular values pushed to about 1, in bfloat16.

    Source: Keller Jordan, Muon (2024), Newton-Schulz iteration of order five.
    """
    a, b, c = _COEFFICIENTS
    x = update.bfloat16()
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.float()


class Muon:
    """Momentum, orthogonalised; matrices of one shape (or its transpose) are done together."""

    def __init__(self, matrices: Iterable[nn.Parameter]) -> None:
        self._groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for matrix in matrices:
            rows, columns = sorted(matrix.shape)
            self._groups.setdefault((rows, columns), []).append(matrix)
        self._momentum = {
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self._groups.items()
        }

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float) -> None:
        """One step from the gradients, which are used up."""
        for shape, group in self._groups.items():
            gradients = torch.stack([_wide(p.grad) for p in group if p.grad is not None])
            momentum = self._momentum[shape].lerp_(gradients, 1 - _MOMENTUM)
            updates = orthogonalise(gradients.lerp(momentum, _MOMENTUM)) * (_RMS * math.sqrt(max(shape)))
            for matrix, update in zip(group, updates, strict=True):
                matrix.mul_(1 - rate * weight_decay)
                wide = matrix.shape[0] <= matrix.shape[1]
                matrix.sub_(update if wide else update.t(), alpha=rate)
                matrix.grad = None

    def state(self) -> dict[str, Tensor]:
        """All state as named tensors."""
        return {f"{a}x{b}": momentum for (a, b), momentum in self._momentum.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for (a, b), momentum in self._momentum.items():
            momentum.copy_(state[f"{a}x{b}"])


def _wide(gradient: Tensor) -> Tensor:
    return gradient if gradient.shape[0] <= gradient.shape[1] else gradient.t()


class Optimizer:
    """What a `Schedule` says: Muon or AdamW on `matrices`, AdamW without decay on everything else."""

    def __init__(self, net: nn.Module, matrices: Sequence[tuple[str, nn.Parameter]], schedule: Schedule):
        self._schedule = schedule
        names = {name for name, _ in matrices}
        chosen = [p for _, p in matrices]
        self._named = dict(net.named_parameters())
        rest = [p for name, p in self._named.items() if name not in names]
        groups = [{"params": rest, "weight_decay": 0.0}]
        self._muon = Muon(chosen) if schedule.optimizer == "muon" and chosen else None
        if self._muon is None and chosen:
            groups.append({"params": chosen, "weight_decay": schedule.weight_decay})
        self._adamw = torch.optim.AdamW(groups, lr=schedule.vector_rate, betas=(0.9, 0.98), fused=True)

    def step(self, step: int) -> None:
        """One step at the rates of `step`; gradients are used up."""
        factor = self._schedule.rate(step)
        rates = (self._schedule.vector_rate * factor, self._schedule.matrix_rate * factor)
        if self._muon is not None:
            self._muon.step(rates[1], self._schedule.weight_decay)
        for group, rate in zip(self._adamw.param_groups, rates, strict=False):
            group["lr"] = rate
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """All state as named tensors: what `restore` needs to go on to the bit."""
        found = {} if self._muon is None else {f"muon.{k}": v for k, v in self._muon.state().items()}
        for name, parameter in self._named.items():
            for key, value in self._adamw.state.get(parameter, {}).items():
                found[f"adamw.{key}.{name}"] = value
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        if self._muon is not None:
            prefix = "muon."
            self._muon.restore({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        for name, parameter in self._named.items():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                stored = state.get(f"adamw.{key}.{name}")
                if stored is not None:
                    device = torch.device("cpu") if key == "step" and not stored.is_cuda else parameter.device
                    self._adamw.state[parameter][key] = stored.clone().to(device)
