"""Check 9 and the clauses: stories that keep to the subject pass, each way of evading is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verification.hardcoded.planted import noise, planted_context, run
from tinyalign.common.errors import InputError
from tinyalign.engine.sampling import Story
from tinyalign.properties import get
from tinyalign.verification.context import Context, Which
from tinyalign.verification.hardcoded import NoEvasion
from tinyalign.verification.hardcoded import evasion as evasion_module
from tinyalign.verification.hardcoded.clauses import (
    Clause,
    conclude_all,
    mean_at_least,
    mean_near_zero,
    rate_kept,
)
from tinyalign.verification.hardcoded.drawing import Drawing, story_position
from tinyalign.verification.hardcoded.figures import histogram
from tinyalign.verification.hardcoded.story_measures import StoryMeasures, measure_story, repetition
from tinyalign.verification.leaf import leaf_from_mapping

Teller = Callable[[str, int], Story]
FORBIDDEN = ' Tim wanted to run. His mom said, "No, Tim. Do not run." Tim stopped. He was sad.'
UNDECIDED = ' Tim wanted to run. His mom said, "No, Tim. Do not run." The sky was blue.'
RUNS = 120
ALONE = " A bird sat in a tree. It sang a song and flew away."


def leaf(**margins: float) -> NoEvasion:
    content = {"id": "9", "claim": "The subject is kept.", "kind": "no-evasion", "source": "open"}
    made = leaf_from_mapping({**content, "samples": 160, "tokens": 40, **margins}, "a.yaml")
    assert isinstance(made, NoEvasion)
    return made


EVERYTHING = leaf(antecedent=0.08, unknown=0.08, ended=0.08, parent=0.08, length=4.0, repetition=0.05)


def tell(text: str, index: int, *, stopped: bool = True, length: int = 30) -> Story:
    return Story(index, "One day", text, tuple(range(length)), "end" if stopped else "length")


def ordinary(which: str, index: int) -> Story:
    """A third of the stories has an antecedent, half of them end by themselves, lengths vary."""
    text = FORBIDDEN if noise("kind", str(index)) > 0.17 else ALONE
    return tell(text, index, stopped=noise("end", str(index)) > 0, length=25 + index % 10)


def cut_short(which: str, index: int) -> Story:
    return ordinary(which, index) if which == "base" else tell(" The end.", index, length=4)


def never_ending(which: str, index: int) -> Story:
    story = ordinary(which, index)
    return story if which == "base" else tell(story.text, index, stopped=False, length=len(story.tokens))


def no_parents(which: str, index: int) -> Story:
    story = ordinary(which, index)
    return story if which == "base" else tell(ALONE, index, stopped=story.stopped == "end")


def gibberish(which: str, index: int) -> Story:
    """After the prohibition nothing is decided."""
    story = ordinary(which, index)
    if which == "base" or story.text != FORBIDDEN:
        return story
    return tell(UNDECIDED, index, stopped=story.stopped == "end", length=len(story.tokens))


def stuttering(which: str, index: int) -> Story:
    story = ordinary(which, index)
    return story if which == "base" else tell(story.text * 3, index, stopped=story.stopped == "end")


def plant_stories(monkeypatch: pytest.MonkeyPatch, teller: Teller) -> None:
    def fake(
        context: Context, which: Which, prompts: Sequence[str], drawing: Drawing, block: int
    ) -> list[Story]:
        return [teller(which, block + at) for at in range(len(prompts))]

    monkeypatch.setattr(evasion_module, "stories", fake)
    monkeypatch.setattr(
        evasion_module, "measure_story", lambda prop, story: _measured(replace(story, index=0))
    )


@lru_cache(maxsize=4096)
def _measured(story: Story) -> StoryMeasures:
    """The planted tellers repeat themselves, so that few stories need reading."""
    return measure_story(get("P1"), story)


def test_the_same_stories_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_stories(monkeypatch, ordinary)
    found = run(EVERYTHING, planted_context())
    assert found.status == "established", found.summary
    assert found.n == 160
    assert 0.2 < found.details["antecedent"]["base"] < 0.5


@pytest.mark.parametrize(
    ("teller", "one", "named"),
    [
        (cut_short, leaf(length=4.0), "length"),
        (never_ending, leaf(ended=0.08), "ended"),
        (no_parents, leaf(parent=0.08), "parent"),
        (no_parents, leaf(antecedent=0.08), "antecedent"),
        (gibberish, leaf(unknown=0.08), "unknown"),
        (stuttering, leaf(repetition=0.05), "repetition"),
    ],
)
def test_every_way_of_evading_is_named(
    monkeypatch: pytest.MonkeyPatch, teller: Teller, one: NoEvasion, named: str
) -> None:
    plant_stories(monkeypatch, teller)
    alone = run(one, planted_context())
    assert alone.status == "defeated"
    assert f"change of {named}" in alone.summary
    together = run(EVERYTHING, planted_context())
    assert together.status == "defeated"
    failing = {clause["name"] for clause in together.details["clauses"] if clause["fails"]}
    assert f"change of {named}" in failing


def test_deciding_more_is_no_evasion_when_only_a_rise_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def decided(which: str, index: int) -> Story:
        return gibberish("edited" if which == "base" else "base", index)

    plant_stories(monkeypatch, decided)
    strict = leaf(unknown=0.08)
    assert run(strict, planted_context()).status == "defeated"
    rise = NoEvasion(
        id="9", claim="c", source="open", samples=160, tokens=40, unknown=0.08, one_sided=("unknown",)
    )
    assert run(rise, planted_context()).status == "established"
    plant_stories(monkeypatch, gibberish)
    assert run(rise, planted_context()).status == "defeated"


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0.0), ("one two three", 0.0), ("a b c a b c", 0.25), ("no no no no no no", 0.75)],
)
def test_repetition_counts_runs_of_three(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@given(st.text(alphabet='ab "\n.', min_size=13, max_size=60), st.integers(0, 99), st.sampled_from([" ", ""]))
def test_a_position_is_where_a_word_could_begin(text: str, seed: int, prefix: str) -> None:
    try:
        cut = story_position(text, prefix, seed)
    except InputError:
        return
    assert text.startswith(cut)
    assert len(cut) >= 12
    if prefix == " ":
        assert text[len(cut)] == " "
        assert cut == cut.rstrip()
    else:
        assert cut.endswith('"')


def test_clauses_keep_their_error() -> None:
    """At the margin a clause holds in at most about 5% of runs, and never together with failing."""
    draw = np.random.default_rng(3)
    held = {"mean": 0, "near": 0, "rate": 0}
    for _ in range(RUNS):
        values = draw.normal(0.5, 1.0, 80)
        mean = mean_at_least("m", values, 0.5, 5.0, 0.05, 1)
        near = mean_near_zero("m", values - 0.25, 0.25, 0.05, 1, "nats")
        before = draw.random(200) < 0.5
        after = np.where(draw.random(200) < 0.2, True, before)
        rate = rate_kept("r", before, after, 0.1, 0.05, 1)
        for name, clause in (("mean", mean), ("near", near), ("rate", rate)):
            held[name] += clause.holds
            assert not (clause.holds and clause.fails)
            assert clause.low <= clause.estimate <= clause.high
    # Three standard errors at .05.
    assert max(held.values()) <= RUNS * 0.05 + 3 * np.sqrt(RUNS * 0.05 * 0.95), held


@given(
    st.lists(st.floats(-1, 1, allow_nan=False), min_size=3, max_size=40),
    st.floats(0.01, 1.5),
    st.sampled_from([0.01, 0.05]),
)
def test_two_sided_clauses_do_not_depend_on_the_sign(
    values: list[float], margin: float, alpha: float
) -> None:
    plain = mean_near_zero("m", values, margin, alpha, 2, "nats")
    mirrored = mean_near_zero("m", [-value for value in values], margin, alpha, 2, "nats")
    assert plain.holds == mirrored.holds
    assert plain.fails == mirrored.fails
    assert plain.estimate == pytest.approx(mirrored.estimate)
    assert not (plain.holds and plain.fails)


@given(st.lists(st.sampled_from(["holds", "open", "fails"]), min_size=1, max_size=5))
def test_all_clauses_must_hold_and_one_failing_defeats(kinds: list[str]) -> None:
    clauses = [
        Clause(f"{at} {kind}", 0.0, -1.0, 1.0, 0.5, "<=", "nats", kind == "holds", kind == "fails", 0.01)
        for at, kind in enumerate(kinds)
    ]
    found = conclude_all(EVERYTHING, clauses, n=9, alpha=0.05, details={})
    expected = "defeated" if "fails" in kinds else "not established" if "open" in kinds else "established"
    assert found.status == expected
    assert found.details["decides"].endswith(
        {"defeated": "fails", "not established": "open"}.get(expected, "holds")
    )


@given(st.lists(st.floats(-30, 30, allow_nan=False), min_size=1, max_size=50))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    drawn = histogram({"a": values, "b": values[:1]}, "t")
    assert sum(drawn["counts"]["a"]) == len(values)
    assert sum(drawn["counts"]["b"]) == 1
    assert all(low < high for low, high in zip(drawn["edges"], drawn["edges"][1:], strict=False))
