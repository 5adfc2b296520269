"""The verdict in plain text for a terminal: sentence, tree with signs, one line of numbers a leaf."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from tinyalign.report.marks import look
from tinyalign.report.markup import visible
from tinyalign.report.number_line import finding
from tinyalign.report.reading import Document, Node, read_verdict
from tinyalign.report.sections import tally
from tinyalign.report.tree_svg import combined


def sentence(verdict: Mapping[str, object]) -> str:
    """The verdict in one line: sign, word, sentence. Raises `InputError` as `summary` does."""
    return _sentence(read_verdict(verdict))


def summary(verdict: Mapping[str, object], width: int = 100) -> str:
    """The verdict, its argument tree and each leaf's numbers as lines of at most `width` characters.

    Control characters of any text are made visible, so that none can steer the terminal. Raises `InputError`
    where the mapping is no verdict of the known format.
    """
    document = read_verdict(verdict)
    against = document.against()
    lines = _wrapped(_headline(document, "") if against else _sentence(document), "", width)
    if against:
        lines += _wrapped(f"In the way: {', '.join(node.id for node in against)}.", "  ", width)
    lines += [*_wrapped(tally(document), "  ", width), ""]
    lines += _tree(document.tree, 0, width)
    return "\n".join(lines)


def _sentence(document: Document) -> str:
    return _headline(document, document.rest)


def _headline(document: Document, rest: str) -> str:
    status = look(document.verdict)
    return visible(f"{status.sign} {status.word.upper()}: {document.opening} {rest}".rstrip())


def _tree(node: Node, depth: int, width: int) -> list[str]:
    pad = "  " * depth
    kind = "" if node.kind in ("claim", "leaf") else f"{node.kind}: "
    words = combined(node)
    lines = _wrapped(f"{look(node.status).sign} {node.id} {kind}{node.text}", pad, width)
    notes = finding(node.result) if node.result else words
    if node.kind == "defeater" or (node.kind == "leaf" and node.result is None):
        notes = look(node.status).word
    if notes:
        lines += _wrapped(f"  {notes}", pad, width)
    for child in node.children:
        lines += _tree(child, depth + 1, width)
    return lines


def _wrapped(text: str, pad: str, width: int) -> list[str]:
    own = len(text) - len(text.lstrip())
    first = pad + " " * own
    flat = " ".join(visible(text).split())
    rest = first + ("  " if own == 0 else "")
    return textwrap.wrap(flat, max(width, len(rest) + 20), initial_indent=first, subsequent_indent=rest)
