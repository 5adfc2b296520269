"""Choosing the few components that carry an effect: greedy, on the fit prompts alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinyalign.circuits.components import Component
from tinyalign.circuits.exchange import exchange
from tinyalign.circuits.reading import Reading

# What one more component must add to the score, and what one must be worth to stay.
LEAST_GAIN = 0.02
Scorer = Callable[[Sequence[tuple[Component, ...]]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Sides:
    """Two runs over the same decisions; the effect is what `source` prefers beyond `target`, in nats a
    prompt.

    For a contrast `source` is the clean run and `target` the corrupted one; for an edit they are the edited
    and the base model. Positive = towards the property.
    """

    source: Reading
    target: Reading

    @property
    def wholes(self) -> np.ndarray:
        """The whole difference [prompt] in nats."""
        return self.source.preferences - self.target.preferences

    def restored(self, sets: Sequence[Sequence[Component]]) -> np.ndarray:
        """What `target` gains [set prompt] by the writes of `source` (nats): are they sufficient?"""
        return exchange(self.target, self.source, sets) - self.target.preferences

    def lost(self, sets: Sequence[Sequence[Component]]) -> np.ndarray:
        """What `source` loses [set prompt] by the writes of `target` (nats): are they necessary?"""
        return self.source.preferences - exchange(self.source, self.target, sets)

    def scores(self, sets: Sequence[Sequence[Component]]) -> np.ndarray:
        """Mean of the shares restored and lost, for each set.

        Shares are of the mean whole difference: they mean something only where that is clearly not zero,
        which `find_circuit` asks of an effect first.
        """
        whole = float(self.wholes.mean())
        return (self.restored(sets).mean(-1) + self.lost(sets).mean(-1)) / (2 * whole)


def greedy(
    scores: Scorer, candidates: Sequence[Component], target: float, most: int, shortlist: int
) -> tuple[tuple[Component, ...], dict[Component, float]]:
    """(components in the order found, each candidate's score alone).

    Of the `shortlist` candidates with the best scores alone, the one that raises the joint score most is
    added, until `target` is reached, `most` are chosen or none adds `LEAST_GAIN`; then those that the others
    make superfluous are dropped again. `scores` gives the share that each of several sets carries.
    """
    alone = dict(zip(candidates, scores([(c,) for c in candidates]).tolist(), strict=True))
    pool = sorted(candidates, key=lambda c: (-alone[c], c.order))[:shortlist]
    chosen: list[Component] = []
    reached = 0.0
    while pool and len(chosen) < most and reached < target:
        found = scores([(*chosen, c) for c in pool])
        best = int(found.argmax())
        if found[best] - reached < LEAST_GAIN:
            break
        reached = float(found[best])
        chosen.append(pool.pop(best))
    while len(chosen) > 1:
        without = [tuple(c for c in chosen if c is not one) for one in chosen]
        found = scores(without)
        best = int(found.argmax())
        if reached - found[best] >= LEAST_GAIN or (reached >= target > found[best]):
            break
        reached = float(found[best])
        chosen.pop(best)
    return tuple(chosen), alone
