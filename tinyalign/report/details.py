"""What of a leaf's details is drawn: histograms and bars by their keys, and lists of single values."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import cast

from tinyalign.report.figures import bars, histogram
from tinyalign.report.markup import Html

_KINDS = ("histogram", "bars")
# A shorter list of numbers is told, not drawn.
_FEWEST = 20
_BINS = 24


def figure_keys(details: Mapping[str, object]) -> list[str]:
    """The keys of `details` that `details_figures` draws."""
    return [key for key, value in details.items() if _kind(key) in _KINDS or _is_sample(value)]


def details_figures(details: Mapping[str, object], unit: str, where: str) -> list[tuple[str, Html]]:
    """Caption and figure for every drawing that `details` asks for, in its order.

    A key "histogram" or "bars", or one that ends in "_histogram" or "_bars", holds the numbers (see
    `tinyalign.report.figures`), with a "title" and a "unit" beside them if it likes; bars may stand in
    "values" there. A list of twenty or more numbers is drawn as a histogram (in nats where its name says so,
    else in `unit`), one above the other with the list of the same name and "_before", if there is one.
    Raises `InputError` for numbers of another form.
    """
    found: list[tuple[str, Html]] = []
    for key, value in details.items():
        place = f"{where}.{key}"
        if _is_sample(value):
            if not (key.endswith("_before") and key.removesuffix("_before") in details):
                own = "nats" if "nats" in key.split("_") else unit
                found.append((_words(key), _samples(details, key, own, place)))
        elif _kind(key) in _KINDS:
            found.append(_named(key, value, place))
    return found


def _kind(key: str) -> str:
    return key.rsplit("_", 1)[-1]


def _words(key: str) -> str:
    words = key.strip("_").replace("_", " ")
    words = f"{words.removesuffix(' nats')}, nats" if words.endswith(" nats") else words
    return words[:1].upper() + words[1:]


def _is_sample(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) >= _FEWEST
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
    )


def _named(key: str, value: object, place: str) -> tuple[str, Html]:
    own = cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}
    unit, title = own.get("unit"), own.get("title")
    unit = unit if isinstance(unit, str) else ""
    title = title if isinstance(title, str) else ""
    stem = _words(key.removesuffix(_kind(key)))
    if _kind(key) == "histogram":
        return title or stem or "Distribution over prompts", histogram(value, unit, place)
    values = own["values"] if isinstance(own.get("values"), Mapping) else value
    return title or stem or "Values", bars(values, unit, place)


def _samples(details: Mapping[str, object], key: str, unit: str, place: str) -> Html:
    """Single values counted into the bins of a drawing, before and after on one axis."""
    before = details.get(f"{key}_before")
    series = {"before": cast(Sequence[float], before)} if _is_sample(before) else {}
    series["after" if series else "all samples"] = cast(Sequence[float], details[key])
    low = min(min(values) for values in series.values())
    high = max(max(values) for values in series.values())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = [low + (high - low) * at / _BINS for at in range(_BINS + 1)]
    counts: dict[str, list[int]] = {}
    for name, values in series.items():
        row = [0] * _BINS
        for value in values:
            row[min(_BINS - 1, max(0, bisect_right(edges, value) - 1))] += 1
        counts[name] = row
    return histogram({"edges": edges, "counts": counts}, unit, place)
