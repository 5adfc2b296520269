"""Searching trits to flip: ranked by gradients, every step verified by the exact forward pass, then pruned."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from tinyalign.common.errors import EditError
from tinyalign.edits.batches import NeutralText, PromptBatch, TrainingPrompts
from tinyalign.edits.objective import Loss, Occasion, Terms, loss, occasion, preference
from tinyalign.ternary import TernaryLinear

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after each round with (round, rounds, what the loss is made of and how many trits are flipped)."""

_SMOOTHING = 0.6
# A flip that moves a trit flipped before costs nothing more to write down, so it may win against fresh ones.
_AGAIN = 1.5
_LEAST = 2


@dataclass(frozen=True)
class SearchSettings:
    """How the search goes: `rounds` of at most `flips_a_round`, `most` flips in all.

    A round sees `prompts` new training prompts on five sides and `stories` neutral stories. At most `per_row`
    flips fall into one row or column of a matrix in one round, because their effects would not add up. What
    must not move weighs little at first and all it weighs after the share `ease` of the rounds.
    """

    rounds: int = 48
    flips_a_round: int = 24
    most: int = 400
    prompts: int = 32
    stories: int = 6
    per_row: int = 2
    ease: float = 0.6
    prune_prompts: int = 96
    prune_tolerance: float = 0.004

    def __post_init__(self) -> None:
        if min(self.rounds, self.flips_a_round, self.most, self.prompts, self.stories, self.per_row) < 1:
            raise EditError("A search needs at least one round, flip, prompt and story.")


