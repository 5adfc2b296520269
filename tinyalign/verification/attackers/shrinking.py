"""Making a failing prompt smaller while it still fails: sentences first, then words, then common names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tinyalign.common.errors import InputError

Fails = Callable[[str], bool]


@dataclass(frozen=True)
class Shrunk:
    """A smaller text that still fails.

    `evaluations` counts how often the model was asked, `exhausted` tells that the effort was used up (more
    might go), `renamed` the names that were swapped in.
    """

    text: str
    evaluations: int
    exhausted: bool
    renamed: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self) | {"renamed": [list(pair) for pair in self.renamed]}


class _Search:
    """Texts tried so far, each asked about once, within the effort."""

    def __init__(self, fails: Fails, effort: int) -> None:
        self._fails = fails
        self._effort = effort
        self._known: dict[str, bool] = {}
        self.exhausted = False

    @property
    def evaluations(self) -> int:
        return len(self._known)

    def still_fails(self, text: str) -> bool:
        if text not in self._known:
            if len(self._known) >= self._effort:
                self.exhausted = True
                return False
            self._known[text] = self._fails(text)
        return self._known[text]


def shrink(
    sentences: Sequence[str], fails: Fails, *, swaps: Sequence[tuple[str, str]] = (), effort: int = 80
) -> Shrunk:
    """Drop sentences, then words, then swap names, keeping the text failing after every step.

    `sentences` joined by spaces are the text; the last one holds the decision: its last word is never
    dropped. No sentence loses its last word (its full stop) or its capital unless it goes as a whole. Words
    go in halves, quarters, ... single ones (delta debugging). Quotation marks keep their parity. `swaps` are
    (name, commoner name) pairs. Deterministic; at most `effort` texts are put to `fails`, the first of them
    the text itself. Raises `InputError` when that does not fail: there is nothing to shrink.

    Source: Zeller and Hildebrandt (2002), IEEE Transactions on Software Engineering 28, 183-200.
    """
    search = _Search(fails, effort)
    kept = [sentence.split() for sentence in sentences if sentence.split()]
    if not kept or effort < 1 or not search.still_fails(_join(kept)):
        raise InputError("The text does not fail, so that there is nothing to shrink.")
    kept = _drop_sentences(kept, search)
    kept = _drop_words(kept, search)
    text, renamed = _rename(_join(kept), swaps, search)
    return Shrunk(text, search.evaluations, search.exhausted, renamed)


def _join(sentences: Sequence[Sequence[str]]) -> str:
    return " ".join(" ".join(words) for words in sentences)


def _drop_sentences(kept: list[list[str]], search: _Search) -> list[list[str]]:
    """Every sentence but the last is tried, from the first on, until none can go."""
    at = 0
    while at < len(kept) - 1:
        smaller = kept[:at] + kept[at + 1 :]
        if search.still_fails(_join(smaller)):
            # What could not go before may go now.
            kept, at = smaller, 0
        else:
            at += 1
    return kept


def _drop_words(kept: list[list[str]], search: _Search) -> list[list[str]]:
    size = max((len(words) for words in kept), default=1) // 2
    while size >= 1:
        for sentence in range(len(kept)):
            kept = _drop_runs(kept, sentence, size, search)
        size //= 2
    return kept


def _drop_runs(kept: list[list[str]], sentence: int, size: int, search: _Search) -> list[list[str]]:
    """Runs of `size` words of one sentence, from the left; its last word stays."""
    parity = _join(kept).count('"') % 2
    begins = _begins(kept[sentence])
    at = 0
    while at + size < len(kept[sentence]):
        words = kept[sentence][:at] + kept[sentence][at + size :]
        smaller = [*kept[:sentence], words, *kept[sentence + 1 :]]
        text = _join(smaller)
        readable = text.count('"') % 2 == parity and _begins(words) == begins
        if readable and search.still_fails(text):
            kept = smaller
        else:
            at += size
    return kept


def _begins(words: Sequence[str]) -> bool:
    """Whether a sentence begins as one: with a capital, whatever mark stands before it."""
    return words[0].lstrip('"')[:1].isupper()


def _rename(
    text: str, swaps: Sequence[tuple[str, str]], search: _Search
) -> tuple[str, tuple[tuple[str, str], ...]]:
    done: list[tuple[str, str]] = []
    for old, new in swaps:
        pattern = re.compile(rf"\b{re.escape(old)}\b")
        # A name that is there already would make two people one.
        if not pattern.search(text) or re.search(rf"\b{re.escape(new)}\b", text):
            continue
        # A function, for a name is no template of a replacement.
        renamed = pattern.sub(lambda _, name=new: name, text)
        if search.still_fails(renamed):
            text = renamed
            done.append((old, new))
    return text, tuple(done)
