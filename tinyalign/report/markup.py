"""Markup that is escaped by construction: text from models and files can only enter it as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape

# Line breaks and tabs are layout; the two joiners belong to the spelling of some scripts and of emoji.
_KEPT = "\n\t\u200c\u200d"
_VOID = frozenset({"meta", "br", "hr"})


class Html(str):
    """Markup that may enter the page as it is. Only `tag`, `fragment` and `text` make it."""

    __slots__ = ()


def visible(text: str) -> str:
    """`text` with every character that would hide, reorder or break it written out.

    Control characters become their pictures (the escape character becomes a visible sign), text-direction
    overrides and other invisible ones their code point, as "[U+202E]", lone surrogates the replacement sign.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _sign(one) for one in text.replace("\r\n", "\n"))


def _sign(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"[U+{code:04X}]"


def text(value: object) -> Html:
    """Any value as escaped, visible text (safe in an attribute too); `Html` passes as it is."""
    return value if isinstance(value, Html) else Html(escape(visible(str(value)), quote=True))


def fragment(*children: object, between: str = "") -> Html:
    """The children one after the other, those that are not markup escaped; None is left out."""
    return Html(str(text(between)).join(text(child) for child in children if child is not None))


def each(children: Iterable[object]) -> Html:
    """`fragment` of an iterable."""
    return fragment(*children)


def tag(name: str, /, *children: object, **attributes: str | float | bool | None) -> Html:
    """The element `name` with escaped children and attributes.

    Attribute names lose a trailing underscore (`class_`) and have the others turned into dashes
    (`aria_label`); floats are written with two decimals, True as a bare attribute, None and False not at all.
    """
    opening = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        opening += f" {key.rstrip('_').replace('_', '-')}"
        if value is not True:
            written = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
            opening += f'="{text(written)}"'
    if name in _VOID:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{fragment(*children)}</{name}>")
