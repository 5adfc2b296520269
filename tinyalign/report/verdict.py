"""`write_report`: a verdict as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinyalign.common.files import write_text
from tinyalign.report.page import page
from tinyalign.report.reading import read_verdict
from tinyalign.report.stories import Room

MOST_BYTES = 2_000_000
# The first that fits is taken; what is left out is said on the page, and stays in verdict.json.
_ROOMS = (Room(16, 8, 6_000), Room(8, 3, 1_500), Room(4, 1, 400))


def write_report(verdict: Mapping[str, object], path: Path) -> Path:
    """Write the report on `verdict` (the mapping of a verdict.json) to `path`, and return `path`.

    The file loads nothing and runs no script; all text is escaped. It is written whole or not at all.
    Raises `InputError` where the mapping is of another format or a field of another kind, and where the
    file cannot be written.
    """
    write_text(path, render(verdict))
    return path


def render(verdict: Mapping[str, object]) -> str:
    """The report as a string: below `MOST_BYTES` by showing fewer and shorter texts where it must be."""
    document = read_verdict(verdict)
    html = ""
    for room in _ROOMS:
        html = page(document, room)
        if len(html.encode()) < MOST_BYTES:
            break
    return html
