"""Leaves over sampled stories: what the text checker finds in continuations, before and after the edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from scipy.stats import norm

from tinyalign.common.errors import DataError
from tinyalign.engine import sample
from tinyalign.properties.definition import Property
from tinyalign.statistics.paired import tango_interval, tango_z
from tinyalign.stories import annotate
from tinyalign.stories.grammar import Split
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.leaves.concluding import SHOWN, conclude_rate, no_rows
from tinyalign.verification.leaves.decision import enough_prompts
from tinyalign.verification.results import Counterexample, LeafResult, Row, Status

BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class SampledStories(Leaf):
    """What story leaves share: row i continues fresh prompt i under both models, same random numbers.

    Temperature 1, `max_new_tokens` at most. The checker reads prompt and continuation as one story. Leaves
    with one `stream`, split and length share their stories.
    """

    samples: int
    max_new_tokens: int = 80
    split: Split = "test"
    stream: str = "stories"

    block: ClassVar[int] = BLOCK

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1 or self.max_new_tokens < 1:
            raise DataError(
                f"samples {self.samples} and max_new_tokens {self.max_new_tokens} must be at least 1."
            )

    def planned(self, context: Context) -> int:
        """`samples`; raises `InputError` beyond the grammar's size."""
        return enough_prompts(self, self.samples, context.space_size(self.split))

    def measure(self, context: Context, indices: range) -> list[Row]:
        """`prompt`; `before` and `after` with text, verdict and deciding span."""
        key = ("stories", self.stream, self.split, self.max_new_tokens, indices)
        return context.remembered(key, lambda: self._measure(context, indices))

    def _measure(self, context: Context, indices: range) -> list[Row]:
        first = indices.start - indices.start % self.block
        prompts = context.prompts(range(first, indices.stop), stream=self.stream, split=self.split)
        texts = [prompt.clean for prompt in prompts]
        read: dict[str, list[dict[str, Any]]] = {}
        for which in ("base", "edited"):
            drawn = sample(
                context.model(which),
                texts,
                max_new_tokens=self.max_new_tokens,
                seed=context.seed_for(self.stream, "stories", first),
            )
            read[which] = [read_story(context.prop, story.prompt, story.text) for story in drawn]
        rows: list[Row] = [
            {"prompt": text, "before": before, "after": after}
            for text, before, after in zip(texts, read["base"], read["edited"], strict=True)
        ]
        return rows[indices.start - first :]


def read_story(prop: Property, prompt: str, text: str) -> dict[str, Any]:
    """The continuation, the checker's verdict on the whole, and the deciding span within prompt + text."""
    outcome = prop.outcome(annotate(prompt + text))
    return {
        "text": text,
        "verdict": outcome.verdict,
        "span": None if outcome.decided is None else list(outcome.decided),
        "rule": outcome.rule,
    }


def counts(rows: Sequence[Row], which: str) -> dict[str, int]:
    """Verdicts of one model's stories."""
    found = Counter(row[which]["verdict"] for row in rows)
    return {verdict: found[verdict] for verdict in ("satisfied", "violated", "unknown", "not applicable")}


def story_examples(rows: Sequence[Row], *, fresh: bool) -> tuple[Counterexample, ...]:
    """The first violations of the edited model; `fresh` only those that the base did not have."""
    found = [
        row
        for row in rows
        if row["after"]["verdict"] == "violated" and not (fresh and row["before"]["verdict"] == "violated")
    ]
    return tuple(
        Counterexample(
            prompt=row["prompt"],
            before=row["prompt"] + row["before"]["text"],
            after=row["prompt"] + row["after"]["text"],
            span=tuple(row["after"]["span"]),
            why=f"The text checker calls it violated (rule {row['after']['rule']}).",
        )
        for row in found[:SHOWN]
    )


def both_counts(rows: Sequence[Row]) -> dict[str, Any]:
    """Verdicts before and after, for the details."""
    return {"before": counts(rows, "before"), "after": counts(rows, "after")}


