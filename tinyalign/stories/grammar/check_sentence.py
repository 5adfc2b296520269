"""Refusing sentences that would come out as wrong English for some choice of words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from tinyalign.stories.grammar.check_lexicon import refuse
from tinyalign.stories.grammar.english import (
    BEFORE_BARE,
    BEFORE_BASE,
    BEFORE_BASE_ONLY,
    BEFORE_ING,
    PLURAL_VERBS,
    PRONOUNS_AND_RELATIONS,
    WRONG_BE,
    article_for,
    wrong_article,
)
from tinyalign.stories.grammar.lexicon import Lexicon
from tinyalign.stories.grammar.plot import CHOICE
from tinyalign.stories.grammar.template import Slot, parse

_MOST_EXPANSIONS = 64


def expand(sentence: str) -> list[str]:
    """The sentence with its (a|b) choices made: all combinations, or every choice once if too many."""
    groups = [found[1].split("|") for found in CHOICE.finditer(sentence)]
    fixed = CHOICE.split(sentence)[::2]
    combinations = 1
    for group in groups:
        combinations *= len(group)
    if combinations <= _MOST_EXPANSIONS:
        chosen = list(itertools.product(*groups))
    else:
        most = max(map(len, groups))
        chosen = [tuple(group[turn % len(group)] for group in groups) for turn in range(most)]
    return [
        "".join(itertools.chain.from_iterable(itertools.zip_longest(fixed, options, fillvalue="")))
        for options in chosen
    ]


def check_sentence(
    where: str, sentence: str, people: Mapping[str, str], slots: Mapping[str, Lexicon]
) -> None:
    """Raise `DataError` where a sentence breaks agreement, articles or the rules for slots.

    `people` maps every role and slot that is a person to its kind, `slots` the other slots to their lexicon.
    """
    for text in expand(sentence):
        _check_literals(where, sentence, text)
        previous = ""
        pieces = parse(text)
        for position, piece in enumerate(pieces):
            if isinstance(piece, Slot):
                if piece.role not in people and piece.role not in slots:
                    known = ", ".join([*people, *slots])
                    raise refuse(where, sentence, f"{piece.role!r} is none of {known}.")
                following = pieces[position + 1] if position + 1 < len(pieces) else ""
                if piece.role in people:
                    _check_person(where, sentence, piece, previous, following)
                else:
                    _check_word(where, sentence, piece, slots[piece.role], previous)
                previous += "X"
            elif isinstance(piece, str):
                previous += piece


def _check_literals(where: str, sentence: str, text: str) -> None:
    literal = " ".join(piece for piece in parse(text) if isinstance(piece, str))
    if found := PRONOUNS_AND_RELATIONS.search(literal):
        raise refuse(where, sentence, f"write {found[0]!r} as a slot, since people differ in gender.")
    if found := WRONG_BE.search(literal):
        raise refuse(where, sentence, f"{found[0]!r} does not agree.")
    if wrong := wrong_article("".join(p if isinstance(p, str) else "\x00" for p in parse(text))):
        raise refuse(where, sentence, f"{wrong!r} has the wrong article.")
    if text != text.strip() or "  " in text:
        raise refuse(where, sentence, "it has outer or double spaces.")


def _last_word(text: str) -> str:
    words = text.split()
    return words[-1].strip('"!?.').lower() if words else ""


def _check_person(where: str, sentence: str, slot: Slot, previous: str, following: object) -> None:
    if slot.form not in ("", "he") or not isinstance(following, str):
        return
    if not (found := re.match(r" ([a-z']+)", following)):
        return
    joined, bare = bool(re.search(r"\band $", previous)), _last_word(previous) in BEFORE_BARE
    # "X and Y were": two people joined; anything else before the "and" is another sentence's verb.
    plural = joined and bool(re.search(r"(^|[.!?,\" ])X and $", previous))
    if found[1] in PLURAL_VERBS and not plural and not bare:
        raise refuse(where, sentence, f"{found[1]!r} does not agree with one person.")
    if found[1] in ("was", "is", "has") and plural and previous.endswith("X and "):
        before = previous[: -len("X and ")]
        if before == "" or before.endswith((". ", '" ', "! ", "? ")):
            raise refuse(where, sentence, f"{found[1]!r} does not agree with two people.")


def _check_word(where: str, sentence: str, slot: Slot, lexicon: Lexicon, previous: str) -> None:
    word = _last_word(previous)
    entries = [entry for part in lexicon.parts.values() for entry in part]
    for entry in entries:
        entry.form(slot.form) if slot.form else entry.word
    if lexicon.kind in ("activity", "mischief"):
        form = slot.form or "base"
        starts = previous == "" or bool(re.search(r'[."!?:] ?$', previous))
        if form in ("base", "it") and not (word in BEFORE_BASE or word.rstrip(",") == "x" or starts):
            raise refuse(where, sentence, f"the base form does not fit after {word!r}; use .past or .ing.")
        if form in ("base", "it") and re.search(r"X $", previous):
            raise refuse(where, sentence, "a person cannot be followed by the base form; use .past.")
        if form == "past" and word in BEFORE_BASE_ONLY:
            raise refuse(where, sentence, f"the past tense does not fit after {word!r}; use the base form.")
        if form == "ing" and word not in BEFORE_ING:
            raise refuse(where, sentence, f"the -ing form does not fit after {word!r}.")
    if lexicon.kind in ("thing", "mischief") and slot.form in ("", "thing", "word") and word in ("a", "an"):
        wrong = [e.word for e in entries if article_for(e.form(slot.form) if slot.form else e.word) != word]
        if lexicon.kind == "thing" and wrong:
            raise refuse(where, sentence, f"{word!r} is wrong before {wrong[0]!r}; write {{{slot.role}.a}}.")
