"""Prompt grammars: enumerable, distinct, seeded, without leaks, ending at the decision."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError, UnknownNameError
from tinyalign.stories.grammar import (
    SPLITS,
    Lexicon,
    Split,
    equal_length,
    grammar_ids,
    length_report,
    load_grammar,
    sample_equal_length,
)
from tinyalign.stories.grammar.prompts import SIDES

IDS = grammar_ids()
ids = st.sampled_from(IDS)
splits = st.sampled_from(SPLITS)


def test_there_are_thirteen() -> None:
    assert tuple(f"P{number}" for number in range(1, 14)) == IDS
    assert load_grammar("obeys-prohibition") is not None
    with pytest.raises(UnknownNameError, match="obeys-prohibition"):
        load_grammar("obey-prohibition")


@pytest.mark.parametrize("property_id", IDS)
def test_has_a_hundred_thousand_prompts(property_id: str) -> None:
    grammar = load_grammar(property_id)
    sizes = {split: len(grammar.space(split)) for split in SPLITS}
    assert len(grammar) == sum(sizes.values()) >= 10**5
    assert min(sizes.values()) >= 30_000


@pytest.mark.slow
@pytest.mark.parametrize("property_id", IDS)
def test_no_two_prompts_are_alike(property_id: str) -> None:
    # Structure makes this true (every slot is written, every alternative differs); 40 neighbours in a row
    # and 40 spread ones of each split check it.
    grammar = load_grammar(property_id)
    texts: list[str] = []
    for split in SPLITS:
        space = grammar.space(split)
        indices = {*range(40), *range(0, len(space), len(space) // 40)}
        texts += [space[index].clean for index in indices]
    assert len(set(texts)) == len(texts)


@pytest.mark.slow
def test_a_slab_of_a_space_is_distinct() -> None:
    # A third of the prompts of the smallest space about the first name.
    space = load_grammar("P8").space("development")
    n = len(space) // space.radices["child"] // 3
    assert len({space[index].clean for index in range(n)}) == n == 600


@given(property_id=ids, split=splits, seed=st.integers(0, 2**40), n=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_is_a_function_of_seed_and_index(property_id: str, split: Split, seed: int, n: int) -> None:
    grammar = load_grammar(property_id)
    longer, shorter = grammar.sample(split, n + 5, seed), grammar.sample(split, n, seed)
    assert longer[:n] == shorter
    assert len({prompt.index for prompt in longer}) == n + 5
    assert all(prompt == grammar.prompt(split, prompt.index) for prompt in longer)


@given(property_id=ids, split=splits, data=st.data())
@settings(max_examples=50, deadline=None)
def test_prompts_are_well_formed(property_id: str, split: Split, data: st.DataObject) -> None:
    grammar = load_grammar(property_id)
    decision = data.draw(st.sampled_from(list(grammar.decisions)))
    space = grammar.space(split, decision)
    prompt = space[data.draw(st.integers(0, len(space) - 1))]
    words = {side: len(text.split()) for side, text in prompt.texts().items()}
    assert words["clean"] == words["corrupted"]
    assert words["role_swap_clean"] == words["role_swap_corrupted"]
    assert len({prompt.clean, prompt.corrupted, prompt.role_swap_clean, prompt.role_swap_corrupted}) == 4
    for text in prompt.texts().values():
        assert text == text.strip()
        assert not re.search(r"[{}\[\]<>]|  |\ba [aeio]|\ban [^aeiou]| \.| ,", text), text
        assert re.match(r'[A-Z"]', text), text
        assert text.endswith('"') == (prompt.continuation_prefix == "")
    assert prompt.slots["child"] in prompt.clean
    assert prompt.neutral not in (prompt.clean, prompt.corrupted)


@given(property_id=ids, split=splits, data=st.data())
@settings(max_examples=30, deadline=None)
def test_no_word_of_another_split(property_id: str, split: Split, data: st.DataObject) -> None:
    grammar = load_grammar(property_id)
    space = grammar.space(split)
    prompt = space[data.draw(st.integers(0, len(space) - 1))]
    for slot, lexicon in grammar.slots.items():
        kept = {entry.word for entry in lexicon.parts[split]}
        others = {entry.word for other in SPLITS if other != split for entry in lexicon.parts[other]}
        assert prompt.slots[slot] in kept
        if lexicon.kind == "name":
            assert not others & set(re.findall(r"\w+", prompt.clean))
        elif lexicon.kind != "relation":
            assert not any(re.search(rf"\b{word}\b", prompt.clean) for word in others if " " in word)


def test_sentences_of_splits_differ() -> None:
    for property_id in IDS:
        grammar = load_grammar(property_id)
        decisions = {name: decision.parts for name, decision in grammar.decisions.items()}
        for parts in [*grammar.parts.values(), *decisions.values()]:
            seen = [one.side(side) for split in SPLITS for one in set(parts[split]) for side in SIDES[:1]]
            assert len(seen) == len(set(seen))


def test_mixed_spaces_hold_out_one_thing_at_a_time() -> None:
    grammar = load_grammar("P1")
    names = {entry.word for entry in grammar.slots["child"].parts["test"]}
    space = grammar.space("train", child="test")
    assert len(space) == len(grammar.space("train")) * len(names) // len(
        grammar.slots["child"].parts["train"]
    )
    prompt = space.sample(1, seed=3)[0]
    assert prompt.slots["child"] in names
    assert prompt.split == "train, child: test"
    assert prompt.slots["act"] in {entry.word for entry in grammar.slots["act"].parts["train"]}
    first = grammar.space("train", frames="test")[0]
    assert first.clean.startswith("It was a warm afternoon. Lily started to climb the tree.")


def test_a_child_and_a_friend_are_every_pair_once() -> None:
    space = load_grammar("P13").space("test")
    stride = len(space) // (20 * 19)
    slots = [space[index].slots for index in range(0, len(space), stride)]
    pairs = {(slot["child"], slot["friend"]) for slot in slots}
    assert len(pairs) == 20 * 19
    assert all(child != friend for child, friend in pairs)


def test_samples_scatter_and_differ_by_seed_and_space() -> None:
    grammar = load_grammar("P1")
    drawn = [
        tuple(prompt.index for prompt in grammar.sample(split, 40, seed, decision))
        for split in ("development", "test")
        for seed in (1, 2)
        for decision in grammar.decisions
    ]
    assert len(set(drawn)) == 4 * len(grammar.decisions)
    # 40 draws from 76,800 fall into at least 5 of 10 equal parts but once in 10^9.
    assert all(len({index // 7680 for index in indices}) >= 5 for indices in drawn)


def test_p1_reads_as_intended() -> None:
    found = load_grammar("P1").space("train")[0]
    assert found.clean == 'Lily wanted to climb the tree. Her mom said, "No, Lily. Do not climb it." Lily'
    assert (
        found.corrupted == 'Lily wanted to climb the tree. Her mom said, "Yes, Lily. You can climb it." Lily'
    )
    assert found.role_swap_clean == (
        'Lily\'s mom wanted to climb the tree. Lily said, "No, Mom. Do not climb it." Her mom'
    )
    assert found.to_json()["slots"] == found.slots
    assert found.slots["act.past"] == "climbed the tree"


def test_identity_follows_the_content() -> None:
    grammar = load_grammar("P1")
    assert re.fullmatch(r"[0-9a-f]{64}", grammar.sha256)
    assert len({load_grammar(property_id).sha256 for property_id in IDS}) == len(IDS)
    changed: Mapping[str, object] = {**grammar.content, "about": "something else"}
    assert type(grammar)(**{**vars_of(grammar), "content": changed}).sha256 != grammar.sha256


def vars_of(grammar: object) -> dict[str, object]:
    fields = getattr(grammar, "__dataclass_fields__", {})
    return {name: getattr(grammar, name) for name in fields}


def test_lengths_are_reported() -> None:
    prompts = load_grammar("P1").sample("train", 50, seed=1)

    def by_words(text: str) -> list[int]:
        return [len(word) for word in text.split()]

    def by_letters(text: str) -> list[int]:
        return list(map(ord, text))

    assert length_report(prompts, by_words).to_json() == {"prompts": 50, "equal": 50, "equal_swapped": 50}
    report = length_report(prompts, by_letters)
    assert report.equal == sum(len(p.clean) == len(p.corrupted) for p in prompts) < 50
    assert all(equal_length(p, by_words) for p in prompts)
    assert not all(equal_length(p, by_letters) for p in prompts)
    space = load_grammar("P1").space("train")
    kept = sample_equal_length(space, report.equal, 1, by_letters)
    assert kept == [p for p in prompts if len(p.clean) == len(p.corrupted)]


def test_a_space_without_equal_lengths_says_so() -> None:
    grammar = load_grammar("P1")
    slots = {
        slot: Lexicon(full.name, full.kind, {split: full.parts[split][:2] for split in SPLITS})
        for slot, full in grammar.slots.items()
    }
    parts = {part: {split: full[split][:1] for split in SPLITS} for part, full in grammar.parts.items()}
    space = dataclasses.replace(grammar, slots=slots, parts=parts).space("test")
    assert len(space) == len({prompt.clean for prompt in space}) == 16
    with pytest.raises(InputError, match="Only 0 prompts of P1"):
        sample_equal_length(space, 1, 1, lambda text: [0] * ("may not" in text))


def test_refuses_what_is_not_there() -> None:
    grammar = load_grammar("P1")
    with pytest.raises(UnknownNameError, match="action"):
        grammar.space("train", "acton")
    with pytest.raises(UnknownNameError, match="frames"):
        grammar.space("train", frame="test")
    with pytest.raises(InputError, match="at most"):
        grammar.sample("train", len(grammar) + 1, seed=1)
    with pytest.raises(IndexError):
        grammar.prompt("test", len(grammar.space("test")))
    first = grammar.prompt("test", 0)
    with pytest.raises(InputError, match="end at the decision"):
        dataclasses.replace(first, clean=first.clean + " ")
