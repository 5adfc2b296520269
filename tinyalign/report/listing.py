"""Mappings as lists of facts: identities, settings, and the numbers of a leaf that no figure shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tinyalign.report.markup import Html, fragment, tag
from tinyalign.report.numbers import number

_ITEMS, _RECORDS, _ROWS, _CHARACTERS = 12, 3, 80, 300
_HASH_LENGTHS = (40, 64)


def facts(rows: Sequence[tuple[str, object]]) -> Html:
    """A list of names and values; rows whose value is None or empty are left out."""
    kept = [(name, value) for name, value in rows if value is not None and value != ""]
    return tag("dl", *(fragment(tag("dt", name), tag("dd", value)) for name, value in kept), class_="facts")


def short_hash(value: object) -> Html:
    """The first 12 digits of a hash, the rest in its title."""
    written = str(value)
    return tag("code", written[:12], class_="hash", title=written) if written else fragment()


def full_hash(value: object) -> Html:
    """A whole hash in a fixed-width font, which may be broken anywhere."""
    return tag("code", str(value), class_="hash")


def shown(value: object) -> object:
    """One JSON value in a few words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return "not a number" if math.isnan(value) else number(float(value), digits=4)
    if isinstance(value, str):
        if len(value) in _HASH_LENGTHS and all(digit in "0123456789abcdef" for digit in value):
            return short_hash(value)
        return value if len(value) <= _CHARACTERS else f"{value[:_CHARACTERS]}… ({len(value):,} characters)"
    if isinstance(value, Sequence) and len(value) > _RECORDS and isinstance(value[0], Mapping):
        return f"{len(value):,} entries, in verdict.json"
    if isinstance(value, Sequence):
        items = fragment(*(shown(one) for one in value[:_ITEMS]), between=", ")
        return items if len(value) <= _ITEMS else fragment(items, f", … ({len(value):,} in all)")
    if isinstance(value, Mapping):
        pairs = [fragment(f"{_name(key)}: ", shown(one)) for key, one in list(value.items())[:_ITEMS]]
        return fragment(*pairs, between="; ")
    return str(value)


def table(values: Mapping[str, object]) -> Html:
    """Every value of a nested mapping with its path as the name; says how many rows are left out."""
    rows = list(_flat(values, ""))
    more = (
        tag("p", f"{len(rows) - _ROWS:,} more in verdict.json.", class_="muted")
        if len(rows) > _ROWS
        else None
    )
    return fragment(facts(rows[:_ROWS]), more)


def _flat(values: Mapping[str, object], path: str) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = f"{path}{_name(key)}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name} · ")
        elif value is not None:
            yield name, shown(value)


def _name(key: object) -> str:
    return str(key).replace("_", " ")