class TritSearch:
    """A copy of a ternary network under search; `run` leaves the best trits found in `network`."""

    def __init__(
        self, base: nn.Module, layers: Sequence[str], start: int, terms: Terms, settings: SearchSettings
    ) -> None:
        self._base, self._start, self._terms, self._settings = base, start, terms, settings
        self.network = copy.deepcopy(base)
        modules = dict(self.network.named_modules())
        self._layers: dict[str, TernaryLinear] = {}
        for name in layers:
            layer = modules.get(name)
            if not isinstance(layer, TernaryLinear):
                raise EditError(f"{name} is no ternary layer of the model: trits can only be flipped in those.")
            if layer.bits == 1:
                raise EditError("A 1-bit model has no zeros to flip to; this search works on ternary models.")
            self._layers[name] = layer
        self._original = {name: layer.trits.float() for name, layer in self._layers.items()}
        self._trits = {name: trits.clone() for name, trits in self._original.items()}
        self._smooth = {name: torch.zeros_like(trits) for name, trits in self._original.items()}

    @property
    def flipped(self) -> int:
        """Trits that differ from the base now."""
        return sum(int((self._trits[name] != old).sum()) for name, old in self._original.items())

    def run(self, prompts: TrainingPrompts, text: NeutralText, progress: Progress | None) -> list[dict[str, Any]]:
        """Search, prune, write the trits back; the record of the rounds."""
        settings = self._settings
        record: list[dict[str, Any]] = []
        step = settings.flips_a_round
        with self._leaves() as leaves:
            for number in range(settings.rounds):
                seen = self._occasion(prompts.batch(number, settings.prompts), text, number)
                terms = self._terms.eased(min(1.0, 0.1 + number / (settings.ease * settings.rounds)))
                step, found = self._round(leaves, seen, step, terms)
                record.append({"round": number, "flipped": self.flipped, **found.parts})
                if progress is not None:
                    progress(number + 1, settings.rounds, record[-1])
            pruned = self._prune(leaves, prompts, text)
        for name, layer in self._layers.items():
            layer.set_trits(self._trits[name].to(torch.int8))
        record.append({"round": settings.rounds, "flipped": self.flipped, "pruned": pruned})
        return record

    def _occasion(self, batch: PromptBatch, text: NeutralText, number: int) -> Occasion:
        return occasion(self._base, batch, text, number, self._settings.stories, self._start)

    @contextlib.contextmanager
    def _leaves(self) -> Iterator[dict[str, torch.Tensor]]:
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(layer.weight_leaf()) for name, layer in self._layers.items()}

    def _round(
        self, leaves: dict[str, torch.Tensor], seen: Occasion, step: int, terms: Terms
    ) -> tuple[int, Loss]:
        """One gradient, then the most promising flips, fewer at a time until the loss really falls."""
        before = loss(self.network, seen, terms)
        before.total.backward()
        gains = self._gains(leaves)
        shrunk = False
        while True:
            chosen = self._choose(gains, step)
            kept = {name: self._trits[name].clone() for name in chosen}
            self._move(leaves, chosen)
            with torch.no_grad():
                after = loss(self.network, seen, terms)
            if bool(after.total < before.total) or not chosen:
                break
            for name, trits in kept.items():
                self._trits[name] = trits
                self._write(leaves, name)
            if step <= _LEAST:
                return _LEAST * 2, before
            step, shrunk = max(_LEAST, step // 2), True
        return (step if shrunk else min(self._settings.flips_a_round, 2 * step)), after

    @torch.no_grad()
    def _gains(self, leaves: dict[str, torch.Tensor]) -> dict[str, Float[torch.Tensor, "d_out d_in"]]:
        """First-order fall of the loss for moving each trit one step the way its gradient says."""
        room_left = self.flipped < self._settings.most
        gains: dict[str, torch.Tensor] = {}
        for name, leaf in leaves.items():
            if leaf.grad is None:
                raise EditError(f"{name} lies before the first layer of the search: it gets no gradient.")
            smooth = self._smooth[name].mul_(_SMOOTHING).add_(leaf.grad, alpha=1 - _SMOOTHING)
            leaf.grad = None
            slope = smooth * self._layers[name].scale
            allowed = self._trits[name] * -slope.sign() < 1
            fresh = self._trits[name] == self._original[name]
            worth = torch.where(fresh, 1.0 if room_left else 0.0, _AGAIN)
            gains[name] = slope.abs() * allowed * worth
        return gains

    def _choose(
        self, gains: Mapping[str, torch.Tensor], count: int
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """The `count` greatest gains, thinned so that few share a row or a column: {layer: (rows, columns)}."""
        names = list(gains)
        flat = torch.cat([gains[name].flatten() for name in names])
        ends = torch.tensor([gains[name].numel() for name in names]).cumsum(0)
        value, place = flat.topk(min(len(flat), 12 * count))
        used: dict[tuple[str, str, int], int] = {}
        found: dict[str, list[tuple[int, int]]] = {}
        total = 0
        for gain, index in zip(value.tolist(), place.tolist(), strict=True):
            if gain <= 0 or total == count:
                break
            which = int(torch.searchsorted(ends, index, right=True))
            name = names[which]
            row, column = divmod(index - (int(ends[which - 1]) if which else 0), gains[name].shape[1])
            keys = (name, "row", row), (name, "column", column)
            if any(used.get(key, 0) >= self._settings.per_row for key in keys):
                continue
            for key in keys:
                used[key] = used.get(key, 0) + 1
            found.setdefault(name, []).append((row, column))
            total += 1
        return {
            name: (torch.tensor([r for r, _ in places]), torch.tensor([c for _, c in places]))
            for name, places in found.items()
        }

    def _move(
        self, leaves: dict[str, torch.Tensor], chosen: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        for name, at in chosen.items():
            self._trits[name][at] -= self._smooth[name][at].sign()
            self._write(leaves, name)

    @torch.no_grad()
    def _write(self, leaves: dict[str, torch.Tensor], name: str) -> None:
        leaves[name].copy_(self._trits[name] * self._layers[name].scale)

    def _prune(self, leaves: dict[str, torch.Tensor], prompts: TrainingPrompts, text: NeutralText) -> int:
        """Take back flips that the loss on fresh prompts does not need, the least useful first; how many.

        Halves of the candidates are tried together, so that a hundred flips cost a dozen forward passes.
        """
        settings = self._settings
        number = settings.rounds * settings.prompts // settings.prune_prompts + 1
        seen = self._occasion(prompts.batch(number, settings.prune_prompts), text, settings.rounds)
        found = loss(self.network, seen, self._terms)
        found.total.backward()
        candidates: list[tuple[float, str, int]] = []
        for name, leaf in leaves.items():
            if leaf.grad is None:
                continue
            back = (self._original[name] - self._trits[name]) * self._layers[name].scale * leaf.grad
            for index in (self._trits[name] != self._original[name]).flatten().nonzero()[:, 0].tolist():
                candidates.append((float(back.flatten()[index]), name, index))
            leaf.grad = None
        candidates.sort()
        best = float(found.total.detach())
        return self._prune_group(leaves, seen, candidates, best)

    def _prune_group(
        self,
        leaves: dict[str, torch.Tensor],
        seen: Occasion,
        candidates: Sequence[tuple[float, str, int]],
        best: float,
    ) -> int:
        removed = 0
        groups = [list(candidates[begin : begin + 16]) for begin in range(0, len(candidates) // 2, 16)]
        while groups:
            group = groups.pop(0)
            kept = {name: self._trits[name].clone() for _, name, _ in group}
            for _, name, index in group:
                self._trits[name].view(-1)[index] = self._original[name].view(-1)[index]
            for name in kept:
                self._write(leaves, name)
            with torch.no_grad():
                after = float(loss(self.network, seen, self._terms).total)
            if after <= best + self._settings.prune_tolerance * len(group):
                best = min(best, after)
                removed += len(group)
                continue
            for name, trits in kept.items():
                self._trits[name] = trits
                self._write(leaves, name)
            if len(group) > 4:
                groups[:0] = [group[: len(group) // 2], group[len(group) // 2 :]]
        return removed


@torch.no_grad()
def share_preferring(network: nn.Module, batch: PromptBatch, n: int) -> float:
    """Share of clean prompts (the first `n` rows) whose fitted satisfying words are preferred."""
    from tinyalign.edits.tail import tail_of

    tail = tail_of(network, batch.ids[:n], 0, batch.last[:n])
    part = PromptBatch(batch.ids[:n], batch.last[:n], batch.satisfying[:n], batch.violating[:n])
    return float((preference(tail.log_probs(network), part) > 0).float().mean())
