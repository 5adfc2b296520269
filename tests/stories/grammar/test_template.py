"""Templates: mentions, pronouns, capitals, and quotes whose offsets slice."""

from __future__ import annotations

import pytest

from tinyalign.common.errors import DataError
from tinyalign.stories.grammar.lexicon import Entry
from tinyalign.stories.grammar.template import Person, render

LILY = Entry("name", {"name": "Lily", "gender": "f"})
TOM = Entry("name", {"name": "Tom", "gender": "m"})
DAD = Entry("relation", {"word": "dad", "call": "Dad", "gender": "m"})
APPLE = Entry("thing", {"word": "apple", "article": "an"})
PEOPLE = {
    "child": Person("child", LILY),
    "friend": Person("friend", TOM),
    "parent": Person("parent", DAD, LILY),
    "thing": APPLE,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{Parent} came. {Child} ran.", "Lily's dad came. Lily ran."),
        ("{Child} saw {parent}.", "Lily saw her dad."),
        ("{Child} ate {thing.a}. {Child.He} liked the {thing}.", "Lily ate an apple. She liked the apple."),
        ("{Parent.Call} saw {child.him}.", "Dad saw Lily."),
        ("There was a {child.kid}. {Child.His} name was {child}.", "There was a girl. Her name was Lily."),
        ("{Friend} saw {parent}.", "Tom saw Lily's dad."),
        ("{Child} said sorry to {parent.him}. {Parent.He} smiled.", "Lily said sorry to her dad. He smiled."),
    ],
)
def test_writes(template: str, text: str) -> None:
    assert render([template], PEOPLE).text == text


def test_a_mention_in_an_earlier_sentence_counts() -> None:
    assert render(["{Child} sat.", "", "{Parent} sat."], PEOPLE).text == "Lily sat. Her dad sat."


def test_quotes_slice_and_know_their_people() -> None:
    template = '[parent>child] "No, {child}," {parent} said. [parent>child] "Stop!" [child>parent] "Oh."'
    rendered = render([template], PEOPLE)
    assert rendered.text == '"No, Lily," her dad said. "Stop!" "Oh."'
    assert [rendered.text[q.start : q.end] for q in rendered.spoken] == ["No, Lily,", "Stop!", "Oh."]
    assert [(q.speaker, q.addressee) for q in rendered.spoken] == [("parent", "child")] * 2 + [
        ("child", "parent")
    ]


@pytest.mark.parametrize("template", ["{nobody} ran.", "{child.wings}", "{child", "a ] b", "{parent.kid}"])
def test_refuses(template: str) -> None:
    with pytest.raises(DataError):
        render([template], PEOPLE)


def test_a_parent_is_somebodys() -> None:
    with pytest.raises(DataError, match="somebody's"):
        Person("parent", DAD)
