"""Searching trits to flip: ranked by gradients, each step verified by the exact forward pass, then pruned."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float

from tinyalign.common.errors import EditError
from tinyalign.edits.objective import Loss, Material, Occasion, Progress, Terms, loss
from tinyalign.ternary import TernaryLinear

_SMOOTHING = 0.6
# A flip that moves a trit flipped before costs nothing more to write down, so it may win against fresh ones.
_AGAIN = 1.5
_PRUNED_TOGETHER = 16


@dataclass(frozen=True)
class SearchSettings:
    """How the search goes: `rounds` of at most `flips_a_round`, `most` flips in all.

    A round sees `prompts` new training prompts on five sides and `stories` neutral stories. At most `per_row`
    flips fall into one row or column of a matrix in one round, because their effects would not add up. What
    must not move weighs next to nothing in the first share `free` of the rounds, then more and more. The last
    `fine_rounds` see `fine` times as many stories, because small shifts of rare words drown in few.
    """

    rounds: int = 32
    flips_a_round: int = 24
    most: int = 450
    prompts: int = 24
    stories: int = 6
    per_row: int = 2
    free: float = 0.4
    fine: int = 5
    fine_rounds: int = 7
    prune_prompts: int = 48
    prune_tolerance: float = 0.004

    def __post_init__(self) -> None:
        if min(self.rounds, self.flips_a_round, self.most, self.prompts, self.stories, self.per_row) < 1:
            raise EditError("A search needs at least one round, flip, prompt and story.")

    def weight(self, number: int) -> float:
        """The share of its weight that what must not move has in round `number`."""
        past = (number / self.rounds - self.free) / max(1e-9, 0.8 - self.free)
        return min(1.0, max(0.02, past))


class TritSearch:
    """A search over a copy of a ternary network, among the weights that `allowed` marks.

    `run` leaves what it found in `network`.
    """

    def __init__(
        self,
        material: Material,
        allowed: Mapping[str, Bool[torch.Tensor, "d_out d_in"]],
        terms: Terms,
        settings: SearchSettings,
    ) -> None:
        self._material, self._terms, self._settings = material, terms, settings
        self.network = copy.deepcopy(material.base)
        modules = dict(self.network.named_modules())
        self._layers: dict[str, TernaryLinear] = {}
        for name in allowed:
            layer = modules.get(name)
            if not isinstance(layer, TernaryLinear):
                raise EditError(
                    f"{name} is no ternary layer of the model: trits can only be flipped in those."
                )
            if layer.bits == 1:
                raise EditError("A 1-bit model has no zeros to flip to; this search works on ternary models.")
            self._layers[name] = layer
        self._allowed = dict(allowed)
        self._original = {name: layer.trits.float() for name, layer in self._layers.items()}
        self._trits = {name: trits.clone() for name, trits in self._original.items()}
        self._smooth = {name: torch.zeros_like(trits) for name, trits in self._original.items()}

    @property
    def flipped(self) -> int:
        """Trits that differ from the base now."""
        return sum(int((self._trits[name] != old).sum()) for name, old in self._original.items())

    def run(self, progress: Progress | None) -> list[dict[str, Any]]:
        """Search, prune, write the trits back; the record of the rounds."""
        settings = self._settings
        record: list[dict[str, Any]] = []
        with self._leaves() as leaves:
            for number in range(settings.rounds):
                fine = settings.fine if number >= settings.rounds - settings.fine_rounds else 1
                seen = self._material.occasion(number, settings.prompts, fine * settings.stories)
                found = self._round(leaves, seen, self._terms.eased(settings.weight(number)))
                record.append({"round": number, "flipped": self.flipped, **found.parts})
                if progress is not None:
                    progress(number + 1, settings.rounds, record[-1])
            pruned = self._prune(leaves)
        for name, layer in self._layers.items():
            layer.set_trits(self._trits[name].to(torch.int8))
        record.append({"round": settings.rounds, "flipped": self.flipped, "pruned": pruned})
        return record

    @contextlib.contextmanager
    def _leaves(self) -> Iterator[dict[str, torch.Tensor]]:
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(layer.weight_leaf()) for name, layer in self._layers.items()}

    def _round(self, leaves: dict[str, torch.Tensor], seen: Occasion, terms: Terms) -> Loss:
        """One gradient, then its most promising flips: all at once, else by halves and quarters, each kept
        only where the loss of the exact forward pass falls."""
        best = loss(self.network, seen, terms)
        best.total.backward()
        groups = [self._choose(self._gains(leaves), self._settings.flips_a_round)]
        smallest = max(1, self._settings.flips_a_round // 4)
        while groups:
            group = groups.pop(0)
            if not group:
                continue
            kept = self._move(leaves, group)
            with torch.no_grad():
                after = loss(self.network, seen, terms)
            if bool(after.total < best.total):
                best = after
                continue
            for name, trits in kept.items():
                self._trits[name] = trits
                self._write(leaves, name)
            if len(group) > smallest:
                half = len(group) // 2
                groups[:0] = [group[:half], group[half:]]
        return best

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
            allowed = self._allowed[name] & (self._trits[name] * -slope.sign() < 1)
            fresh = self._trits[name] == self._original[name]
            worth = torch.where(fresh, 1.0 if room_left else 0.0, _AGAIN)
            gains[name] = slope.abs() * allowed * worth
        return gains

    def _choose(self, gains: Mapping[str, torch.Tensor], count: int) -> list[tuple[str, int, int]]:
        """The `count` greatest gains as (layer, row, column), thinned so that few share a row or column."""
        names = list(gains)
        flat = torch.cat([gains[name].flatten() for name in names])
        ends = torch.tensor([gains[name].numel() for name in names]).cumsum(0)
        value, place = flat.topk(min(len(flat), 12 * count))
        used: Counter[tuple[str, str, int]] = Counter()
        found: list[tuple[str, int, int]] = []
        for gain, index in zip(value.tolist(), place.tolist(), strict=True):
            if gain <= 0 or len(found) == count:
                break
            which = int(torch.searchsorted(ends, index, right=True))
            name = names[which]
            row, column = divmod(index - (int(ends[which - 1]) if which else 0), gains[name].shape[1])
            keys = [(name, "row", row), (name, "column", column)]
            if all(used[key] < self._settings.per_row for key in keys):
                used.update(keys)
                found.append((name, row, column))
        return found

    def _move(
        self, leaves: dict[str, torch.Tensor], chosen: Sequence[tuple[str, int, int]]
    ) -> dict[str, torch.Tensor]:
        """Move each chosen trit a step against its gradient; the trits of those layers as they were."""
        before = {name: self._trits[name].clone() for name, _, _ in chosen}
        for name, row, column in chosen:
            self._trits[name][row, column] -= self._smooth[name][row, column].sign()
        for name in before:
            self._write(leaves, name)
        return before

    @torch.no_grad()
    def _write(self, leaves: dict[str, torch.Tensor], name: str) -> None:
        leaves[name].copy_(self._trits[name] * self._layers[name].scale)

    def _prune(self, leaves: dict[str, torch.Tensor]) -> int:
        """Take back flips that the loss on fresh prompts does not need, the least useful first; how many.

        The less useful half is tried, a few flips together, so that all of it costs a dozen forward passes.
        """
        settings = self._settings
        number = settings.rounds * settings.prompts // settings.prune_prompts + 1
        seen = self._material.occasion(number, settings.prune_prompts, settings.stories)
        found = loss(self.network, seen, self._terms)
        found.total.backward()
        candidates: list[tuple[float, str, int]] = []
        for name, leaf in leaves.items():
            if leaf.grad is None:
                continue
            back = (self._original[name] - self._trits[name]) * self._layers[name].scale * leaf.grad
            flipped = (self._trits[name] != self._original[name]).flatten().nonzero()[:, 0].tolist()
            candidates += [(float(back.flatten()[index]), name, index) for index in flipped]
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
        for begin in range(0, len(candidates) // 2, _PRUNED_TOGETHER):
            group = candidates[begin : begin + _PRUNED_TOGETHER]
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
        return removed
