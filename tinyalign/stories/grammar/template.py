"""Sentences with slots, and writing them out for a cast of people and a choice of words.

A slot is `{role}` or `{role.form}`; a capital first letter capitalises what is written. A person writes
the name, and a parent "her mom" once the child has been named and "Lily's mom" before that; further forms
of people are `call` (as addressed: Lily, Mom), `he`, `him`, `his`, `himself` and `kid` (girl, boy).
Words from other lexicons write their forms (`act.ing`, `thing.a`). In stories `[parent>child]` before an
opening quotation mark says who speaks to whom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tinyalign.common.errors import DataError
from tinyalign.stories.grammar.lexicon import Entry

_PIECE = re.compile(r"\{([A-Za-z]\w*)(?:\.(\w+))?\}|\[(\w+)>(\w+)\] ?(?=\")")


@dataclass(frozen=True)
class Slot:
    """`{role.form}`; `form` is empty for the bare role, `capital` says it was written with a capital."""

    role: str
    form: str
    capital: bool


@dataclass(frozen=True)
class Voice:
    """`[speaker>addressee]`: who says the quote that follows, and to whom (roles)."""

    speaker: str
    addressee: str


Piece = str | Slot | Voice


PersonKind = Literal["child", "friend", "parent"]


@dataclass(frozen=True)
class Person:
    """Somebody in a story: the `child`, a `friend`, or the `parent` of `child` (whose entry is given)."""

    kind: PersonKind
    entry: Entry
    child: Entry | None = None

    def __post_init__(self) -> None:
        if (self.kind == "parent") != (self.child is not None):
            raise DataError(f"A parent, and nobody else, is somebody's: got {self.kind} {self.entry.word!r}.")

    def write(self, form: str, child_named: bool) -> str:
        """A form of this person; a bare parent reads "her mom" or, before the child is named, "Lily's mom"."""
        if self.child is None:
            return self.entry.word if form in ("", "call") else self.entry.form(form)
        if form == "":
            owner = self.child.form("his") if child_named else f"{self.child.word}'s"
            return f"{owner} {self.entry.word}"
        if form == "kid":
            raise DataError(
                f"A parent ({self.entry.word!r}) is no girl or boy: do not write {{role.kid}} for one."
            )
        return self.entry.form(form)


Bindings = Mapping[str, Person | Entry]


@dataclass(frozen=True)
class Spoken:
    """A quote in rendered text: offsets of what stands between the marks, and the roles of who speaks."""

    start: int
    end: int
    speaker: str
    addressee: str


@dataclass(frozen=True)
class Rendered:
    """Rendered text with its attributed quotes in order."""

    text: str
    spoken: tuple[Spoken, ...]


@lru_cache(maxsize=65536)
def parse(template: str) -> tuple[Piece, ...]:
    """The pieces of a template; raises `DataError` for a stray brace."""
    pieces: list[Piece] = []
    at = 0
    for found in _PIECE.finditer(template):
        if found.start() > at:
            pieces.append(template[at : found.start()])
        role, form, speaker, addressee = found.groups()
        if role:
            pieces.append(Slot(role[0].lower() + role[1:], form or "", role[0].isupper()))
        else:
            pieces.append(Voice(speaker, addressee))
        at = found.end()
    if at < len(template):
        pieces.append(template[at:])
    for piece in pieces:
        if isinstance(piece, str) and re.search(r"[{}\[\]]", piece):
            raise DataError(
                f"The sentence {template!r} has a stray bracket; slots are written {{role.form}}."
            )
    return tuple(pieces)


def slots_of(template: str) -> tuple[Slot, ...]:
    """The slots of a template, in order."""
    return tuple(piece for piece in parse(template) if isinstance(piece, Slot))


def render(templates: Sequence[str], bindings: Bindings, named: bool = False) -> Rendered:
    """Write `templates`, joined by single spaces (empty ones left out), for these bindings.

    `named` says that the child was already named before this text. Raises `DataError` for an unbound role.
    """
    out: list[str] = []
    length = 0
    spoken: list[Spoken] = []
    voice: Voice | None = None
    opened = -1
    for template in templates:
        if not template:
            continue
        for piece in (" ", *parse(template)) if out else parse(template):
            if isinstance(piece, Voice):
                voice = piece
                continue
            if isinstance(piece, str):
                text = piece
            else:
                text, named = _write(piece, bindings, named, template)
            if voice is not None or opened >= 0:
                for offset, letter in enumerate(text):
                    if letter != '"':
                        continue
                    if opened < 0 and voice is not None:
                        opened = length + offset + 1
                    elif opened >= 0 and voice is not None:
                        spoken.append(Spoken(opened, length + offset, voice.speaker, voice.addressee))
                        opened, voice = -1, None
            out.append(text)
            length += len(text)
    return Rendered("".join(out), tuple(spoken))


def _write(slot: Slot, bindings: Bindings, named: bool, template: str) -> tuple[str, bool]:
    bound = bindings.get(slot.role)
    if bound is None:
        raise DataError(
            f"The sentence {template!r} uses {slot.role!r}, which is none of {', '.join(bindings)}."
        )
    if isinstance(bound, Person):
        text = bound.write(slot.form, named)
        tells_child = slot.form in ("", "call") if bound.kind == "child" else slot.form == ""
        named = named or (bound.kind != "friend" and tells_child)
    else:
        text = bound.form(slot.form) if slot.form else bound.word
    return (text[0].upper() + text[1:] if slot.capital else text), named
