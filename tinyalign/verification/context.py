"""What every leaf is measured in: the two models, the property, the sealed seed, and what may be shared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from tinyalign.common.seeds import derive_seed
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.contrast import preferences
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.stories.grammar import ContrastPrompt, Split
from tinyalign.stories.grammar.permutation import SeededPermutation
from tinyalign.verification.texts import OWN, StorySource

if TYPE_CHECKING:
    from tinyalign.circuits import Localization
    from tinyalign.edits import Edit

Which = Literal["base", "edited"]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Context:
    """The models before and after, the property and pair at stake, and the seed of the sealed stream.

    `seed` is the root of every draw (see `tinyalign.verification.seal`), `alpha` the error each leaf of a
    conjunction may spend in this attempt. `edit` is the artifact, where there is one; `localization` the
    components that the mechanism leaf claims; `preserved` the other properties (with their pairs) that are
    present in the base; `stories` says where whole stories come from.
    """

    base: StoryModel
    edited: StoryModel
    prop: Property
    pair: LogitPair
    seed: int
    edit: Edit | None = None
    alpha: float = 0.05
    localization: Localization | None = None
    preserved: tuple[tuple[Property, LogitPair], ...] = ()
    stories: StorySource = OWN
    _memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def model(self, which: Which) -> StoryModel:
        """The base or the edited model."""
        return self.base if which == "base" else self.edited

    def seed_for(self, stream: str, *purpose: str | int) -> int:
        """The seed of a leaf's draws: from the sealed seed, the stream's name and what is drawn, alone."""
        return derive_seed("verification", self.seed, stream, *purpose)

    def prompts(
        self,
        indices: range,
        *,
        stream: str = "decision",
        split: Split = "test",
        prop: Property | None = None,
        pair: LogitPair | None = None,
        **other: Split,
    ) -> list[ContrastPrompt]:
        """Prompts number `indices` of a sealed stream, each drawn once (without replacement).

        Leaves that name the same `stream` get the same prompts, and their scores are computed once. `other`
        mixes splits slot by slot, as in `PromptGrammar.space`. Raises `IndexError` beyond `space_size`.
        """
        space = (prop or self.prop).prompts.space(split, (pair or self.pair).decision, **other)
        purpose = (space.grammar.sha256, space.mix.label, space.decision)
        order = SeededPermutation(len(space), *purpose, self.seed_for(stream, "prompts"))
        return [space[order[index]] for index in indices]

    def space_size(
        self,
        split: Split = "test",
        prop: Property | None = None,
        pair: LogitPair | None = None,
        **other: Split,
    ) -> int:
        """How many different prompts a stream of this split holds."""
        return len((prop or self.prop).prompts.space(split, (pair or self.pair).decision, **other))

    def preferences(
        self, which: Which, prompts: Sequence[ContrastPrompt], side: str, pair: LogitPair | None = None
    ) -> np.ndarray:
        """log p(S) - log p(V) in nats, float64 [n], for one side; remembered for the same block of prompts.

        One side at a time, and always for the block as a whole: what is in a batch can move the last bit.
        """
        chosen = pair or self.pair
        key = (which, chosen, side, tuple((p.property_id, p.split, p.decision, p.index) for p in prompts))
        return self.remembered(key, lambda: preferences(self.model(which), chosen, prompts, (side,))[0][side])

    def remembered(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gave for this key before, or gives now: for blocks that several leaves share."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]
