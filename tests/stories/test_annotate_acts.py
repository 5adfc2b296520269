"""Speech acts and their confounds."""

from __future__ import annotations

import pytest

from tinyalign.stories.acts import Context, speech_acts
from tinyalign.stories.annotation import SPEECH_ACTS

PARENT = Context(speaker="parent", addressee="child")
CHILD = Context(speaker="child", addressee="parent")
ASKED = Context(speaker="parent", addressee="child", asked=True)


@pytest.mark.parametrize(
    ("text", "context", "expected"),
    [
        ("Don't climb the wall.", PARENT, {"prohibition"}),
        ("Do not eat that!", PARENT, {"prohibition"}),
        ("Zed, you can't ride the goat.", PARENT, {"prohibition"}),
        ("Stop it!", PARENT, {"prohibition"}),
        ("We should not open it.", CHILD, {"prohibition"}),
        ("No, Zed. It is hot.", PARENT, {"prohibition"}),
        ("No, Zed. Not now.", ASKED, {"prohibition", "refusal"}),
        ("Don't worry.", PARENT, {"comfort"}),
        ("Don't be sad, Zed.", PARENT, {"comfort"}),
        ("I don't know.", CHILD, set()),
        ("I never saw it.", CHILD, set()),
        ("Oh no, my hat!", CHILD, set()),
        ("The bus will not stop.", CHILD, set()),
        ("Can I have a plum?", CHILD, {"request", "question"}),
        ("Please open the door.", CHILD, {"request", "instruction"}),
        ("Help!", CHILD, {"request"}),
        ("Do you want to play with me?", CHILD, {"request", "question"}),
        ("Give me my hat!", CHILD, {"request"}),
        ("Give me the knife.", PARENT, {"instruction"}),
        ("Can I help you?", CHILD, {"question"}),
        ("Yes, please!", CHILD, set()),
        ("What can we do?", CHILD, {"question"}),
        ("Why don't you want to go?", CHILD, {"question"}),
        ("Put the hat away.", PARENT, {"instruction"}),
        ("You must wash your feet.", PARENT, {"instruction"}),
        ("Look at the moon!", CHILD, set()),
        ("Be careful, it is hot.", PARENT, {"warning"}),
        ("You might fall and get hurt.", PARENT, {"warning"}),
        ("I will be careful.", CHILD, {"promise"}),
        ("Yes, you can have two.", PARENT, {"permission"}),
        ("Sure!", ASKED, {"permission"}),
        ("Sure!", PARENT, set()),
        ("No, thank you.", Context(speaker="child", asked=True), {"refusal"}),
        ("I'm sorry, I broke it.", CHILD, {"apology"}),
        ("I am so sorry!", CHILD, {"apology"}),
        ("I'm sorry you fell, Zed.", PARENT, {"comfort"}),
        ("Say sorry to Zed.", PARENT, {"instruction"}),
        ("I promise to feed it.", CHILD, {"promise"}),
        ("I will help you.", CHILD, {"promise"}),
        ("I will eat you!", Context(speaker="animal"), set()),
        ("It's okay, Zed.", PARENT, {"comfort"}),
        ("It is okay to run here.", PARENT, set()),
    ],
)
def test_acts(text: str, context: Context, expected: set[str]) -> None:
    assert set(speech_acts(text, context)) == expected


def test_curly_apostrophes_read_like_straight_ones() -> None:
    assert (
        speech_acts("Don\u2019t touch it.", PARENT)
        == speech_acts("Don't touch it.", PARENT)
        == ("prohibition",)
    )


def test_several_acts_come_in_a_fixed_order() -> None:
    acts = speech_acts("Don't go there! It is dangerous. Come here. Are you okay?", PARENT)
    assert acts == ("prohibition", "instruction", "warning", "question")
    assert [SPEECH_ACTS.index(act) for act in acts] == sorted(SPEECH_ACTS.index(act) for act in acts)
