"""JSON lines in and out, the HTML page, and what happens on bad input."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tinyalign.common.errors import InputError
from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import ROLES, SPEECH_ACTS, Character, Quote, Story
from tinyalign.stories.html import write_html
from tinyalign.stories.stream import annotate_file

TEXTS = ['Zed asked his mom, "Can I go?" "No, Zed," said Mom.', "Nobody \u2603 speaks.", ""]


def write(folder: Path, lines: list[str]) -> Path:
    path = folder / "in.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_each_line_gives_characters_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, [json.dumps({"text": text, "source": "x"}) for text in TEXTS])
    records = [json.loads(line) for line in annotate_file(path)]
    assert len(records) == 3
    for text, record in zip(TEXTS, records, strict=True):
        assert set(record) == {"characters", "quotes"}
        for quote in record["quotes"]:
            assert text[quote["start"] : quote["end"]] == quote["text"]
            assert quote["speaker_role"] in (*ROLES, None)
            assert set(quote["speech_acts"]) <= set(SPEECH_ACTS)
    first, second = records[0]["quotes"]
    assert (first["speaker_role"], first["addressee_role"]) == ("child", "parent")
    assert (second["speaker_role"], second["speech_acts"]) == ("parent", ["prohibition", "refusal"])
    assert records[1] == {"characters": [], "quotes": []}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{not json", ["Line 2", "not JSON"]),
        ('{"story": "x"}', ["Line 2", "'story'", '"text"']),
        ('{"text": 3}', ["Line 2", '"text"']),
        ("[1]", ["Line 2", "a list"]),
        ("[" * 100_000, ["Line 2", "not JSON"]),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: list[str]) -> None:
    path = write(tmp_path, ['{"text": "Good."}', line])
    lines = annotate_file(path)
    next(lines)
    with pytest.raises(InputError) as raised:
        next(lines)
    message = str(raised.value)
    assert all(word in message for word in words)
    assert "\n" not in message


def test_bytes_that_are_not_text_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"text": "\xff\xfe"}\n')
    with pytest.raises(InputError, match=r"Line 1 of bad\.jsonl is not UTF-8"):
        list(annotate_file(path))
    with pytest.raises(InputError, match="Cannot read"):
        list(annotate_file(tmp_path / "absent.jsonl"))


def test_a_lone_surrogate_does_not_stop_the_stream(tmp_path: Path) -> None:
    path = write(tmp_path, ['{"text": "Zed said, \\"Hi \\ud800.\\""}'])
    (line,) = annotate_file(path)
    assert line.encode("utf-8")


class Page(HTMLParser):
    """Collects tags, and the text of the story paragraphs without the labels."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.stack: list[str] = []
        self.story = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.stack.append("story" if dict(attrs).get("class") == "story" else tag)

    def handle_endtag(self, tag: str) -> None:
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if "story" in self.stack and "small" not in self.stack:
            self.story += data


def test_the_page_escapes_the_text_and_keeps_every_character(tmp_path: Path) -> None:
    text = 'Zed <script>alert("x")</script> & said, "<b>Hi</b>, Mom & Dad!" <img src=x onerror=y>'
    out = tmp_path / "page.html"
    assert write_html([annotate(text)], out, title="<i>A & B</i>") == 1
    source = out.read_text(encoding="utf-8")
    page = Page()
    page.feed(source)
    assert page.story == text
    assert not {"script", "img", "b", "i"} & set(page.tags)
    assert "http" not in source
    for role in ROLES:
        assert f'class="q {role}">{role}<' in source


def test_colours_are_readable(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    write_html([annotate(TEXTS[0])], out)

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = re.findall(r"color:(#\w{6});background:(#\w{6})", out.read_text(encoding="utf-8"))
    assert len(pairs) == len(ROLES) + 1
    for ink, paper in pairs:
        assert (light(paper) + 0.05) / (light(ink) + 0.05) >= 4.5


def test_a_bad_line_leaves_no_page(tmp_path: Path) -> None:
    path = write(tmp_path, ['{"text": "Good."}', "{"])
    with pytest.raises(InputError):
        list(annotate_file(path, html=tmp_path / "page.html"))
    assert not (tmp_path / "page.html").exists()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in.jsonl"]


def test_the_page_comes_with_the_lines(tmp_path: Path) -> None:
    path = write(tmp_path, [json.dumps({"text": text}) for text in TEXTS])
    assert list(annotate_file(path, html=tmp_path / "page.html")) == list(annotate_file(path))
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<h2>") == 3


def test_a_story_refuses_offsets_and_ids_that_do_not_fit() -> None:
    quote = Quote(0, 2, "Hi", 0, 0, "child", None, None, ())
    zed = Character(0, "Zed", "child", None, "human", False, (), ())
    Story("Hi", (), (quote,), (zed,), ())
    with pytest.raises(InputError, match="not what the text holds"):
        Story("Ho", (), (quote,), (zed,), ())
    with pytest.raises(InputError, match="names character 0"):
        Story("Hi", (), (quote,), (), ())
