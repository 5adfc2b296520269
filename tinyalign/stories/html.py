"""Annotated stories as one self-contained HTML page: characters and quotes coloured by role."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from tinyalign.common.files import atomic_path
from tinyalign.stories.annotation import ROLES, Character, Quote, Story

# Inks keep a contrast of at least 4.5 on their grounds; the role is written out too, never colour alone.
_COLOURS = {
    "parent": ("#7a1f3d", "#fbe4ec"),
    "grandparent": ("#5a2a82", "#efe4fb"),
    "child": ("#0b4f8a", "#e1effc"),
    "animal": ("#2c5a1e", "#e5f4de"),
    "other": ("#6b4a00", "#fbf0d2"),
    "unknown": ("#444444", "#eeeeee"),
}
_STYLE = """
body{font:16px/1.6 Georgia,serif;color:#222;background:#fff;margin:0 auto;padding:1rem;max-width:46rem}
h1{font-size:1.3rem}h2{font-size:1rem;margin:2rem 0 .3rem;border-top:1px solid #ccc;padding-top:1rem}
p.story{white-space:pre-wrap;overflow-wrap:anywhere}
.q,.c{border-radius:.25em;padding:0 .15em;-webkit-box-decoration-break:clone;box-decoration-break:clone}
.c{border-bottom:2px solid currentColor}.q .c{border-bottom-style:dotted}
small{font:.72rem/1.2 system-ui,sans-serif;padding-left:.35em;opacity:.95}
ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.35rem}li{font:.85rem system-ui,sans-serif}
"""


def _rules() -> str:
    return "".join(f".{role}{{color:{ink};background:{paper}}}" for role, (ink, paper) in _COLOURS.items())


def _head(title: str) -> str:
    legend = "".join(f'<li><span class="q {role}">{role}</span></li>' for role in (*ROLES, "unknown"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{_rules()}</style></head><body>\n"
        f"<h1>{escape(title)}</h1>\n<p>Quotes are coloured by the role of their speaker, characters "
        "(underlined) by their own. Behind a quote: speaker, addressee and speech acts; a question mark "
        f"where the annotator abstains.</p>\n<ul>{legend}</ul>\n"
    )


def _label(story: Story, quote: Quote) -> str:
    def name(who: int | None, role: str | None) -> str:
        return story.characters[who].name if who is not None else role or "?"

    sides = f"{name(quote.speaker, quote.speaker_role)} \u2192 {name(quote.addressee, quote.addressee_role)}"
    acts = f": {', '.join(quote.speech_acts)}" if quote.speech_acts else ""
    return f"<small>[{escape(sides + acts)}]</small>"


def _marked(story: Story, start: int, end: int, mentions: list[tuple[int, int, str]]) -> str:
    """Escaped text of `start:end` with the mentions that lie in it marked."""
    parts: list[str] = []
    position = start
    for first, last, role in mentions:
        if first < position or last > end:
            continue
        parts.append(escape(story.text[position:first]))
        parts.append(f'<span class="c {role}">{escape(story.text[first:last])}</span>')
        position = last
    parts.append(escape(story.text[position:end]))
    return "".join(parts)


def _mentions(characters: Iterable[Character]) -> list[tuple[int, int, str]]:
    """Spans of all mentions with their roles, in order and without overlaps (the longer one wins)."""
    spans = sorted((a, -b, c.role) for c in characters for a, b in c.mentions)
    kept: list[tuple[int, int, str]] = []
    for first, negative_end, role in spans:
        if not kept or first >= kept[-1][1]:
            kept.append((first, -negative_end, role))
    return kept


def story_html(story: Story) -> str:
    """One story as an HTML fragment; every character of its text is escaped."""
    mentions = _mentions(story.characters)
    parts: list[str] = []
    position = at = 0

    def until(end: int) -> str:
        nonlocal position, at
        first = at
        while at < len(mentions) and mentions[at][0] < end:
            at += 1
        piece = _marked(story, position, end, mentions[first:at])
        position = end
        return piece

    for quote in story.quotes:
        parts.append(until(quote.start))
        role = quote.speaker_role or "unknown"
        parts.append(f'<span class="q {role}">{until(quote.end)}{_label(story, quote)}</span>')
    parts.append(until(len(story.text)))
    cast = "".join(
        f'<li><span class="q {c.role}">{escape(c.name)}: {c.role}</span></li>' for c in story.characters
    )
    return f'<p class="story">{"".join(parts)}</p>\n<ul>{cast}</ul>\n'


def write_html(stories: Iterable[Story], target: str | Path, title: str = "Annotated stories") -> int:
    """Write the page atomically, story by story, and return how many it holds.

    Raises `InputError` when the file cannot be written or a story cannot be read; then nothing is left.
    """
    count = 0
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as page:
        page.write(_head(title))
        for count, story in enumerate(stories, start=1):
            page.write(f"<section><h2>Story {count}</h2>\n{story_html(story)}</section>\n")
        page.write("</body></html>\n")
    return count
