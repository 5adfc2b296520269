"""The shrinker: what it returns still fails, is smaller, and was found within its effort."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.verification.attackers.shrinking import shrink

WORDS = st.sampled_from(["a", "bird", "sat", "on", "the", "old", "wall", '"no"', "Tim"])
SENTENCE = st.lists(WORDS, min_size=1, max_size=7).map(lambda words: "The " + " ".join(words) + ".")
SENTENCES = st.lists(SENTENCE, min_size=1, max_size=5)
NEEDED = st.sets(st.sampled_from(["bird", "sat", "old", "Tim"]), max_size=3)


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w']+", text)


def is_subsequence(small: list[str], large: list[str]) -> bool:
    rest = iter(large)
    return all(any(word == other for other in rest) for word in small)


@settings(max_examples=60)
@given(SENTENCES, NEEDED, st.integers(1, 200))
def test_what_is_left_still_fails_and_is_a_part_of_what_was_given(
    sentences: list[str], needed: set[str], effort: int
) -> None:
    asked: list[str] = []

    def fails(text: str) -> bool:
        asked.append(text)
        return needed <= set(words_of(text))

    text = " ".join(sentences)
    if not needed <= set(words_of(text)):
        with pytest.raises(InputError, match="nothing to shrink"):
            shrink(sentences, fails, effort=effort)
        return
    found = shrink(sentences, fails, effort=effort)
    assert needed <= set(words_of(found.text))
    assert found.text == text or found.text in asked
    assert is_subsequence(found.text.split(), text.split())
    assert found.evaluations == len(asked) == len(set(asked)) <= effort
    # The decision's last word is never lost, and quotes stay balanced.
    assert found.text.split()[-1] == text.split()[-1]
    assert found.text.count('"') % 2 == text.count('"') % 2
    again = shrink(sentences, lambda one: needed <= set(words_of(one)), effort=effort)
    assert again == found


@settings(max_examples=40)
@given(SENTENCES, NEEDED)
def test_with_enough_effort_no_sentence_can_go(sentences: list[str], needed: set[str]) -> None:
    def fails(text: str) -> bool:
        return needed <= set(words_of(text))

    if not fails(" ".join(sentences)):
        return
    found = shrink(sentences, fails, effort=10_000)
    assert not found.exhausted
    left = re.findall(r"[^.]+\.", found.text)
    for at in range(len(left) - 1):
        assert not fails(" ".join(left[:at] + left[at + 1 :]))


def test_words_go_where_they_are_not_needed() -> None:
    sentences = ["It was a warm day.", "The big old dog sat near Amy today.", "Now Amy"]
    found = shrink(sentences, lambda text: "dog" in text and "Amy" in text, effort=200)
    # "The" and "today." begin and end their sentence, and the decision keeps its last word.
    assert found.text == "The dog today. Amy"


def test_names_are_swapped_only_while_it_fails_and_nobody_is_doubled() -> None:
    sentences = ["Millie saw Lily and her mommy.", "Now Millie"]
    swaps = (("Millie", "Lily"), ("mommy", "mom"))
    found = shrink(sentences, lambda text: "Lily" in text and ("mommy" in text or "mom" in text), swaps=swaps)
    # Lily is in the text already: Millie must not become her.
    assert "Millie" in found.text
    assert found.renamed == (("mommy", "mom"),)
    kept = shrink(["Her mommy sat.", "Now Amy"], lambda text: "mommy" in text, swaps=(("mommy", "mom"),))
    assert kept.renamed == ()


def test_a_tiny_effort_says_that_more_might_go() -> None:
    sentences = ["It was warm.", "A bird sang.", "Now Amy"]
    found = shrink(sentences, lambda text: True, effort=2)
    assert found.exhausted
    assert found.evaluations == 2
