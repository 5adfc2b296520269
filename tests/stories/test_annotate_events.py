"""Narrated events: lemma, subject, object, negation, what really happened."""

from __future__ import annotations

import pytest

from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import Event, Story

OPENING = "A boy named Zed lived with his mom. "


def events(text: str) -> tuple[Story, list[Event]]:
    story = annotate(OPENING + text)
    return story, [event for event in story.events if event.start >= len(OPENING)]


def find(text: str, lemma: str) -> tuple[Story, Event]:
    story, found = events(text)
    (event,) = [event for event in found if event.lemma == lemma]
    return story, event


@pytest.mark.parametrize(
    ("text", "lemma", "negated", "realised"),
    [
        ("Zed listened.", "listen", False, True),
        ("Zed didn't listen.", "listen", True, True),
        ("Zed did not stop.", "stop", True, True),
        ("Zed never shared.", "share", True, True),
        ("Zed could not find it.", "find", True, True),
        ("Zed wanted to climb.", "climb", False, False),
        ("Zed started to cry.", "cry", False, True),
        ("Zed kept jumping.", "jump", False, True),
        ("Zed stopped crying.", "cry", False, False),
        ("Zed did not stop singing.", "sing", False, True),
        ("Zed refused to share.", "share", False, False),
        ("Zed decided to share.", "share", False, True),
        ("His mom told Zed not to climb.", "climb", True, False),
        ("His mom let Zed play.", "play", False, True),
        ("If Zed fell, it rained.", "fall", False, False),
        ("Zed would cry.", "cry", False, False),
        ("Zed was walking home.", "walk", False, True),
        ("Zed hid the cup.", "hide", False, True),
        ("Zed promised to wait.", "wait", False, False),
    ],
)
def test_negation_and_realisation(text: str, lemma: str, negated: bool, realised: bool) -> None:
    _, event = find(text, lemma)
    assert (event.negated, event.realised) == (negated, realised)


def test_subject_object_and_words() -> None:
    story, event = find("His mom hugged him.", "hug")
    assert story.role(event.subject) == "parent"
    assert event.object is not None
    assert story.characters[event.object].name == "Zed"
    assert event.object_text == "him"


def test_subjects_pass_over_and() -> None:
    story, found = events("Zed ran to the hill and broke a cup.")
    assert [event.lemma for event in found] == ["run", "break"]
    assert all(event.subject == story.events[0].subject for event in found)
    assert found[1].object_text == "a cup"


def test_groups_have_several_subjects_and_no_single_one() -> None:
    _, event = find("Zed and his mom laughed.", "laugh")
    assert len(event.subjects) == 2
    assert event.subject is None


def test_the_object_acts_where_the_verb_says_so() -> None:
    story, event = find("His mom told Zed to come.", "come")
    assert event.governor == "tell"
    assert event.subject is not None
    assert story.characters[event.subject].name == "Zed"


def test_states_keep_their_word() -> None:
    _, event = find("Zed was very sad.", "be")
    assert event.object_text == "very sad"


def test_passive_has_no_actor() -> None:
    _, event = find("The cup was broken.", "break")
    assert event.passive
    assert event.subjects == ()


def test_speech_verbs_point_to_their_quote() -> None:
    story, event = find('His mom said, "Stop!"', "say")
    assert event.quote == 0
    assert story.role(event.subject) == "parent"


def test_words_in_quotes_are_no_events() -> None:
    _, found = events('"The dog ate it and ran," said Zed.')
    assert [event.lemma for event in found] == ["say"]


def test_spans_slice_back_and_orders_are_positions() -> None:
    story, _ = events("Zed did not stop. He kept jumping and broke the bed. His mom cried.")
    for index, event in enumerate(story.events):
        assert story.text[event.start : event.end] == event.verb
        assert event.order == index
        assert story.sentences[event.sentence].start <= event.start < story.sentences[event.sentence].end


def test_helpers_select_by_actor_and_place() -> None:
    story, found = events("Zed ran. His mom sat.")
    zed = next(character.id for character in story.characters if character.name == "Zed")
    assert [event.lemma for event in story.events_of(zed) if event in found] == ["run"]
    assert story.events_between(0, len(OPENING)) == story.events[: len(story.events) - len(found)]
