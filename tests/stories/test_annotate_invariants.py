"""Any text at all: no crash, offsets that slice back, the same answer twice, time linear in the length."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import Story
from tinyalign.stories.html import story_html

_VOCABULARY = (
    'Zed Kim mom Mom his her he she they it said asked , . ! ? " \u201c \u201d \n : and who the a dog named '
    "Mr. girl's didn't stop kept jumping to wanted told not was if called voice friend sorry No Yes I "
    "you\u2019re can"
)
_WORDS = st.sampled_from(re.split(" ", _VOCABULARY))
texts = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="\"\u201c\u201d'\n.,:!? Aa\u00df\u0130", max_size=120),
    st.lists(_WORDS, max_size=120).map(" ".join),
)


def check(story: Story) -> None:
    text = story.text
    last = 0
    for quote in story.quotes:
        assert text[quote.start : quote.end] == quote.text
        assert last <= quote.start < quote.end
        last = quote.end
        sentence = story.sentences[quote.sentence]
        assert sentence.start <= quote.start
        assert quote.continues is None or 0 <= quote.continues < len(story.quotes)
    for before, after in zip(story.sentences, story.sentences[1:], strict=False):
        assert before.end <= after.start
        assert before.paragraph <= after.paragraph
    for character in story.characters:
        for start, end in character.mentions:
            assert 0 <= start < end <= len(text)
        assert character.id not in character.parent_of
    for event in story.events:
        assert text[event.start : event.end] == event.verb
        assert 0 <= event.sentence < len(story.sentences)
        assert event.quote is None or event.quote < len(story.quotes)
        assert event.object is None or 0 <= event.object < len(story.characters)


@settings(max_examples=150, deadline=None)
@given(texts)
def test_any_text_is_annotated_consistently(text: str) -> None:
    story = annotate(text)
    check(story)
    assert annotate(text) == story
    json.dumps(story.to_json(), allow_nan=False).encode()
    story_html(story).encode()


@settings(max_examples=40, deadline=None)
@given(texts)
def test_line_ends_do_not_matter_to_quotes(text: str) -> None:
    plain = text.replace("\r", "")
    assert [q.text for q in annotate(plain + "\n").quotes] == [q.text for q in annotate(plain).quotes]


# Run apart: the test run's type checks cost far more time than the annotator itself.
_TIMES = """
import json, sys, time
from tinyalign.stories.annotating import annotate
times = []
for text in json.load(sys.stdin):
    start = time.process_time()
    annotate(text)
    times.append(time.process_time() - start)
print(json.dumps(times))
"""


def seconds(texts: list[str]) -> list[float]:
    """Processor seconds for each text, in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMES], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_time_is_linear_in_the_length() -> None:
    """200,000 characters; a pass that is quadratic in the tokens would take minutes."""
    pieces = [
        '"How can you do it?" said Zed to Kim. His mom said, "No, Zed." She sat. ',
        "Zed and his mom said that she was big and he said to her dog named Rex how she can do it ",
        '"',
        "and said ",
        "slowly ",
        "the big ",
        'Zed "how when where ',
        "\n",
    ]
    names = [f"Q{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}" for i in range(4000)]
    many = " ".join(f'A boy named {name} said, "Hi, Mom." Mom saw him.' for name in names)
    took = seconds([piece * (200_000 // len(piece)) for piece in pieces] + [many])
    assert max(took) < 12


def test_a_story_takes_milliseconds() -> None:
    """A million stories an hour is 3.6 ms each; the bound leaves room for slow and busy machines."""
    story = (
        'A girl named Kim had a mom. Kim asked her mom, "Can I go?" Mom said, "No, Kim." Kim cried and ran. '
        * 8
    )
    took = seconds([story] * 60)
    assert sorted(took)[30] * 1000 < 15
