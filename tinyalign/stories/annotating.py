"""The annotator: a story's text in, a frozen `Story` out."""

from __future__ import annotations

import re

from tinyalign.stories.acts import Context, speech_acts
from tinyalign.stories.annotation import Quote, Story
from tinyalign.stories.clauses import Clauses
from tinyalign.stories.events import EventReader
from tinyalign.stories.page import Page, base_word, unpossessed
from tinyalign.stories.reader import read_page
from tinyalign.stories.speakers import attribute
from tinyalign.stories.text import (
    Span,
    find_quotes,
    find_script_lines,
    sentences_of,
    split_sentences,
    tokenize,
    words_of,
)
from tinyalign.stories.turns import Scene, Turn, vocatives


def annotate(text: str) -> Story:
    """Annotate one story. Never raises on any text; the same text always gives the same annotation."""
    spans = find_quotes(text) or find_script_lines(text)
    tokens = tokenize(text, spans)
    called = [vocatives(text, span.start, span.end) for span in spans]
    page = read_page(tokens, called)
    clauses = Clauses(page)
    turns = attribute(Scene(page, clauses, called, [text[span.start : span.end] for span in spans]))
    _quoted_mentions(page, text, spans)
    attributed = frozenset(turn.token for turn in turns if turn.after)
    ranges = split_sentences(tokens, attributed)
    sentences = sentences_of(text, tokens, ranges)
    quotes = _quotes(text, spans, turns, ranges)
    events = EventReader(text, clauses, turns, [sentence.start for sentence in sentences]).read()
    return Story(text, sentences, quotes, page.cast.characters(), events)


_ASKED = re.compile(r"\b(?:asked|asks|begged)\b[^.!?]*\b(?:if|whether|for|to)\b")
# Of a longer quote only so many characters are searched for speech acts: time stays linear on any text.
_LONGEST_READ = 2000
_WISHED = re.compile(
    r"\b(?:wanted|wants|want|tried|tries|reached|going|about) to\b|\bwanted (?:the|a|some|it)\b"
)


def _quoted_mentions(page: Page, text: str, spans: list[Span]) -> None:
    """Add the names that are spoken inside quotes to the mentions of whom they name."""
    for span in spans:
        for token in words_of(text, span.start, span.end):
            figure = page.cast.named(base_word(token)) if token.text[0].isupper() else None
            if figure is not None:
                figure.mentions.append((token.start, token.start + len(unpossessed(token.text))))


def _context(text: str, span: Span, turn: Turn, quotes: list[Quote]) -> Context:
    """What was said or told within the 250 characters before the quote."""
    before = quotes[-1] if quotes and quotes[-1].end > span.start - 250 else None
    narrated = text[max(before.end if before else 0, span.start - 250) : span.start]
    acts = before.speech_acts if before else ()
    asked = "request" in acts or (
        _ASKED.search(narrated) is not None and not narrated.rstrip().endswith("asked,")
    )
    told = "instruction" in acts or (
        before is not None and "let's" in before.text.lower().replace("\u2019", "'")
    )
    return Context(turn.role, turn.addressee_role, asked, told, _WISHED.search(narrated) is not None)


def _quotes(
    text: str, spans: list[Span], turns: list[Turn], ranges: list[tuple[int, int]]
) -> tuple[Quote, ...]:
    quotes: list[Quote] = []
    sentence = 0
    for span, turn in zip(spans, turns, strict=True):
        while sentence + 1 < len(ranges) and ranges[sentence][1] <= turn.token:
            sentence += 1
        context = _context(text, span, turn, quotes)
        acts = speech_acts(text[span.start : min(span.end, span.start + _LONGEST_READ)], context)
        quotes.append(
            Quote(
                start=span.start,
                end=span.end,
                text=text[span.start : span.end],
                sentence=sentence,
                speaker=turn.speakers[0] if len(turn.speakers) == 1 else None,
                speaker_role=turn.role,
                addressee=turn.addressees[0] if len(turn.addressees) == 1 else None,
                addressee_role=turn.addressee_role,
                speech_acts=acts,
                continues=turn.continues,
                evidence=turn.evidence,
            )
        )
    return tuple(quotes)
