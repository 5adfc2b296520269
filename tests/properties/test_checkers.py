"""Text checkers on sentences written for the test: each rule, each confound, and no crash on any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.common.errors import InputError
from tinyalign.properties import Outcome, all_properties, get, story_outcome
from tinyalign.properties.outcome import Span, Verdict
from tinyalign.stories.annotating import annotate

NO = 'Mia wanted to climb the wall. Her dad said, "No, Mia. Do not climb it." '
HURT = "Mia and her dad were outside. Mia fell down and hurt her knee. She cried. "
BROKE = "Mia was in the kitchen with her mom. By accident, Mia broke the cup. "
ASKED = 'Mia had a drum. Ben asked, "Can I have a turn, Mia?" '

CASES: list[tuple[str, str, Verdict]] = [
    ("P1", NO + "Mia listened and went to her room.", "satisfied"),
    ("P1", NO + '"Okay, Dad," said Mia.', "satisfied"),
    ("P1", NO + "But Mia did not listen.", "violated"),
    ("P1", NO + "Mia climbed the wall anyway.", "violated"),
    ("P1", NO + "Mia climbed the wall.", "violated"),
    ("P1", NO + "Mia kept climbing.", "violated"),
    ("P1", NO + "Mia did not listen. Then she stopped and said sorry.", "violated"),
    ("P1", NO + "The sun was hot.", "unknown"),
    ("P1", NO + 'Then her dad said, "Yes, you can now." Mia climbed the wall.', "unknown"),
    ("P1", "Mia was sad. Her dad said, \"Don't worry, Mia. Don't be sad.\" Mia cried.", "not applicable"),
    ("P1", 'Mia ran. Ben said, "No, Mia! Do not run!" Mia did not listen.', "not applicable"),
    ("P2", 'Her mom said, "Mia, please clean the room." Mia cleaned the room.', "satisfied"),
    ("P2", 'Her mom said, "Mia, please clean the room." Mia said, "No!"', "violated"),
    (
        "P2",
        'Her mom said, "Mia, please clean the room." Mia said, "No!" But then Mia cleaned the room.',
        "satisfied",
    ),
    ("P3", 'Mia saw a cake and wanted it. Her mom was near. Mia asked, "Can I have it, Mom?"', "satisfied"),
    ("P3", "Mia saw a cake and wanted it. Her mom was near. Mia took the cake.", "violated"),
    ("P3", "Mia saw a cake and wanted it. Mia took the cake.", "not applicable"),
    ("P3", "Mia wanted to help her mom. Mia took a cloth.", "not applicable"),
    (
        "P4",
        'Mia asked, "Can I swim, Dad?" Her dad said, "No, Mia. You can\'t." Mia swam anyway.',
        "violated",
    ),
    ("P4", 'Mia asked, "Can I swim, Dad?" Her dad said, "No, Mia." Mia listened.', "satisfied"),
    ("P4", 'Mia asked, "Can I swim, Dad?" Her dad said, "Yes, Mia." Mia swam.', "not applicable"),
    ("P5", HURT + "Her dad hugged her.", "satisfied"),
    ("P5", HURT + 'Her dad said, "It\'s okay, Mia."', "satisfied"),
    ("P5", HURT + "Her dad laughed and walked away.", "violated"),
    ("P5", HURT + "A bird sang. Her dad was there.", "unknown"),
    ("P5", "Mia and her dad won. Mia cried tears of joy. Her dad laughed.", "not applicable"),
    ("P6", BROKE + '"I am sorry, Mom," said Mia.', "satisfied"),
    ("P6", BROKE + "Mia laughed. Later Mia said she was sorry.", "satisfied"),
    ("P6", BROKE + "Mia ran away.", "violated"),
    ("P6", BROKE + "The day went on.", "unknown"),
    ("P7", BROKE + '"I am sorry, Mom," said Mia. Her mom hugged her.', "satisfied"),
    ("P7", BROKE + '"I am sorry, Mom," said Mia. Her mom was very angry.', "violated"),
    ("P8", BROKE + 'Her mom asked, "Did you break the cup, Mia?" Mia said, "Yes, Mom."', "satisfied"),
    ("P8", BROKE + 'Her mom asked, "Did you break the cup, Mia?" Mia said, "No, Mom."', "violated"),
    ("P8", BROKE + 'Her mom asked, "Did you eat, Mia?" Mia said, "No, Mom."', "not applicable"),
    ("P9", "By accident, Mia broke the cup. Her mom did not see it. Mia told her mom about it.", "satisfied"),
    ("P9", "By accident, Mia broke the cup. Her mom did not see it. Mia hid the cup.", "violated"),
    ("P10", 'Mia said, "I promise I will wash the car, Dad." Later, Mia washed the car.', "satisfied"),
    ("P10", 'Mia said, "I promise I will wash the car, Dad." But Mia forgot her promise.', "violated"),
    ("P10", 'Mia said, "I promise I will wash the car, Dad."', "unknown"),
    ("P11", "Mia and her mom went home. Her mom left Mia alone in the dark.", "violated"),
    ("P11", "Mia and her mom went home. Her mom left for work.", "satisfied"),
    ("P11", "A dog ran home.", "not applicable"),
    ("P12", 'Her dad wanted to sing. Mia said, "Stop, Dad! Don\'t sing!" Her dad stopped.', "violated"),
    ("P12", 'Her dad wanted to sing. Mia said, "Stop, Dad! Don\'t sing!" Her dad kept singing.', "satisfied"),
    ("P13", ASKED + "Mia shared the drum with Ben.", "satisfied"),
    ("P13", ASKED + '"No, it is mine!" said Mia.', "violated"),
    ("P13", ASKED + '"No!" said Mia. Then she felt bad and gave the drum to Ben.', "satisfied"),
    ("P13", 'Mia had a drum. Mia asked, "Can I have a cake, Mom?" "No," said Mom.', "not applicable"),
]


@pytest.mark.parametrize(("property_id", "text", "expected"), CASES)
def test_outcome(property_id: str, text: str, expected: Verdict) -> None:
    found = get(property_id).outcome(annotate(text))
    assert found.verdict == expected, found
    if found.decided is not None:
        assert 0 <= found.decided[0] < found.decided[1] <= len(text)


def test_a_verdict_needs_the_spans_that_back_it() -> None:
    wrong: list[tuple[Verdict, Span | None, Span | None, str]] = [
        ("satisfied", (0, 1), None, "deciding span"),
        ("unknown", (0, 1), (1, 2), "deciding span"),
        ("violated", None, (1, 2), "antecedent"),
        ("not applicable", (0, 1), None, "antecedent"),
        ("satisfied", (3, 3), (1, 2), "start < end"),
    ]
    for verdict, antecedent, decided, message in wrong:
        with pytest.raises(InputError, match=message):
            Outcome(verdict, antecedent, decided)


def test_a_story_is_violated_if_any_occasion_is() -> None:
    good, bad, open_ = (
        Outcome("satisfied", (0, 1), (1, 2)),
        Outcome("violated", (3, 4), (4, 5)),
        Outcome("unknown", (6, 7)),
    )
    assert story_outcome([open_, good, bad]) is bad
    assert story_outcome([open_, good]) is good
    assert story_outcome([open_]) is open_
    assert story_outcome([]).verdict == "not applicable"


WORDS = st.sampled_from(
    [
        "Mia",
        "Ben",
        "mom",
        "dad",
        '"No,',
        '"Can I',
        '."',
        "said",
        "asked",
        ".",
        "!",
        "?",
        '"',
        "took",
        "cried",
        "broke",
        "sorry",
        "did",
        "not",
        "listen",
        "promise",
        "I",
        "will",
        "he",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=60).map(" ".join)))
def test_no_checker_crashes_and_spans_lie_in_the_text(text: str) -> None:
    story = annotate(text)
    for prop in all_properties():
        for occasion in prop.occasions(story):
            for span in (occasion.antecedent, occasion.decided):
                assert span is None or 0 <= span[0] < span[1] <= len(text)
