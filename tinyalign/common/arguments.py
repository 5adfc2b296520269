"""Checks of what users give: whole numbers, numbers, texts; one sentence where it is something else."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

from tinyalign.common.errors import InputError


def whole(name: str, value: Any) -> int:
    """`value` as an int (numpy's integers too); raises `InputError` for what is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}: expected a whole number.") from None


def real(name: str, value: Any) -> float:
    """`value` as a float; raises `InputError` for what is no number."""
    if not isinstance(value, Real):
        raise InputError(f"{name} is {value!r}: expected a number.")
    return float(value)


def strings(name: str, values: Any) -> tuple[str, ...]:
    """`values` as a tuple of strings; raises `InputError` for a single string and for what is none."""
    if isinstance(values, str):
        raise InputError(f"{name} is the string {values!r}: expected a list of strings.")
    try:
        found = tuple(values)
    except TypeError:
        raise InputError(f"{name} is {values!r}: expected a list of strings.") from None
    for value in found:
        if not isinstance(value, str):
            raise InputError(f"{name} holds {value!r}: expected strings.")
    return found


def check_characters(text: str) -> None:
    """Raises `InputError` for half a character: a lone surrogate, as bytes that are no UTF-8 leave."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text {text[:40]!a} holds no whole character at place {error.start}: give it as UTF-8."
        ) from None
