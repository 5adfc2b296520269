"""What every function of this room refuses, each refusal in one sentence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tinyalign.common.errors import InputError


def check_fraction(name: str, value: float) -> None:
    """Raise `InputError` unless `value` lies strictly between 0 and 1 (levels, alphas, powers, margins)."""
    if not 0.0 < value < 1.0:
        raise InputError(
            f"{name} must lie strictly between 0 and 1, but is {value}: give, say, 0.05 or 0.95."
        )


def check_positive(name: str, value: float) -> None:
    """Raise `InputError` unless `value` is a finite number above 0."""
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a finite number above 0, but is {value}.")


def check_count(name: str, value: int, least: int = 0) -> None:
    """Raise `InputError` unless the whole number `value` is at least `least`."""
    if value < least:
        raise InputError(f"{name} must be at least {least}, but is {value}.")


def check_successes(successes: int, trials: int) -> None:
    """Raise `InputError` unless there is a trial and 0 <= successes <= trials."""
    check_count("The number of trials", trials, 1)
    if not 0 <= successes <= trials:
        raise InputError(f"Successes must lie between 0 and the {trials} trials, but are {successes}.")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `InputError` unless `value` is one of `known`."""
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, but is {value!r}.")


def as_sample(name: str, values: ArrayLike, least: int = 1) -> np.ndarray:
    """`values` as a one-dimensional array of at least `least` finite float64.

    Raises `InputError` naming what was found otherwise.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{name} must be a flat list of numbers, but have shape {array.shape}.")
    if array.size < least:
        raise InputError(f"{name} must hold at least {least} number(s), but hold {array.size}.")
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{name} must be finite, but number {where} is {array[where]}.")
    return array


def as_bounded_sample(
    name: str, values: ArrayLike, lower_bound: float, upper_bound: float, least: int = 1
) -> np.ndarray:
    """`as_sample` of numbers inside [lower_bound, upper_bound]; raises `InputError` otherwise."""
    if not (np.isfinite(lower_bound) and np.isfinite(upper_bound) and lower_bound < upper_bound):
        raise InputError(f"The bounds must be finite and ordered, but are {lower_bound} and {upper_bound}.")
    array = as_sample(name, values, least)
    outside = np.flatnonzero((array < lower_bound) | (array > upper_bound))
    if outside.size:
        raise InputError(
            f"{name} must lie in [{lower_bound}, {upper_bound}], but number {int(outside[0])} is "
            f"{array[outside[0]]}: the bounds must hold for every possible value."
        )
    return array
