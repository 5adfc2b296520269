"""Who says what to whom, rule by rule, on stories written for the purpose."""

from __future__ import annotations

import pytest

from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import Story

KIM = "Kim was a girl who lived with her mom near a wood. "


def speakers(story: Story) -> list[str | None]:
    return [None if q.speaker is None else story.characters[q.speaker].name for q in story.quotes]


def addressees(story: Story) -> list[str | None]:
    return [None if q.addressee is None else story.characters[q.addressee].name for q in story.quotes]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"It rains," said Kim.', ["Kim"]),
        ('"It rains!" Kim said.', ["Kim"]),
        ('Kim said, "It rains."', ["Kim"]),
        ('Kim smiled at the sky and whispered, "It rains."', ["Kim"]),
        ('Her mom saw that Kim was wet and said, "Come in."', ["mom"]),
        ('Kim\'s mom asked, "Is it cold?"', ["mom"]),
        ('"Is it cold?" asked her mom.', ["mom"]),
        ('"It is late," her mom said. "Come in."', ["mom", "mom"]),
        ('"No!" said Kim, "I want to stay."', ["Kim", "Kim"]),
        ('"Is it cold?" Mom said, "No."', [None, "mom"]),
        ('Kim nodded. "I am ready."', ["Kim"]),
        ('"Mom, look!" she cried.', ["Kim"]),
        ('Mom looked up. She said, "Kim, come here."', ["mom"]),
        ('Then her friend, a wise owl, flew down and said, "Hello."', ["friend"]),
        ('The old lamp blinked and said, "Rub me."', ["lamp"]),
        ('Mr. Plum, the baker, said, "Good day."', ["Plum"]),
        ('Mom says.\n"Come in now."', ["mom"]),
        ('\nKim: "I am here."\nMom: "Good."', ["Kim", "mom"]),
        ('"Where is it, Kim?" asked Mom.\n"It is in the box."', ["mom", "Kim"]),
    ],
)
def test_the_speaker_is_named_by_tag_turn_beat_or_answer(text: str, expected: list[str | None]) -> None:
    assert speakers(annotate(KIM + text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        'There was a sign. The sign said, "Keep out."',
        'Kim found a letter. It said, "Come at noon."',
        'They played a game called "catch".',
        'Kim heard a voice. "Who is there?"',
    ],
)
def test_written_words_and_bare_voices_have_no_speaker(text: str) -> None:
    (quote,) = annotate(KIM + text).quotes
    assert quote.speaker is None
    assert quote.speaker_role is None


def test_a_voice_is_named_by_whoever_is_then_seen() -> None:
    story = annotate(KIM + 'Kim heard a voice. "Hello!" It was a small frog.')
    assert story.quotes[0].speaker_role == "animal"


def test_an_ambiguous_pronoun_gives_the_role_but_no_name() -> None:
    story = annotate('Ann and Sue were girls. Ann hugged Sue. It rained and "Let us go," she said.')
    assert story.quotes[0].speaker_role == "child"


def test_a_group_has_a_role_and_no_single_speaker() -> None:
    (quote,) = annotate('Ann and Bob ran home. "We are here!" they said.').quotes
    assert (quote.speaker, quote.speaker_role) == (None, "child")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Kim asked her mom, "Is it far?"', "mom"),
        ('Mom said to Kim, "It is far."', "Kim"),
        ('"Come in, Kim," said Mom.', "Kim"),
        ('"Thank you, Mom," said Kim.', "mom"),
        ('"Let me see," said Kim to her mom.', "mom"),
    ],
)
def test_the_addressee_is_named_by_the_tag_or_called_in_the_quote(text: str, expected: str) -> None:
    assert addressees(annotate(KIM + text)) == [expected]


def test_who_answers_was_spoken_to() -> None:
    story = annotate(KIM + 'Kim said, "It is dark."\nMom said, "Here is a lamp."')
    assert addressees(story) == ["mom", "Kim"]


def test_a_continued_quote_points_to_the_start_of_its_turn() -> None:
    story = annotate(KIM + '"It is late," said Mom. "Come in."')
    assert [quote.continues for quote in story.quotes] == [None, 0]
