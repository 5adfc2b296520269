"""The contrast of a property under a model: is the behaviour there at all, at the level of logits?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from scipy.special import logsumexp

from tinyalign.common.errors import InputError, unknown_name
from tinyalign.engine.score import LanguageModel, score_continuations
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.statistics.betting import betting_interval
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.statistics.interval import Interval
from tinyalign.stories.grammar import ContrastPrompt, Split

CLIP_NATS = 10.0
"""Per-prompt contrasts are clipped to +-10 nats before averaging, since an exact interval needs bounds."""

ADMISSION_NATS = 0.5
ADMISSION_LOWER_BOUND = 0.25

SIDES = ("clean", "corrupted", "neutral", "role_swap_clean", "role_swap_corrupted")


@dataclass(frozen=True)
class Contrast:
    """How much the antecedent moves a model towards the property; positive = the property is present.

    Per prompt, in nats: [log p(S) - log p(V)] after the clean prompt (with the antecedent) minus the same
    after the corrupted one (the antecedent reversed), where S and V are the pair's satisfying and violating
    sets of words and a set's log-probability is the logsumexp over its members' full ones.

    `mean` is the mean of the values clipped to +-10 nats with its 95% betting interval, exact for the
    grammar's prompts; `clipped` counts the values that were clipped and `per_prompt` keeps them unclipped.
    `sign` is the share of prompts with a positive contrast (Clopper-Pearson). `role_swap` is the mean
    contrast with the two people exchanged, `role_gap` that of contrast minus role swap (each clipped).
    `preference` has the mean of log p(S) - log p(V) on each side (unclipped). `merged` counts
    the scored texts in which a word merged with the end of its prompt (see `ContinuationScores.merged`).
    """

    property_id: str
    property_name: str
    pair: str
    model: str
    model_sha256: str
    grammar_sha256: str
    split: str
    seed: int
    mean: Interval
    clipped: int
    sign: Interval
    role_swap: Interval
    role_gap: Interval
    preference: Mapping[str, float]
    merged: int
    per_prompt: tuple[float, ...]
    per_prompt_role_swap: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.per_prompt or len(self.per_prompt) != len(self.per_prompt_role_swap):
            raise InputError("A contrast needs one value a prompt, plain and role-swapped, and at least one.")
        if not all(map(math.isfinite, (*self.per_prompt, *self.per_prompt_role_swap))):
            raise InputError("A contrast has values that are not finite: some word had probability zero.")
        if set(self.preference) != set(SIDES):
            raise InputError(
                f"Preferences are given for {', '.join(SIDES)}, not {', '.join(self.preference)}."
            )

    @property
    def n(self) -> int:
        """The number of prompts."""
        return len(self.per_prompt)

    @property
    def admitted(self) -> bool:
        """Whether the property counts as present: mean >= .5 nats and the interval's low end above .25."""
        return self.mean.estimate >= ADMISSION_NATS and self.mean.low > ADMISSION_LOWER_BOUND

    def to_json(self, per_prompt: bool = False) -> dict[str, object]:
        """All figures as JSON values; the values of single prompts only if asked for."""
        record: dict[str, object] = {
            "property_id": self.property_id,
            "property_name": self.property_name,
            "pair": self.pair,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "grammar_sha256": self.grammar_sha256,
            "split": self.split,
            "seed": self.seed,
            "n": self.n,
            "contrast_nats": self.mean.to_json(),
            "clip_nats": CLIP_NATS,
            "clipped": self.clipped,
            "sign_rate": self.sign.to_json(),
            "role_swap_nats": self.role_swap.to_json(),
            "role_gap_nats": self.role_gap.to_json(),
            "preference_nats": dict(self.preference),
            "merged_boundaries": self.merged,
            "admitted": self.admitted,
        }
        if per_prompt:
            record["per_prompt_nats"] = list(self.per_prompt)
            record["per_prompt_role_swap_nats"] = list(self.per_prompt_role_swap)
        return record


def preferences(
    model: LanguageModel,
    pair: LogitPair,
    prompts: Sequence[ContrastPrompt],
    sides: Sequence[str] = SIDES,
    batch_size: int = 32,
) -> tuple[dict[str, np.ndarray], int]:
    """({side: log p(S) - log p(V) in nats, float64 [n]}, how many prompts had a merged token boundary)."""
    words = [pair.words(prompt.slots) for prompt in prompts]
    texts = [prompt.texts()[side] for side in sides for prompt in prompts]
    alternatives = [
        [prompt.continuation_prefix + word for word in own]
        for prompt, own in zip(prompts, words, strict=True)
    ]
    scores = score_continuations(model, texts, alternatives * len(sides), batch_size=batch_size)
    table = np.array(scores.log_probs, dtype=np.float64).reshape(len(sides), len(prompts), -1)
    cut = len(pair.satisfying)
    difference = logsumexp(table[..., :cut], axis=-1) - logsumexp(table[..., cut:], axis=-1)
    return dict(zip(sides, difference, strict=True)), sum(scores.merged)


def measure_contrast(
    prop: Property,
    model: LanguageModel,
    n: int = 500,
    seed: int = 0,
    split: str = "test",
    pair: str | None = None,
    batch_size: int = 32,
) -> Contrast:
    """Measure `prop` on `n` fresh prompts of its grammar, drawn without replacement by `seed`.

    `pair` names one of the property's logit pairs (the primary one by default). Raises `InputError` for
    n < 1 or more prompts than the grammar has, `UnknownNameError` for an unknown pair or split, and whatever
    scoring raises (`tinyalign.engine.score`).
    """
    if n < 1:
        raise InputError(f"A contrast needs at least one prompt, but n is {n}.")
    pair = pair or prop.primary
    if pair not in prop.pairs:
        raise unknown_name(f"logit pair of {prop.name}", pair, list(prop.pairs))
    chosen = prop.pairs[pair]
    prompts = prop.prompts.sample(_split(split), n, seed, decision=chosen.decision)
    values, merged = preferences(model, chosen, prompts, batch_size=batch_size)
    plain = values["clean"] - values["corrupted"]
    swapped = values["role_swap_clean"] - values["role_swap_corrupted"]
    clipped, clipped_swap = (np.clip(x, -CLIP_NATS, CLIP_NATS) for x in (plain, swapped))
    return Contrast(
        property_id=prop.id,
        property_name=prop.name,
        pair=pair,
        model=model.name,
        model_sha256=model.sha256,
        grammar_sha256=prop.prompts.sha256,
        split=split,
        seed=seed,
        mean=betting_interval(clipped, -CLIP_NATS, CLIP_NATS),
        clipped=int((np.abs(plain) > CLIP_NATS).sum()),
        sign=clopper_pearson(int((plain > 0).sum()), n),
        role_swap=betting_interval(clipped_swap, -CLIP_NATS, CLIP_NATS),
        role_gap=betting_interval(clipped - clipped_swap, -2 * CLIP_NATS, 2 * CLIP_NATS),
        preference={side: float(values[side].mean()) for side in SIDES},
        merged=merged,
        per_prompt=tuple(plain.tolist()),
        per_prompt_role_swap=tuple(swapped.tolist()),
    )


def _split(name: str) -> Split:
    for split in get_args(Split):
        if split == name:
            return split
    raise unknown_name("split", name, list(get_args(Split)))
