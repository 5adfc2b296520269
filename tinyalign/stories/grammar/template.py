"""Sentences with slots, and writing them out for a cast of people and a choice of words.

A slot is `{role}` or `{role.form}`; a capital (`{Role}`, `{Role.His}`) capitalises what is written.
A person writes the name, and a parent "her mom" once the child has been named and "Lily's mom" before
that; further forms of people are `call` (as addressed: Lily, Mom), `he`, `him`, `his`, `himself` and `kid`
(girl, boy). A pronoun of somebody not mentioned yet is written as the mention.
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
        """A form of this person; a bare parent is "her mom", or "Lily's mom" before the child is named."""
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
            form = form or ""
            capital = role[0].isupper() or form[:1].isupper()
            pieces.append(Slot(role[0].lower() + role[1:], form[:1].lower() + form[1:], capital))
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


class Writer:
    """Text as it grows: who is in it (`roles`), who has been named so far, and where the quotes are."""

    def __init__(self, bindings: Bindings) -> None:
        self.bindings = bindings
        self.spoken: list[Spoken] = []
        self.roles: set[str] = set()
        self._texts: list[str] = []
        self._length = 0
        self._child_named = False
        self._mentioned: set[int] = set()
        self._voice: Voice | None = None
        self._opened: int | None = None

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self._texts)

    def write(self, template: str, joint: str = " ") -> tuple[int, int]:
        """Write a sentence after `joint` (left out at the start); gives the sentence's offsets.

        Raises `DataError` for a role that is bound to nobody.
        """
        if self._length:
            self._add(joint)
        start = self._length
        for piece in parse(template):
            if isinstance(piece, Voice):
                self._voice = piece
            else:
                self._add(piece if isinstance(piece, str) else self._slot(piece, template))
        return start, self._length

    def _add(self, text: str) -> None:
        if self._voice is not None:
            self._quotes(text, self._voice)
        self._texts.append(text)
        self._length += len(text)

    def _quotes(self, text: str, voice: Voice) -> None:
        for offset, letter in enumerate(text):
            if letter != '"':
                continue
            if self._opened is None:
                self._opened = self._length + offset + 1
            else:
                self.spoken.append(
                    Spoken(self._opened, self._length + offset, voice.speaker, voice.addressee)
                )
                self._opened, self._voice = None, None
                return

    def _slot(self, slot: Slot, template: str) -> str:
        self.roles.add(slot.role)
        bound = self.bindings.get(slot.role)
        if bound is None:
            known = ", ".join(self.bindings)
            raise DataError(f"The sentence {template!r} uses {slot.role!r}, which is none of {known}.")
        text = self._person(bound, slot.form) if isinstance(bound, Person) else self._word(bound, slot.form)
        return text[0].upper() + text[1:] if slot.capital else text

    @staticmethod
    def _word(entry: Entry, form: str) -> str:
        return entry.form(form) if form else entry.word

    def _person(self, person: Person, form: str) -> str:
        # A pronoun needs somebody it can stand for: before the first mention the mention itself is written.
        if form in ("he", "him", "his") and id(person.entry) not in self._mentioned:
            mention = self._person(person, "")
            return f"{mention}'s" if form == "his" else mention
        text = person.write(form, self._child_named)
        if form in ("", "kid"):
            self._mentioned.add(id(person.entry))
            if person.child is not None:
                self._mentioned.add(id(person.child))
        if person.kind != "friend" and (form == "" or (form == "call" and person.kind == "child")):
            self._child_named = True
        return text


def render(templates: Sequence[str], bindings: Bindings) -> Rendered:
    """Write `templates`, joined by single spaces (empty ones left out), for these bindings.

    Raises `DataError` for a role that is bound to nobody.
    """
    writer = Writer(bindings)
    for template in templates:
        if template:
            writer.write(template)
    return Rendered(writer.text, tuple(writer.spoken))
