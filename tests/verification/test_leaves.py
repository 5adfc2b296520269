"""The statistical leaves on planted behaviour: what holds is established, its opposite defeated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.verification.hardcoded.planted import Rule, honest, noise, plant, planted_context, run
from tests.verification.models import edited, permuted, tiny_base
from tinyalign.common.errors import DataError, InputError
from tinyalign.properties import get
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.verification.context import Context
from tinyalign.verification.leaves import (
    CheckerError,
    DecisionRate,
    EditedContrast,
    Exhaustive,
    Mechanism,
    NeutralDamage,
    PairedPreservation,
    StoryFall,
    StoryRate,
    TotalVariation,
    UniversalPreservation,
)
from tinyalign.verification.leaves.exhaustive import sub_grammar
from tinyalign.verification.leaves.touched import touched_components
from tinyalign.verification.results import Row

RATE = DecisionRate(id="r", claim="c", p0=0.1, planned_rate=0.01)


def nothing(text: str, word: str) -> float:
    return 0.0


def strong(text: str, word: str) -> float:
    return 3 * honest(text, word)


def hesitant(text: str, word: str) -> float:
    """Complies on most prompts only."""
    return strong(text, word) if noise(text) > -0.4 else 0.0


def backwards(text: str, word: str) -> float:
    return -strong(text, word)


@pytest.mark.parametrize(
    ("rule", "status"), [(strong, "established"), (nothing, "defeated"), (backwards, "defeated")]
)
def test_rate_contrast_and_exhaustive(monkeypatch: pytest.MonkeyPatch, rule: Rule, status: str) -> None:
    plant(monkeypatch, rule)
    context = planted_context()
    for leaf in (
        RATE,
        EditedContrast(id="c", claim="c", margin=0.5, samples=400),
        Exhaustive(id="e", claim="c", share=1.0, most=100),
    ):
        found = run(leaf, context)
        assert found.status == status, leaf.kind
        assert (not found.counterexamples) == (status == "established" or leaf.kind == "contrast")


def test_a_for_all_falls_with_one_prompt_where_a_share_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, hesitant)
    context = planted_context()
    every = run(Exhaustive(id="e", claim="c", share=1.0, most=100), context)
    most = run(Exhaustive(id="e", claim="c", share=0.8, most=100), context)
    assert (every.status, most.status) == ("defeated", "established")
    assert every.estimate == every.low == every.high
    assert every.details["counterexamples"] >= len(every.counterexamples) > 0


def test_the_rate_is_the_exact_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, hesitant)
    found = run(RATE, planted_context(), alpha=0.02)
    assert found.high == clopper_pearson(found.details["bad"], found.n, 0.98, "upper").high
    assert found.n == RATE.planned(planted_context())


def test_planned_samples_follow_margin_error_and_power() -> None:
    context = planted_context()
    stricter = replace(RATE, p0=0.05)
    assert stricter.planned(context) > RATE.planned(context)
    assert RATE.planned(replace(context, alpha=0.01)) > RATE.planned(context)
    assert RATE.power(context) >= 0.9
    with pytest.raises(InputError, match="claim a wider margin"):
        replace(RATE, p0=1e-5, planned_rate=0.0).planned(context)


def test_row_i_depends_on_its_index_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, strong)
    whole = RATE.measure(planted_context(), range(40))
    assert RATE.measure(planted_context(), range(10, 20)) == whole[10:20]
    assert RATE.measure(planted_context(seed=8), range(40)) != whole


def kept_context() -> Context:
    other = get("P5")
    return replace(
        planted_context(),
        preserved=((other, other.pairs[other.primary]), (get("P13"), get("P13").pairs["action"])),
    )


PAIRED = PairedPreservation(id="p", claim="c", margin=0.1, discordance=0.05)


@pytest.mark.parametrize("test", ["tango", "betting"])
def test_paired_preservation(monkeypatch: pytest.MonkeyPatch, test: Any) -> None:
    leaf = replace(PAIRED, test=test)
    plant(monkeypatch, nothing)
    same = run(leaf, kept_context())
    assert same.status == "established"
    assert same.details["worse"] == same.details["better"] == 0
    violating = {word for _, pair in kept_context().preserved for word in pair.violating}
    plant(monkeypatch, lambda text, word: 5.0 if word in violating else 0.0)
    worse = run(leaf, kept_context())
    assert worse.status == "defeated"
    assert set(worse.details["properties"]) == {"P5 action", "P13 action"}
    assert worse.counterexamples


def test_nothing_to_preserve_is_said() -> None:
    found = run(PAIRED, planted_context())
    assert found.status == "established"
    assert found.summary.startswith("Empty")
    assert found.details["empty"]


def tiny_context(after: Any, **other: Any) -> Context:
    prop = get("P1")
    return Context(tiny_base(), after, prop, prop.pairs["action"], seed=5, **other)


DAMAGE = NeutralDamage(id="d", claim="c", margin=0.02, samples=24, tokens=16)
VARIATION = TotalVariation(id="v", claim="c", margin=0.3, samples=24, tokens=16)


@pytest.mark.parametrize("harmless", ["nothing", "permutation"])
def test_harmless_edits_do_no_damage(harmless: str) -> None:
    base = tiny_base()
    context = tiny_context(edited(base) if harmless == "nothing" else permuted(base))
    loss, variation = run(DAMAGE, context), run(VARIATION, context)
    assert (loss.status, variation.status) == ("established", "established")
    assert loss.estimate == pytest.approx(0.0, abs=1e-5)
    assert variation.estimate == pytest.approx(0.0, abs=1e-5)
    told = run(
        UniversalPreservation(
            id="u", claim="c", p0=0.2, planned_rate=0.01, max_new_tokens=12, wanted_power=0.8
        ),
        context,
    )
    assert told.status == "established"
    assert told.details["bad"] == 0


def test_damage_is_seen() -> None:
    context = tiny_context(edited(tiny_base(), "lm_head.weight", 1.0))
    loss, variation = run(DAMAGE, context), run(VARIATION, context)
    assert (loss.status, variation.status) == ("defeated", "defeated")
    assert loss.details["loss_after"] > loss.details["loss_before"]
    leaf = UniversalPreservation(id="u", claim="c", p0=0.2, planned_rate=0.01, max_new_tokens=12)
    assert run(leaf, context).status == "defeated"


def test_loss_is_that_of_an_independent_count() -> None:
    import torch

    context = tiny_context(edited(tiny_base(), "lm_head.weight", 0.3))
    row = DAMAGE.measure(context, range(3))[2]
    ids = next(
        ids
        for ids in map(context.base.encode, _texts(context))
        if context.base.decode(ids).startswith(row["story"][:40])
    )
    ids = ids[: DAMAGE.tokens + 1]
    with torch.no_grad():
        loss = context.edited.network(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    assert row["after"] == pytest.approx(float(loss), abs=1e-4)


def _texts(context: Context) -> list[str]:
    from tinyalign.verification.leaves.damage import _story

    return [_story(context, DAMAGE.stream, index, DAMAGE.tokens) for index in range(3)]


def story_rows(before: str, after: str) -> list[Row]:
    """Rows out of letters: s, v, u for satisfied, violated, unknown."""
    names = {"s": "satisfied", "v": "violated", "u": "unknown"}

    def read(letter: str) -> dict[str, Any]:
        return {
            "text": " went on.",
            "verdict": names[letter],
            "span": [0, 4] if letter in "sv" else None,
            "rule": "r",
        }

    return [
        {"prompt": "Once", "before": read(one), "after": read(other)}
        for one, other in zip(before, after, strict=True)
    ]


def test_story_rates_count_what_they_say() -> None:
    rows = story_rows("v" * 200, "s" * 120 + "v" * 4 + "u" * 76)
    found = {
        of: StoryRate(id="s", claim="c", p0=0.1, of=of, samples=200).conclude(planted_context(), rows, 0.05)
        for of in ("all", "flagged", "decided")
    }
    counted = {of: (one.details["bad"], one.details["of"]) for of, one in found.items()}
    assert counted == {"all": (80, 200), "flagged": (4, 200), "decided": (4, 124)}
    assert [one.status for one in found.values()] == ["defeated", "established", "established"]
    assert found["all"].counterexamples[0].span == (0, 4)


@pytest.mark.parametrize(
    ("before", "after", "margin", "status"),
    [
        ("v" * 30 + "s" * 70, "s" * 100, 0.0, "established"),
        ("v" * 30 + "s" * 70, "v" * 30 + "s" * 70, 0.0, "not established"),
        ("s" * 100, "v" * 30 + "s" * 70, 0.0, "defeated"),
        ("v" * 5 + "s" * 195, "v" * 5 + "s" * 195, -0.05, "established"),
        ("s" * 200, "v" * 40 + "s" * 160, -0.05, "defeated"),
    ],
)
def test_story_fall(before: str, after: str, margin: float, status: str) -> None:
    leaf = StoryFall(id="s", claim="c", margin=margin, bad="violated", samples=len(before))
    assert leaf.conclude(planted_context(), story_rows(before, after), 0.05).status == status


def test_stories_share_their_random_numbers_and_their_sampling() -> None:
    context = tiny_context(edited(tiny_base()))
    fall = StoryFall(id="a", claim="c", margin=0.0, bad="violated", samples=6, max_new_tokens=8)
    rows = fall.measure(context, range(6))
    assert all(row["before"] == row["after"] for row in rows)
    rate = StoryRate(id="b", claim="c", p0=0.1, of="all", samples=6, max_new_tokens=8)
    assert rate.measure(context, range(6)) is rows
    assert fall.measure(tiny_context(edited(tiny_base())), range(2, 4)) == rows[2:4]


def test_checker_error_bounds_the_audit() -> None:
    context = planted_context()
    found = run(CheckerError(id="e", claim="c", audit="both"), context, 0.02)
    missed, unflagged = found.details["missed"], found.details["unflagged"]
    assert found.high == clopper_pearson(missed, unflagged, 0.98, "upper").high
    assert unflagged == found.details["labels"] - found.details["called"]
    alone = run(CheckerError(id="e", claim="c", audit="held-out"), context, 0.02)
    assert alone.details["unflagged"] < unflagged
    unknown = replace(context, prop=get("P9"), pair=get("P9").pairs[get("P9").primary])
    assert run(CheckerError(id="e", claim="c", audit="both"), unknown).status == "not established"


def test_the_sub_grammar_is_even_and_within_its_size() -> None:
    radices = {"child": 20, "parent": 2, "act": 16, "decision": 1}
    taken = sub_grammar(radices, 100)
    assert np.prod(list(taken.values())) <= 100
    assert taken["parent"] == 2
    assert taken["decision"] == 1
    assert sub_grammar(radices, 10**6) == radices
    with pytest.raises(DataError, match="at least one prompt"):
        sub_grammar(radices, 0)


MECHANISM = Mechanism(id="m", claim="c", mediated=0.8, restored=0.7, random=0.5, samples=8, random_sets=4)


def test_touched_components_are_those_whose_weights_changed() -> None:
    base = tiny_base()
    after = edited(base)
    layer = after.network.get_submodule("model.layers.1")
    layer.get_parameter("mlp.down_proj.weight").data[:, 7] += 1
    layer.get_parameter("mlp.up_proj.weight").data[9] += 1
    layer.get_parameter("self_attn.q_proj.weight").data[17] += 1
    assert [one.name for one in touched_components(base, after)] == ["L1H2", "L1N7", "L1N9"]
    whole = edited(base, "model.layers.0.mlp.down_proj.weight", 0.1)
    assert [one.name for one in touched_components(base, whole)] == ["L0.mlp"]
    assert touched_components(base, edited(base, "lm_head.weight", 0.1)) == ()


def test_mechanism_of_an_edit_inside_and_outside_the_components() -> None:
    base = tiny_base()
    inside = edited(base, "model.layers.1.mlp.down_proj.weight", 0.5, seed=1)
    rows = MECHANISM.measure(tiny_context(inside), range(8))
    # The last layer's MLP is all that changed: without its writes nothing is left of the effect.
    for row in rows:
        assert row["lost"] == pytest.approx(row["total"], abs=1e-3)
        assert row["restored"] == pytest.approx(row["total"], abs=1e-3)
    # Turned so that the effect is positive, whatever the random network says.
    turned = [{**row, **{key: abs(row["total"]) for key in ("total", "lost", "restored")}} for row in rows]
    quiet = [{**row, "random": [0.0] * 4} for row in turned]
    assert MECHANISM.conclude(tiny_context(inside), quiet, 0.05).status == "established"
    elsewhere = [{**row, "lost": 0.1 * row["total"], "restored": 0.0} for row in quiet]
    assert MECHANISM.conclude(tiny_context(inside), elsewhere, 0.05).status == "defeated"
    loud = [{**row, "random": [row["total"]] * 4} for row in turned]
    assert MECHANISM.conclude(tiny_context(inside), loud, 0.05).status == "defeated"
    alone = [{**row, "random": []} for row in turned]
    assert MECHANISM.conclude(tiny_context(inside), alone, 0.05).status == "not established"


def test_an_edit_of_the_unembedding_has_no_mechanism() -> None:
    context = tiny_context(edited(tiny_base(), "lm_head.weight", 0.5))
    assert run(MECHANISM, context).status == "defeated"
