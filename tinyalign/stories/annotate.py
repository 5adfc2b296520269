"""The annotator: a story's text in, a frozen `Story` out; and a stream of JSON lines for the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tinyalign.common.errors import InputError
from tinyalign.stories.acts import speech_acts
from tinyalign.stories.annotation import Quote, Story
from tinyalign.stories.clauses import Clauses
from tinyalign.stories.events import EventReader
from tinyalign.stories.reader import Reader
from tinyalign.stories.speakers import Speakers, vocatives
from tinyalign.stories.text import (
    Span,
    find_quotes,
    find_script_lines,
    sentences_of,
    split_sentences,
    tokenize,
)


def annotate(text: str) -> Story:
    """Annotate one story. Never raises on any text; the same text always gives the same annotation."""
    spans = find_quotes(text) or find_script_lines(text)
    tokens = tokenize(text, spans)
    called = [vocatives(text, span.start, span.end) for span in spans]
    reader = Reader(tokens, called)
    reader.read()
    clauses = Clauses(reader)
    speakers = Speakers(reader, clauses, called, [text[span.start : span.end] for span in spans])
    attributed = frozenset(turn.token for turn in speakers.turns if turn.after)
    ranges = split_sentences(tokens, attributed)
    sentences = sentences_of(text, tokens, ranges)
    quotes = _quotes(text, spans, speakers, ranges)
    events = EventReader(text, clauses, speakers.turns, [sentence.start for sentence in sentences]).read()
    return Story(text, sentences, quotes, reader.cast.characters(), events)


def _quotes(
    text: str, spans: list[Span], speakers: Speakers, ranges: list[tuple[int, int]]
) -> tuple[Quote, ...]:
    quotes: list[Quote] = []
    sentence = 0
    for number, (span, turn) in enumerate(zip(spans, speakers.turns, strict=True)):
        while sentence + 1 < len(ranges) and ranges[sentence][1] <= turn.token:
            sentence += 1
        before = quotes[-1] if quotes else None
        asked = before is not None and "request" in before.speech_acts and before.end > span.start - 250
        acts = speech_acts(text[span.start : span.end], speaker=turn.role, asked=asked)
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