@register_leaf
@dataclass(frozen=True, kw_only=True)
class StoryRate(SampledStories):
    """P(violated) <= p0 in sampled continuations.

    `of` says of what: "all" (the headline: every story that is not plainly satisfied counts as a violation),
    "flagged" (only what the checker calls violated, of all stories), or "decided" (violated among satisfied
    and violated; as many as there happen to be).
    """

    p0: float
    of: Literal["all", "flagged", "decided"]

    kind: ClassVar[str] = "story-rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.p0 < 1:
            raise DataError(f"p0 is {self.p0}; the rate claimed must lie between 0 and 1.")

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Clopper-Pearson; all three readings stand in the details."""
        after = counts(rows, "after")
        decided = after["satisfied"] + after["violated"]
        readings = {
            "all": (len(rows) - after["satisfied"], len(rows)),
            "flagged": (after["violated"], len(rows)),
            "decided": (after["violated"], decided),
        }
        bad, of = readings[self.of]
        words = {
            "all": "Stories not plainly satisfied (unknown counts as a violation)",
            "flagged": "Stories that the checker calls violated",
            "decided": "Violated among the decided stories",
        }
        return conclude_rate(
            self,
            bad,
            of,
            self.p0,
            alpha,
            what=words[self.of],
            unit="share of stories" if self.of != "decided" else "share of decided stories",
            rows=len(rows),
            details={
                **both_counts(rows),
                "readings": {name: {"bad": k, "of": n} for name, (k, n) in readings.items()},
            },
            counterexamples=story_examples(rows, fresh=False),
        )


@register_leaf
@dataclass(frozen=True, kw_only=True)
class StoryFall(SampledStories):
    """The share of bad stories falls by more than `margin`: same prompts, same random numbers.

    `bad`: "violated", what the checker calls so, or "not satisfied", with unknown counted as a violation.
    Tango's score test of "after - before < -margin"; margin 0 claims that it falls at all, a negative one
    that it rises by less than so much.
    """

    margin: float
    bad: Literal["violated", "not satisfied"]

    kind: ClassVar[str] = "story-fall"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 < self.margin < 1:
            raise DataError(f"margin is {self.margin}; the fall claimed must lie in (-1, 1).")

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Paired score test; headline, flagged and decided counts stand in the details."""
        unit = f"change of the share of {self.bad} stories"
        if not rows:
            return no_rows(self, -self.margin, "<=", unit, alpha)
        pairs = [(self._bad(row["before"]), self._bad(row["after"])) for row in rows]
        worse = sum(after and not before for before, after in pairs)
        better = sum(before and not after for before, after in pairs)
        n = len(rows)
        low = tango_interval(worse, better, n, 1 - alpha, "lower").low
        high = tango_interval(worse, better, n, 1 - alpha, "upper").high
        p = float(norm.cdf(float(tango_z(worse, better, n, -self.margin))))
        opposite: Status = "defeated" if low > -self.margin else "not established"
        return LeafResult(
            id=self.id,
            kind=self.kind,
            claim=self.claim,
            status="established" if p <= alpha else opposite,
            summary=f"{self.bad.capitalize()} stories: {sum(a for a, _ in pairs)} of {n} before, "
            f"{sum(b for _, b in pairs)} after ({worse} got worse, {better} better); change at most "
            f"{high:+.1%} at error {alpha:.3g}, claimed below {-self.margin:.1%}.",
            estimate=(worse - better) / n,
            low=low,
            high=high,
            margin=-self.margin,
            direction="<=",
            unit=unit,
            alpha=alpha,
            n=n,
            p_value=p,
            details={"test": "Tango score, fixed n", "worse": worse, "better": better, **both_counts(rows)},
            counterexamples=story_examples(rows, fresh=True),
        )

    def _bad(self, read: dict[str, Any]) -> bool:
        return read["verdict"] == "violated" if self.bad == "violated" else read["verdict"] != "satisfied"
