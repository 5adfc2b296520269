"""Generated stories: seeded, true to what they claim, at the rates asked for, in one split's words."""

from __future__ import annotations

import collections
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tinyalign.common.errors import InputError, UnknownNameError
from tinyalign.stories.grammar import (
    SPLITS,
    GeneratedStory,
    Split,
    StoryGenerator,
    StoryQuote,
    load_lexicon,
    load_plot,
    mixture,
    plot_ids,
)

IDS = plot_ids()
N = 400


@given(seed=st.integers(0, 2**40), index=st.integers(0, 10**9), split=st.sampled_from(SPLITS))
@settings(max_examples=40, deadline=None)
def test_is_a_function_of_seed_and_index(seed: int, index: int, split: Split) -> None:
    generator = StoryGenerator(split=split)
    story = generator.story(seed, index)
    assert story == StoryGenerator(split=split).story(seed, index)
    assert story.text != generator.story(seed, index + 1).text


@given(index=st.integers(0, 10**6), property_id=st.sampled_from(IDS))
@settings(max_examples=80, deadline=None)
def test_what_it_says_of_itself_is_there(index: int, property_id: str) -> None:
    story = StoryGenerator((property_id,), violation_rate=0.5).story(7, index)
    assert story.property_id == property_id
    assert not re.search(r"[{}\[\]|<>()]|  | \.| ,", story.text), story.text
    assert story.text.count('"') == 2 * len(story.quotes)
    for quote in story.quotes:
        assert story.text[quote.start : quote.end] == quote.text
        assert story.text[quote.start - 1] == story.text[quote.end] == '"'
        assert {quote.speaker_role, quote.addressee_role} <= {"parent", "child"}
        assert quote.speaker != quote.addressee
    assert [span.start for span in story.spans] == sorted(span.start for span in story.spans)
    assert story.spans[0].start == 0
    assert story.spans[-1].end == len(story.text)
    for character in story.characters:
        assert character.name.lower() in story.text.lower()
    assert {quote.speaker for quote in story.quotes} <= {character.slot for character in story.characters}


@pytest.mark.parametrize("property_id", IDS)
def test_tells_every_outcome(property_id: str) -> None:
    told = {
        StoryGenerator((property_id,), violated, absent).story(1, 0).outcome
        for violated, absent in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    }
    assert told == {"satisfied", "violated", "absent"}


@pytest.mark.parametrize(
    ("property_id", "outcome", "words"),
    [
        ("P1", "satisfied", r"listen|obey|stop|did not|not |won't|did as"),
        ("P1", "violated", r"anyway|didn't|did not|don't care|I will|want to|kept|went on|all the same"),
        ("P2", "violated", r"No|not|n't|refused|said no"),
        ("P3", "satisfied", r"ask|Can I|May I|Could I"),
        ("P3", "violated", r"took|grabbed|picked up"),
        ("P5", "satisfied", r"hug|kiss|held"),
        ("P6", "satisfied", r"[Ss]orry"),
        ("P8", "satisfied", r"Yes"),
        ("P8", "violated", r"No"),
        ("P9", "violated", r"hid|did not tell|told nobody|said nothing"),
        ("P13", "satisfied", r"share|gave the"),
        ("P13", "violated", r"not share|kept|n't share"),
    ],
)
def test_the_deciding_span_says_so(property_id: str, outcome: str, words: str) -> None:
    generator = StoryGenerator((property_id,), float(outcome == "violated"), 0.0)
    for story in generator.stories(3, 60):
        assert story.outcome == outcome
        assert re.search(words, story.text[story.deciding.start : story.deciding.end]), story.text


def test_rates_are_those_asked_for() -> None:
    stories = list(StoryGenerator(violation_rate=0.2, absent_rate=0.4).stories(5, N))
    count = collections.Counter(story.outcome for story in stories)
    present = N - count["absent"]
    for hits, n, rate in [(count["absent"], N, 0.4), (count["violated"], present, 0.2)]:
        assert binomtest(hits, n, rate).pvalue > 1e-4


def test_weights_choose_properties() -> None:
    generator = StoryGenerator(("P1", "P5", "P13"), weights=(3.0, 1.0, 0.0))
    count = collections.Counter(story.property_id for story in generator.stories(1, N))
    assert count["P13"] == 0
    assert binomtest(count["P1"], N, 0.75).pvalue > 1e-4


@pytest.mark.parametrize("split", SPLITS)
def test_words_stay_in_their_split(split: Split) -> None:
    names = load_lexicon("names")
    others = {entry.word for other in SPLITS if other != split for entry in names.parts[other]}
    for story in StoryGenerator(split=split).stories(11, 60):
        assert not others & set(re.findall(r"\w+", story.text))
        for slot, lexicon in load_plot(story.property_id).slots.items():
            assert story.slots[slot] in {entry.word for entry in lexicon.parts[split]}


def test_a_refused_request_is_a_prohibition_too() -> None:
    story = StoryGenerator(("P4",), violation_rate=1.0, absent_rate=0.0).story(1, 1)
    assert story.outcomes == {"P4": "violated", "P1": "violated"}


def test_changing_a_rate_leaves_the_cast_alone() -> None:
    tame, wild = StoryGenerator(("P1",), 0.0, 0.0), StoryGenerator(("P1",), 1.0, 0.0)
    for index in range(20):
        assert tame.story(1, index).slots == wild.story(1, index).slots
        assert tame.story(1, index).outcome != wild.story(1, index).outcome
    assert tame.sha256 != wild.sha256


def test_mixture_is_varied_and_short() -> None:
    texts = list(mixture(seed=2, n=N, violation_rate=0.1))
    assert texts == [story.text for story in StoryGenerator(violation_rate=0.1).stories(2, N)]
    assert len(set(texts)) == N
    assert 150 < sum(map(len, texts)) / N < 450
    assert len({text[:25] for text in texts}) > N / 4


def test_refuses_nonsense() -> None:
    with pytest.raises(InputError, match=r"violation_rate is 1\.5"):
        StoryGenerator(violation_rate=1.5)
    with pytest.raises(InputError, match="not all zero"):
        StoryGenerator(("P1", "P2"), weights=(0.0, 0.0))
    with pytest.raises(UnknownNameError, match="P9"):
        StoryGenerator(("P99",))
    story = StoryGenerator(("P1",)).story(1, 0)
    quote = StoryQuote(0, 3, "not", "child", "parent", "child", "parent")
    fields = {name: getattr(story, name) for name in story.__dataclass_fields__}
    with pytest.raises(InputError, match="does not stand"):
        GeneratedStory(**{**fields, "quotes": (quote,)})
    assert story.to_json()["text"] == story.text
