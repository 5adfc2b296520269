"""Before and after: what is marked as different, and how markup keeps any text."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.report.parsing import parse
from tinyalign.report.markup import Html, fragment, tag, text, visible
from tinyalign.report.stories import differences, marked

_WORDS = st.lists(
    st.sampled_from(["Tim", "ran", "home", "and", ".", "sad", "happy", "don't"]), max_size=30
).map(" ".join)


def _without(story: str, spans: list[tuple[int, int]]) -> list[str]:
    kept, position = "", 0
    for start, end in spans:
        assert position <= start < end <= len(story)
        kept += story[position:start]
        position = end
    return (kept + story[position:]).split()


@given(_WORDS, _WORDS)
def test_without_their_differences_two_stories_are_the_same(before: str, after: str) -> None:
    found = differences(before, after)
    assert found is not None
    gone, new = found
    assert "".join(_without(before, gone)) == "".join(_without(after, new))


@given(_WORDS)
def test_a_story_does_not_differ_from_itself(story: str) -> None:
    assert differences(story, story) == ([], [])


def test_words_are_marked_whole() -> None:
    before, after = "Tim was sad and went home to his mom.", "Tim was happy and went home to his mom."
    found = differences(before, after)
    assert found is not None
    assert [before[a:b] for a, b in found[0]] == ["sad"]
    assert [after[a:b] for a, b in found[1]] == ["happy"]


def test_a_common_word_or_two_do_not_make_a_common_passage() -> None:
    found = differences("He ran and he fell down there.", "He sat until Tom had come and left us.")
    assert found is not None
    assert len(found[0]) == len(found[1]) == 1


def test_texts_of_a_thousand_thousand_words_are_not_compared() -> None:
    assert differences("a " * 2_000, "b " * 2_000) is None


@given(st.text(), st.text())
def test_any_text_comes_out_of_the_markup_as_it_went_in(inside: str, attribute: str) -> None:
    html = tag("div", inside, title=attribute)
    page = parse(html)
    (element,) = page.elements
    # The parser reads a lone carriage return as a line break, as browsers do; `visible` leaves none.
    assert element.text == visible(inside)
    assert element.attributes["title"] == visible(attribute)
    assert html.encode()


@given(st.text())
def test_visible_text_is_printable_but_for_layout(value: str) -> None:
    for character in visible(value):
        assert character.isprintable() or character in "\n\t\u200c\u200d" or character.isspace()
    assert visible(visible(value)) == visible(value)


def test_what_visible_does_to_each_kind() -> None:
    assert visible("a\x1b[2Jb\x00\x7f") == "a\u241b[2Jb\u2400[U+007F]"
    assert visible("\u202eabc\u2066\ufeff") == "[U+202E]abc[U+2066][U+FEFF]"
    assert visible("one\r\ntwo\tthree\u00a0\u00e9") == "one\ntwo\tthree\u00a0\u00e9"


def test_markup_is_not_escaped_twice() -> None:
    inner = tag("b", "<")
    assert isinstance(text(inner), Html)
    assert fragment(inner, "&") == "<b>&lt;</b>&amp;"
    assert tag("p", None, inner, class_="x", hidden=True, id=None, x=1.25, y=2.0) == (
        '<p class="x" hidden x="1.25" y="2"><b>&lt;</b></p>'
    )


@given(st.text(max_size=60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_marking_keeps_the_text_and_marks_the_span(story: str, a: int, b: int, prompt: int) -> None:
    start, end = sorted((min(a, len(story)), min(b, len(story))))
    page = parse(marked(story, story[:prompt], [(start, end)] if start < end else [], "mark", 100))
    assert page.named("bdi")[0].text.split("\n") == "".join(
        visible(part) for part in _pieces(story, start, end, min(prompt, len(story)))
    ).split("\n")
    assert "".join(mark.text for mark in page.named("mark")) == "".join(
        visible(part)
        for part in _pieces(story[start:end], 0, end - start, max(0, min(prompt, len(story)) - start))
    )


def _pieces(story: str, *edges: int) -> list[str]:
    cuts = sorted({0, len(story), *(min(edge, len(story)) for edge in edges)})
    return [story[a:b] for a, b in pairwise(cuts)]


def test_a_long_text_is_cut_around_its_span() -> None:
    story = "x" * 5_000 + "HERE" + "y" * 5_000
    page = parse(marked(story, "", [(5_000, 5_004)], "mark", 900))
    assert [mark.text for mark in page.named("mark")] == ["HERE"]
    shown = page.named("bdi")[0].text
    assert "[4,700 characters before]" in shown and "[4,404 characters more]" in shown
