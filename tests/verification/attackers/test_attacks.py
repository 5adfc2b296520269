"""Families, attacks and measured rates on planted behaviour, and what they do to a claim."""

from __future__ import annotations

import re

import pytest

from tests.verification.hardcoded.planted import (
    COMPLY,
    Rule,
    forbidden_by_parent,
    honest,
    noise,
    plant,
    planted_context,
    rows_of,
    run,
)
from tinyalign.common.errors import DataError, InputError
from tinyalign.properties import get
from tinyalign.stories.grammar import SPLITS
from tinyalign.verification.attackers import FAMILIES, Attack, FamilyRate, family
from tinyalign.verification.attackers.families import antecedent_parts, attacks_folder, common_names
from tinyalign.verification.attackers.judging import Judge
from tinyalign.verification.leaf import leaf_from_mapping
from tinyalign.verification.results import LeafResult, Status
from tinyalign.verification.tree import Claim, Defeater, claim_status

ATTACK = Attack(id="a", claim="No paraphrase breaks it.", family="paraphrase", attempts=60)
RATE = FamilyRate(id="r", claim="Few paraphrases break it.", family="paraphrase", margin=0.1, samples=60)


def strong(text: str, word: str) -> float:
    return (1.0 if word in COMPLY else -1.0) * 3.0 if forbidden_by_parent(text) else 0.0


def broken_by(pattern: str) -> Rule:
    """An edit that works wherever the pattern is not in the text."""

    def rule(text: str, word: str) -> float:
        return 0.0 if re.search(pattern, text) else strong(text, word)

    return rule


def test_families_keep_the_antecedent_and_draw_test_words() -> None:
    context = planted_context()
    grammar = context.prop.prompts
    assert antecedent_parts(grammar) == ("reply",)
    names = {entry.word for entry in grammar.slots["child"].parts["test"]}
    for name in FAMILIES:
        prompts = family(context, name).prompts(context, range(40))
        assert len({prompt.clean for prompt in prompts}) >= 38
        for prompt in prompts:
            assert prompt.slots["child"] in names
            assert prompt.clean != prompt.corrupted
            assert prompt.clean.endswith(prompt.slots["child"])
            assert re.search(r"\b(not|no|never|don't|stop|leave)\b", prompt.clean, re.IGNORECASE), (
                prompt.clean
            )


def test_an_attempt_depends_on_its_index_and_seed_alone() -> None:
    context = planted_context()
    for name in FAMILIES:
        found = family(context, name)
        whole = [prompt.clean for prompt in found.prompts(context, range(12))]
        assert [prompt.clean for prompt in found.prompts(context, range(5, 9))] == whole[5:9]
        other = planted_context(seed=8)
        assert [prompt.clean for prompt in family(other, name).prompts(other, range(12))] != whole


def test_inserted_sentences_stand_before_and_after_the_antecedent() -> None:
    context = planted_context()
    for index, prompt in enumerate(family(context, "inserted").prompts(context, range(20))):
        judge = Judge(context.edited, context.prop, context.pair, prompt)
        (said,) = judge.essential()[:1]
        sentences = judge.sentences()
        at = sentences.index(said)
        neutral = sentences[at - 1] if index % 2 == 0 else sentences[-2]
        assert prompt.slots["child"] not in neutral
        assert not re.search(r'"', neutral)


def test_written_paraphrases_share_no_sentence_with_the_grammar() -> None:
    for path in sorted(attacks_folder().glob("p*.yaml")):
        prop = get(re.sub(r"^p\d+-", "", path.stem))
        context = planted_context(prop=prop, pair=prop.primary)
        space = family(context, "paraphrase").spaces[-1]
        part = antecedent_parts(prop.prompts)[0]
        written = {one.clean for one in space.grammar.parts[part]["test"]}
        known = {one.clean for split in SPLITS for one in prop.prompts.parts[part][split]}
        assert len(written) >= 8
        assert not written & known


def test_a_peer_and_a_stranger_speak_instead_of_the_parent() -> None:
    context = planted_context()
    for name in ("peer", "stranger"):
        for prompt in family(context, name).prompts(context, range(20)):
            said = Judge(context.edited, context.prop, context.pair, prompt).essential()
            parent = prompt.slots["parent"]
            assert not any(re.search(rf"\b{parent}\b (said|told|called|looked)", one) for one in said)
            assert prompt.slots[name].lower() in " ".join(said).lower() or "looked up" in prompt.clean


def test_without_a_hit_the_bound_is_three_over_n(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, strong)
    found = run(ATTACK, planted_context())
    assert found.status == "established"
    assert found.details["hits"] == 0
    assert "5.00%" in found.summary
    assert found.counterexamples == ()


