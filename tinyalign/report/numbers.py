"""Numbers as people read them: rounded, with as many digits as it takes to tell them apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MINUS = "\N{MINUS SIGN}"
_SHARES = frozenset({"share", "rate", "probability", "fraction", "proportion"})
_MOST_DIGITS = 7


def is_share(unit: str) -> bool:
    """Whether values of `unit` ("share of prompts", "rise of the rate", ...) are shown as percentages."""
    return not _SHARES.isdisjoint(unit.split())


def unit_words(unit: str) -> str:
    """What follows a shown number: " nats", " of prompts" (for "share of prompts"), or nothing."""
    first, _, rest = unit.partition(" ")
    words = rest if first in _SHARES else unit
    return f" {words}" if words else ""


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """`value` at `digits` significant digits (whole numbers in full), as a percentage for shares."""
    if value is None:
        return "?"
    if value == 0.0:
        return "0%" if is_share(unit) else "0"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    written = _percent(value, digits) if is_share(unit) else _plain(value, digits)
    return written.replace("-", _MINUS)


def together(values: Sequence[float | None], unit: str = "") -> list[str]:
    """The values with as many decimals, the same for all, as it takes to tell different ones apart.

    A value that is not zero does not look like zero either, within reason (seven digits of the largest).
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    different = len(set(finite))
    largest = max((abs(value) for value in finite), default=0.0)
    shown: list[str] = []
    for digits in range(3, _MOST_DIGITS + 1):
        shown = [_among(value, unit, digits, largest) for value in values]
        looks = {look for look, value in zip(shown, values, strict=True) if value in finite}
        vanished = any(look == "0" and value for look, value in zip(shown, values, strict=True))
        if len(looks) >= different and not vanished:
            break
    return shown


def _among(value: float | None, unit: str, digits: int, largest: float) -> str:
    if is_share(unit) or value is None or not math.isfinite(value) or not 1e-4 <= largest < 1e15:
        return number(value, unit, digits)
    decimals = max(0, digits - 1 - math.floor(math.log10(largest)))
    written = _trimmed(f"{value:,.{decimals}f}")
    return "0" if float(written.replace(",", "")) == 0 else written.replace("-", _MINUS)


def _percent(value: float, digits: int) -> str:
    for decimals in range(digits - 2, _MOST_DIGITS):
        written = f"{value * 100:.{decimals}f}"
        # 99.97% is not 100%, and 0.02% is not 0%.
        if float(written) not in (0.0, 100.0) or value in (0.0, 1.0):
            return f"{_trimmed(written)}%"
    return f"{value * 100:.2g}%"


def _plain(value: float, digits: int) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size >= 15:
        return f"{value:.{digits - 1}e}"
    return _trimmed(f"{value:,.{max(0, digits - 1 - size)}f}")


def _trimmed(written: str) -> str:
    return written.rstrip("0").rstrip(".") if "." in written else written
