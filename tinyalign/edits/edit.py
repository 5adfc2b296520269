"""`Edit`: a frozen, sparse, reversible difference between two models, with what it was fitted on."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import lgamma, log
from pathlib import Path
from typing import Any

from tinyalign.common.errors import EditError
from tinyalign.edits.changes import MatrixChange
from tinyalign.models import StoryModel
from tinyalign.models.identity import identity
from tinyalign.models.story_model import make_story_model

FLOAT_BITS = 16
"""Bits that a float of an edit counts in its description length."""


@dataclass(frozen=True, eq=False)
class Edit:
    """What was changed in `base_sha256` to get `edited_sha256`, how, and on what it was fitted.

    Attributes:
        method: "trits", "graft", "rank_one", "logit_bias", "token_ban", or a name of your own.
        base, base_sha256, edited_sha256: the base's name, and the identities before and after.
        property_id, pair: the property and logit pair it was fitted for.
        seed: the root of every draw of the fit.
        prompts: what it was fitted on: grammar_sha256, split, decision, prompts seen, and the like.
        fit_words: {"satisfying": [...], "violating": [...]}, the words the fit pushed on.
        components: names of the components it was allowed in ("L2.mlp", "L1.attn").
        changes: the difference, tensor by tensor.
        rank: for a low-rank float edit, its rank, which makes its description shorter; else None.
        record: figures of the fit, for the reader.
    """

    method: str
    base: str
    base_sha256: str
    edited_sha256: str
    property_id: str
    pair: str
    seed: int
    prompts: Mapping[str, Any]
    fit_words: Mapping[str, list[str]]
    components: tuple[str, ...]
    changes: tuple[MatrixChange, ...]
    rank: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [change.tensor for change in self.changes]
        if len(set(names)) < len(names):
            raise EditError("An edit changes one tensor twice: give each tensor one change.")
        if not self.changes and self.base_sha256 != self.edited_sha256:
            raise EditError("An edit without changes cannot turn one model into another.")

    @property
    def sites(self) -> tuple[str, ...]:
        """The tensors changed."""
        return tuple(change.tensor for change in self.changes)

    @property
    def trits_flipped(self) -> int:
        """Trits that differ from the base (0 for a float edit)."""
        return sum(change.count for change in self.changes if change.kind == "trits")

    @property
    def description_bits(self) -> float:
        """What it takes to write the edit down, in bits.

        Trits: log2 C(N, k) for where (N entries in the matrices changed, k flipped) and one bit each for
        which of the two other values. Floats: 16 bits a number, for each entry with log2 of its place, or
        (rows + columns) * rank numbers where the edit is of low rank.
        """
        trits = [change for change in self.changes if change.kind == "trits"]
        flipped = self.trits_flipped
        bits = log2_choose(sum(change.size for change in trits), flipped) + flipped
        for change in self.changes:
            if change.kind != "floats":
                continue
            if self.rank is not None and len(change.shape) == 2:
                bits += FLOAT_BITS * self.rank * sum(change.shape)
            else:
                bits += log2_choose(change.size, change.count) + FLOAT_BITS * change.count
        return bits

    def apply(self, base: StoryModel) -> StoryModel:
        """A new model with the edit in it; `base` stays as it is.

        Raises `EditError` for another base, or when the result is not the model the edit was made as.
        """
        self._check(base)
        network = copy.deepcopy(base.network)
        for change in self.changes:
            change.write(network)
        edited = make_story_model(
            network, base.tokenizer, source=f"{base.source}, edited by {self.method}", name=self.name
        )
        if edited.sha256 != self.edited_sha256:
            raise EditError(
                f"The edit gives the model {edited.sha256[:12]}, it was made as {self.edited_sha256[:12]}: "
                "its file was changed; fit it again."
            )
        return edited

    @property
    def name(self) -> str:
        """The edited model's name."""
        return f"{self.base}+{self.method}"

    @contextlib.contextmanager
    def applied(self, base: StoryModel) -> Iterator[StoryModel]:
        """Edit `base` in place inside the block, undo at its end whatever happens.

        `base.sha256` keeps naming the base meanwhile: records that need an identity want `apply`.
        Raises `EditError` for another base.
        """
        self._check(base)
        done: list[MatrixChange] = []
        try:
            for change in self.changes:
                change.write(base.network)
                done.append(change)
            yield base
        finally:
            for change in reversed(done):
                change.write(base.network, undo=True)

    def revert(self, edited: StoryModel) -> StoryModel:
        """The base again, from the edited model; raises `EditError` for a model that isn't the edited one."""
        if edited.sha256 != self.edited_sha256:
            raise EditError(
                f"{edited.name} is {edited.sha256[:12]}, not the model {self.edited_sha256[:12]} that this "
                "edit made: give that one."
            )
        network = copy.deepcopy(edited.network)
        for change in self.changes:
            change.write(network, undo=True)
        return make_story_model(network, edited.tokenizer, source=edited.source, name=self.base)

    def _check(self, base: StoryModel) -> None:
        # The weights themselves are looked at: an in-place edit leaves the recorded identity behind.
        found = identity(base.network, base.tokenizer, base.revision)
        if found != self.base_sha256:
            raise EditError(
                f"The edit was made for the model {self.base} ({self.base_sha256[:12]}), but {base.name} is "
                f"{found[:12]}: apply it to its own base, or fit one for this model."
            )

    def diff(self) -> str:
        """The difference in words, tensor by tensor."""
        if not self.changes:
            return "Nothing is changed."
        return "\n".join(_words(change) for change in self.changes)

    def describe(self) -> str:
        """The edit in one sentence."""
        if self.trits_flipped:
            total = sum(change.size for change in self.changes)
            what = f"{self.trits_flipped} of {total:,} trits flipped"
        else:
            entries = sum(change.count for change in self.changes)
            what = f"{entries:,} floats changed" + (f", a change of rank {self.rank}" if self.rank else "")
        return (
            f"{self.method} edit of {self.base} for {self.property_id} ({self.pair}): {what} in "
            f"{len(self.changes)} tensors, {self.description_bits:,.0f} bits to write down."
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the single entries, as JSON values."""
        return {
            "method": self.method,
            "base": self.base,
            "base_sha256": self.base_sha256,
            "edited_sha256": self.edited_sha256,
            "property_id": self.property_id,
            "pair": self.pair,
            "seed": self.seed,
            "prompts": dict(self.prompts),
            "fit_words": {side: list(words) for side, words in self.fit_words.items()},
            "components": list(self.components),
            "rank": self.rank,
            "sites": list(self.sites),
            "trits_flipped": self.trits_flipped,
            "description_bits": self.description_bits,
            "description": self.describe(),
            "diff": self.diff(),
            "record": dict(self.record),
        }

    def save(self, folder: str | Path) -> None:
        """Write `edit.json` and `edit.safetensors` to `folder`; see `tinyalign.edits.store`."""
        from tinyalign.edits.store import save_edit

        save_edit(self, folder)


def log2_choose(n: int, k: int) -> float:
    """log2 of the number of ways to choose k of n."""
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2)


def _words(change: MatrixChange) -> str:
    if change.kind == "floats":
        moved = abs(change.new.astype(float) - change.old.astype(float)).max()
        return f"{change.tensor}: {change.count:,} of {change.size:,} floats, by at most {moved:.3g}"
    steps = Counter(zip(change.old.tolist(), change.new.tolist(), strict=True))
    told = ", ".join(f"{n} from {old:+d} to {new:+d}" for (old, new), n in sorted(steps.items()))
    rows = len({int(i) // change.shape[1] for i in change.indices})
    return f"{change.tensor}: {change.count} of {change.size:,} trits in {rows} rows ({told})".replace(
        "+0", "0"
    )
