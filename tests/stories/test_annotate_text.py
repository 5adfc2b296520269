"""Quotes, tokens and sentences."""

from __future__ import annotations

import pytest

from tinyalign.stories.annotating import annotate
from tinyalign.stories.text import find_quotes


def said(text: str) -> list[str]:
    return [text[span.start : span.end] for span in find_quotes(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Hi," said Zed. "Bye."', ["Hi,", "Bye."]),
        ("\u201cHi,\u201d said Zed.", ["Hi,"]),
        ('\u201cYes, yes!" he said.', ["Yes, yes!"]),
        ('"Don\'t go," she said.', ["Don't go,"]),
        ('She said " Come in. " and sat.', ["Come in."]),
        ('"One\ntwo," he said. "Three."', ["One\ntwo,", "Three."]),
        ('She said, "I am lost\nThen it rained. "Oh," he said.', ["I am lost", "Oh,"]),
        ('He said, "no end', ["no end"]),
        ("Nobody speaks.", []),
        ('""', []),
        ('A tail mark." Then "this".', ["this"]),
        ('He said:"Come!"', ["Come!"]),
    ],
)
def test_quotes_are_found_whatever_their_marks(text: str, expected: list[str]) -> None:
    assert said(text) == expected


def test_a_script_without_marks_is_read_by_its_lines() -> None:
    story = annotate("Kim was in the yard.\nMom: Come in, Kim!\nKim: I am coming.\nThe end.")
    assert [quote.text for quote in story.quotes] == ["Come in, Kim!", "I am coming."]
    assert [quote.speaker_role for quote in story.quotes] == ["parent", "child"]


def sentences(text: str) -> list[str]:
    return [text[s.start : s.end] for s in annotate(text).sentences]


def test_sentences_end_at_marks_but_not_after_titles_or_inside_quotes() -> None:
    text = 'Mr. Plum ran. "Stop! Wait!" he said. Kim sat'
    assert sentences(text) == ["Mr. Plum ran.", '"Stop! Wait!" he said.', "Kim sat"]


def test_a_finished_quote_keeps_its_tag_and_lets_go_of_the_next_sentence() -> None:
    text = 'Kim saw mud. "Yuck!" Kim said. "Go on." The dog ran.'
    assert sentences(text)[1] == '"Yuck!" Kim said.'
    assert sentences(text)[-1] == "The dog ran."


def test_paragraphs_are_counted_by_line_breaks() -> None:
    story = annotate("Kim sat. Kim ran.\n\nIt rained.\nThe end.")
    assert [sentence.paragraph for sentence in story.sentences] == [0, 0, 1, 2]


def test_every_quote_lies_in_its_sentence() -> None:
    story = annotate('Kim ran.\n"Look, Mom!" she said. "A fox!"\nMom nodded. "I see it."')
    for quote in story.quotes:
        sentence = story.sentences[quote.sentence]
        assert sentence.start <= quote.start < quote.end <= sentence.end
