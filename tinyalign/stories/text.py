"""A story as tokens: words, punctuation, line breaks, and each quote as one token; then sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tinyalign.stories.annotation import Sentence
from tinyalign.stories.lexicon import word_set

Kind = Literal["word", "mark", "break", "quote"]

_TOKEN = re.compile(r"(?P<word>[^\W_]+(?:['\u2019-][^\W_]+)*)|(?P<break>\s*\n\s*)|(?P<mark>[^\w\s]|_)")
_MARK = re.compile(r"[\"“”„«»]|(?<!\w)''|''(?!\w)|``")
# `Mom: "..."` and, without marks, `Mom: What is it?` on a line of its own.
_SCRIPT = re.compile(r"^[ \t]*[A-Z][a-z]+(?: [A-Z][a-z]+)?: (?=\S)", re.MULTILINE)
_ABBREVIATIONS = word_set("mr mrs ms dr st jr sr prof")
_ENDERS = frozenset(".!?…")


class Token(NamedTuple):
    """A word, a punctuation mark, a line break, or a whole quote with its marks (`quote` is its index)."""

    kind: Kind
    text: str
    low: str
    start: int
    end: int
    quote: int = -1


@dataclass(frozen=True)
class Span:
    """A quote: `start:end` are the words, `outer_start:outer_end` include the marks that are there."""

    start: int
    end: int
    outer_start: int
    outer_end: int


def _line_end(text: str, start: int, limit: int) -> int:
    found = text.find("\n", start, limit)
    return limit if found < 0 else found


def _opens(text: str, start: int, end: int) -> bool:
    """A straight mark with space (or the beginning) before it and none after it can only open."""
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    return not after.isspace() and (before.isspace() or before in "([{\u2014\u2013-:,")


def _closes(text: str, start: int, end: int) -> bool:
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    return not before.isspace() and not after.isalnum()


def find_quotes(text: str) -> list[Span]:
    """Every quote of `text`, in order, never overlapping.

    Straight and curly marks may be mixed. A quote may run over line breaks if its closing mark comes before
    the next opening one; a quote without a closing mark ends with its line. A closing mark without an
    opening one is ignored. Empty quotes are left out.
    """
    quotes: list[Span] = []
    opened: tuple[int, int] | None = None

    def close(start: int, end: int) -> None:
        nonlocal opened
        if opened is None:
            return
        inner, outer = opened
        opened = None
        raw = text[inner:start]
        if raw.strip():
            left = inner + len(raw) - len(raw.lstrip())
            quotes.append(Span(left, inner + len(raw.rstrip()), outer, end))

    for found in _MARK.finditer(text):
        mark, start, end = found.group(), found.start(), found.end()
        if opened is None:
            stray = mark in "”»" or (mark in ('"', "''") and not _opens(text, start, end))
            if not stray or (mark == '"' and not _closes(text, start, end)):
                opened = (end, start)
        elif mark in "“„«``" or (mark not in "”»" and _opens(text, start, end)):
            # The quote before was never closed: it ends with its line.
            stop = _line_end(text, opened[0], start)
            close(stop, stop)
            opened = (end, start)
        else:
            close(start, end)
    if opened is not None:
        stop = _line_end(text, opened[0], len(text))
        close(stop, stop)
    return quotes


def find_script_lines(text: str) -> list[Span]:
    """Lines of a story written as a script without quotation marks (`Mom: Come here.`)."""
    lines = []
    for found in _SCRIPT.finditer(text):
        stop = _line_end(text, found.end(), len(text))
        if stop > found.end():
            lines.append(Span(found.end(), stop, found.end(), stop))
    return lines if len(lines) >= 2 else []


def tokenize(text: str, quotes: list[Span]) -> list[Token]:
    """Tokens of the narration, with each quote as a single token in its place."""
    tokens: list[Token] = []
    position = 0
    for index, quote in enumerate([*quotes, None]):
        stop = len(text) if quote is None else quote.outer_start
        _append_words(tokens, text, position, stop)
        if quote is not None:
            said = text[quote.start : quote.end]
            tokens.append(Token("quote", said, "", quote.outer_start, quote.outer_end, index))
            position = quote.outer_end
    return tokens


def words_of(text: str, start: int, end: int) -> list[Token]:
    """Tokens of one stretch of text, for instance of the inside of a quote."""
    tokens: list[Token] = []
    _append_words(tokens, text, start, end)
    return tokens


def _append_words(tokens: list[Token], text: str, start: int, end: int) -> None:
    for found in _TOKEN.finditer(text, start, end):
        kind = found.lastgroup
        raw = found.group()
        if kind == "word":
            low = raw.lower().replace("\u2019", "'")
            tokens.append(Token("word", raw, low, found.start(), found.end()))
        else:
            tokens.append(Token("mark" if kind == "mark" else "break", raw, raw, found.start(), found.end()))


def split_sentences(tokens: list[Token], attributed: frozenset[int]) -> list[tuple[int, int]]:
    """Token ranges `[first, last)` of the sentences, without the line breaks between them.

    A sentence ends at `.`, `!` or `?` outside quotes (not after "Mr" and the like), at a line break, and
    after a quote that itself ends so, unless the words behind the quote belong to it: a lower-case word, or
    a token in `attributed`, the indices of quote tokens whose tag follows them.
    """
    ranges: list[tuple[int, int]] = []
    first = 0

    def finish(last: int) -> None:
        nonlocal first
        if last > first:
            ranges.append((first, last))
        first = last

    count = len(tokens)
    for index, token in enumerate(tokens):
        if index < first:
            continue
        if token.kind == "break":
            finish(index)
            first = index + 1
        elif token.kind == "mark" and token.text in _ENDERS:
            previous = tokens[index - 1] if index else None
            if previous is not None and token.text == "." and previous.low in _ABBREVIATIONS:
                continue
            stop = index + 1
            while stop < count and tokens[stop].kind == "mark" and tokens[stop].text in ".!?…)\u2019'":
                stop += 1
            finish(stop)
        elif token.kind == "quote" and token.text[-1] in _ENDERS and index not in attributed:
            following = tokens[index + 1] if index + 1 < count else None
            if following is not None and following.kind == "mark" and following.text in ".,;:!?":
                continue
            if following is None or not (following.kind == "word" and following.text[0].islower()):
                finish(index + 1)
    finish(count)
    return ranges


def sentences_of(text: str, tokens: list[Token], ranges: list[tuple[int, int]]) -> tuple[Sentence, ...]:
    """The public records of `ranges`, with paragraphs counted by the line breaks outside quotes."""
    sentences = []
    paragraph, position = 0, 0
    for first, last in ranges:
        while position < first:
            paragraph += tokens[position].kind == "break" and bool(sentences)
            position += 1
        sentences.append(Sentence(tokens[first].start, tokens[last - 1].end, paragraph))
    return tuple(sentences)
