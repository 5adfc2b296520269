"""Reading a JSON mapping field by field, with an error that names the place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from tinyalign.common.errors import InputError


class Fields:
    """The fields of one mapping; `where` names it in errors ("verdict.tree.children[2]").

    Every reader raises `InputError` with the place, what was found and what was expected.
    """

    def __init__(self, where: str, values: object) -> None:
        self.where = where
        if not isinstance(values, Mapping):
            raise InputError(f"{where} is {_brief(values)}, but must be a mapping; {_ADVICE}")
        self._values = cast(Mapping[str, object], values)

    def error(self, key: str, found: object, expected: str) -> InputError:
        """The error for one field."""
        return InputError(f"{self.where}.{key} is {_brief(found)}, but must be {expected}; {_ADVICE}")

    def get(self, key: str) -> object:
        """The raw value, None where absent."""
        return self._values.get(key)

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.get(key) is not None

    def text(self, key: str) -> str:
        """A string that must be there."""
        value = self.get(key)
        if not isinstance(value, str):
            raise self.error(key, value, "text")
        return value

    def words(self, key: str) -> str:
        """A string, "" where absent or null."""
        return self.text(key) if self.has(key) else ""

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        """A string among `allowed`."""
        value = self.get(key)
        if not isinstance(value, str) or value not in allowed:
            raise self.error(key, value, " or ".join(repr(each) for each in allowed))
        return value

    def number(self, key: str) -> float | None:
        """A number (infinities allowed, not-a-number refused), None where absent or null."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise self.error(key, value, "a number")
        return float(value)

    def whole(self, key: str) -> int:
        """A whole number that must be there."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, value, "a whole number")
        return value

    def mapping(self, key: str, *, optional: bool = False) -> Mapping[str, object]:
        """A mapping; an empty one where absent or null and `optional`."""
        value = self.get(key)
        if value is None and optional:
            return {}
        if not isinstance(value, Mapping):
            raise self.error(key, value, "a mapping")
        return cast(Mapping[str, object], value)

    def below(self, key: str) -> Fields:
        """The fields of the mapping under `key`."""
        return Fields(f"{self.where}.{key}", self.mapping(key))

    def each(self, key: str) -> list[Fields]:
        """The mappings of a list, none where absent or null."""
        return [Fields(f"{self.where}.{key}[{at}]", value) for at, value in enumerate(self._list(key))]

    def texts(self, key: str) -> tuple[str, ...]:
        """The strings of a list, of which each may also be a mapping with a `text`."""
        found: list[str] = []
        for at, value in enumerate(self._list(key)):
            if isinstance(value, str):
                found.append(value)
            else:
                found.append(Fields(f"{self.where}.{key}[{at}]", value).text("text"))
        return tuple(found)

    def _list(self, key: str) -> Sequence[object]:
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise self.error(key, value, "a list")
        return value


_ADVICE = "write the verdict again with `tinyalign verify`."


def _brief(value: object) -> str:
    if value is None:
        return "missing"
    written = repr(value)
    return written if len(written) <= 60 else written[:57] + "..."