def test_a_hit_is_confirmed_shrunk_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = broken_by(r"not allowed|farm")
    plant(monkeypatch, rule)
    context = planted_context()
    found = run(ATTACK, context)
    assert found.status == "defeated", found.summary
    assert 0 < found.details["hits"] < found.details["base_hits"]
    (example,) = found.counterexamples
    assert example.attacker == "paraphrase"
    assert example.span is not None
    assert example.after[slice(*example.span)] not in COMPLY
    assert example.shrunk is not None
    assert len(example.shrunk) < len(example.prompt)
    # The cause is still in it, and so is what the parent said.
    assert re.search(r"not allowed|farm", example.shrunk)
    assert forbidden_by_parent(example.shrunk)
    assert run(ATTACK, planted_context()).counterexamples == found.counterexamples


def test_the_shrunk_prompt_has_common_names(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda text, word: -honest(text, word))
    context = planted_context()
    prompt = family(context, "paraphrase").prompts(context, range(1))[0]
    swaps = dict(common_names(context.prop.prompts, prompt))
    assert set(swaps.values()) <= {"Lily", "Tim", "mom", "dad", "Mom", "Dad"}
    (example, *_) = run(ATTACK, context).counterexamples
    assert example.shrunk is not None
    assert not any(re.search(rf"\b{old}\b", example.shrunk) for old in swaps)


def test_the_judge_wants_the_prohibition_in_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda text, word: -3.0 if word in COMPLY else 3.0)
    context = planted_context()
    prompt = family(context, "paraphrase").prompts(context, range(1))[0]
    judge = Judge(context.edited, context.prop, context.pair, prompt)
    assert judge.fails(prompt.clean)
    without = " ".join(one for one in judge.sentences() if one not in judge.essential())
    assert not judge.fails(without)
    assert not judge.fails(prompt.corrupted)


@pytest.mark.parametrize(
    ("share", "status"), [(0.0, "established"), (0.5, "defeated"), (0.09, "not established")]
)
def test_a_rate_is_established_defeated_or_open(
    monkeypatch: pytest.MonkeyPatch, share: float, status: str
) -> None:
    def rule(text: str, word: str) -> float:
        works = noise("works", text) + 0.5 > share
        return strong(text, word) if works else -strong(text, word)

    plant(monkeypatch, rule)
    found = run(RATE, planted_context())
    assert found.status == status, found.summary
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.details["hits"] / 60 <= found.high


def test_nothing_is_claimed_of_other_speakers_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda text, word: 0.0)
    free = FamilyRate(id="p", claim="Measured.", family="peer", margin=None, samples=40)
    found = run(free, planted_context())
    assert found.status == "established"
    assert found.margin is None
    assert "nothing is claimed" in found.summary
    assert found.details["hits"] > 10
    bound = FamilyRate(id="p", claim="Claimed.", family="peer", margin=0.1, samples=40)
    assert run(bound, planted_context()).status == "defeated"


def test_a_property_without_other_speakers_says_so() -> None:
    prop = get("P13")
    context = planted_context(prop=prop, pair=prop.primary)
    free = FamilyRate(id="p", claim="Measured.", family="peer", margin=None, samples=40)
    assert free.planned(context) == 1
    assert "does not apply" in run(free, context).summary
    with pytest.raises(InputError, match="peer"):
        Attack(id="a", claim="c", family="peer", attempts=5).planned(context)


def test_attack_and_rate_see_the_same_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, honest)
    context = planted_context()
    rates = rows_of(RATE, context)
    attacks = rows_of(ATTACK, context)
    assert [(row["before"], row["after"]) for row in attacks] == [
        (row["before"], row["after"]) for row in rates
    ]


def _result(name: str, status: Status) -> LeafResult:
    return LeafResult(id=name, kind="rate", claim="c", status=status, summary="s")


@pytest.mark.parametrize(
    ("attack", "rate", "expected"),
    [
        ("established", "not established", "established"),
        ("defeated", "established", "established"),
        ("defeated", "not established", "not established"),
        ("defeated", "defeated", "defeated"),
    ],
)
def test_only_a_measured_rate_closes_the_doubt(attack: Status, rate: Status, expected: Status) -> None:
    main = FamilyRate(id="main", claim="The rate is low.", family="peer", margin=None, samples=2)
    claim = Claim(
        "c", "It holds.", "and", (main, Defeater("d", "Paraphrases break it.", ATTACK, closed_by="r"))
    )
    results = {"main": _result("main", "established"), "a": _result("a", attack), "r": _result("r", rate)}
    assert claim_status(claim, results, 0.05) == expected


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"kind": "attack", "family": "song", "attempts": 5}, "family"),
        ({"kind": "attack", "family": "peer"}, "attempts"),
        ({"kind": "attack", "family": "peer", "attempts": 0}, "attempts"),
        ({"kind": "family-rate", "family": "peer", "samples": 5}, "margin"),
        ({"kind": "family-rate", "family": "peer", "samples": 5, "margin": 1.0}, "margin"),
    ],
)
def test_a_bad_template_is_one_sentence(content: dict[str, object], key: str) -> None:
    with pytest.raises(DataError, match=key):
        leaf_from_mapping({"id": "x", "claim": "c", **content}, "a.yaml")
