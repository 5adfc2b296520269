"""Texts side by side: what differs before and after, and the span of a counterexample that decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from tinyalign.report.markup import Html, fragment, tag
from tinyalign.report.numbers import number
from tinyalign.report.reading import Counterexample, Story

Span = tuple[int, int]
_WORD = re.compile(r"\s*[\w'\u2019-]+|\s*[^\w\s]|\s+")
# Fewer equal words than this between two changes is chance, not a common passage.
_COMMON = 3
# So many counterexamples of a leaf are in sight at once.
_OPEN = 2
_MOST_COMPARISONS = 1_500_000


@dataclass(frozen=True)
class Room:
    """How much of the texts a page shows: stories, counterexamples a leaf, characters a text."""

    stories: int
    examples: int
    characters: int


def differences(before: str, after: str) -> tuple[list[Span], list[Span]] | None:
    """The spans of `before` and of `after` (code points) that the other lacks, word by word.

    None where the texts are too long to be compared in reasonable time.
    """
    first, second = _words(before), _words(after)
    if len(first) * len(second) > _MOST_COMPARISONS:
        return None
    matcher = SequenceMatcher(None, [w for _, w in first], [w for _, w in second], autojunk=False)
    blocks = matcher.get_matching_blocks()
    kept = [
        block
        for block in blocks
        if block.size >= _COMMON
        or (block.a == 0 and block.b == 0)
        or (block.a + block.size == len(first) and block.b + block.size == len(second))
    ]
    gone: list[Span] = []
    new: list[Span] = []
    a = b = 0
    for block in kept:
        _note(gone, first, a, block.a, len(before))
        _note(new, second, b, block.b, len(after))
        a, b = block.a + block.size, block.b + block.size
    return gone, new


def _words(text: str) -> list[tuple[int, str]]:
    return [(found.start(), found[0]) for found in _WORD.finditer(text)]


def _note(spans: list[Span], words: Sequence[tuple[int, str]], start: int, end: int, length: int) -> None:
    if start < end:
        first = words[start]
        # The white space before a passage is not part of what changed.
        begin = first[0] + len(first[1]) - len(first[1].lstrip())
        last = words[end][0] if end < len(words) else length
        spans.append((begin, max(begin, last)))


def marked(text: str, prompt: str, spans: Sequence[Span], element: str, room: int) -> Html:
    """`text` with `spans` in <element>, the prompt it begins with in grey, cut to `room` characters.

    The cut keeps the first span in sight, and says how much is left out.
    """
    start, end = _window(len(text), spans, room)
    grey = len(prompt) if prompt and text.startswith(prompt) else 0
    edges = sorted({start, end, *(e for e in (grey, *(e for s in spans for e in s)) if start < e < end)})
    pieces: list[Html] = []
    for first, last in pairwise(edges):
        piece = text[first:last]
        if any(a <= first and last <= b for a, b in spans):
            pieces.append(tag(element, piece))
        elif last <= grey:
            pieces.append(tag("span", piece, class_="prompt"))
        else:
            pieces.append(fragment(piece))
    before = tag("span", f"[{start:,} characters before] ", class_="prompt") if start else None
    after = (
        tag("span", f" [{len(text) - end:,} characters more]", class_="prompt") if end < len(text) else None
    )
    return tag("p", tag("bdi", before, *pieces, after), class_="text")


def _window(length: int, spans: Sequence[Span], room: int) -> Span:
    if length <= room:
        return (0, length)
    start = 0
    if spans and spans[0][1] > room:
        start = max(0, min(spans[0][0] - room // 3, length - room))
    return (start, min(length, start + room))


def _side(name: str, text: Html) -> Html:
    return tag("div", tag("p", name, class_="label"), text)


def stories(shown: Sequence[Story], room: Room) -> Html:
    """Before and after, differences marked, one card a prompt; says how many stories are left out."""
    cards = [_story(at, story, room) for at, story in enumerate(shown[: room.stories], 1)]
    left = len(shown) - len(cards)
    more = tag("p", f"{number(float(left))} more in verdict.json.", class_="muted") if left else None
    return fragment(*cards, more)


def _story(at: int, story: Story, room: Room) -> Html:
    found = differences(story.before, story.after)
    gone, new = found or ([], [])
    if story.before == story.after:
        remark = tag("p", "The same story, to the letter.", class_="muted small")
    elif found is None:
        remark = tag("p", "These texts are too long to have their differences marked.", class_="muted small")
    else:
        remark = None
    apart = (
        None
        if story.after.startswith(story.prompt)
        else _side("Prompt", marked(story.prompt, "", (), "b", room.characters))
    )
    return tag(
        "article",
        tag("h3", f"Story {at}"),
        apart,
        remark,
        tag(
            "div",
            _side(
                _read("Before", story.verdict_before),
                marked(story.before, story.prompt, gone, "del", room.characters),
            ),
            _side(
                _read("After", story.verdict_after),
                marked(story.after, story.prompt, new, "ins", room.characters),
            ),
            class_="split pair",
        ),
        class_="card story",
    )


def _read(side: str, verdict: str) -> str:
    return f"{side} (text checker: {verdict})" if verdict else side


def counterexamples(shown: Sequence[Counterexample], room: Room) -> Html | None:
    """The counterexamples of one leaf, None where it has none."""
    if not shown:
        return None
    drawn = [_counterexample(at, one, room) for at, one in enumerate(shown[: room.examples], 1)]
    left = len(shown) - room.examples
    rest = drawn[_OPEN:]
    return fragment(
        *drawn[:_OPEN],
        tag("details", tag("summary", f"{len(rest)} more counterexamples"), *rest) if rest else None,
        tag("p", f"{number(float(left))} more in verdict.json.", class_="muted") if left > 0 else None,
    )


def _counterexample(at: int, one: Counterexample, room: Room) -> Html:
    spans = [] if one.span is None else [one.span]
    inside = bool(one.prompt) and one.after.startswith(one.prompt)
    texts: list[Html | None] = []
    if one.prompt and not inside:
        texts.append(_side("Prompt", marked(one.prompt, "", (), "b", room.characters)))
    if one.before or one.after:
        before = _side("Before", marked(one.before, one.prompt, (), "b", room.characters))
        after = _side("After", marked(one.after, one.prompt, spans, "mark", room.characters))
        texts.append(tag("div", before if one.before else None, after, class_="split pair"))
    if one.shrunk:
        texts.append(_side("Shrunk to", marked(one.shrunk, "", (), "b", room.characters)))
    found = tag("span", f" found by {one.attacker}", class_="muted small") if one.attacker else None
    return tag(
        "section",
        tag("h4", f"Counterexample {at}", found),
        tag("p", one.why) if one.why else None,
        *texts,
        class_="counter",
    )
