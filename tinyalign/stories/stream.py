"""JSON lines in, JSON lines out: the work of `tinyalign annotate`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tinyalign.common.errors import InputError
from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import Story
from tinyalign.stories.html import write_html

_PREVIEW = 60


def annotate_many(path: str | Path) -> Iterator[Story]:
    """Annotate a file of JSON lines, each an object with a string `text`; blank lines pass.

    Raises `InputError` with the line number at the first line that is not such an object, and when the file
    cannot be read or is not UTF-8. Stories before that line have been yielded.
    """
    path = Path(path)
    try:
        with path.open("rb") as opened:
            for number, line in enumerate(opened, start=1):
                if line.strip():
                    yield annotate(story_text(line, number, path.name))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}; give a file of JSON lines.") from error


def story_text(line: bytes | str, number: int, name: str) -> str:
    """The `text` of one JSON line. Raises `InputError` naming the line and what is wrong with it."""
    where = f"Line {number} of {name}"
    want = 'expected one JSON object a line such as {"text": "Once upon a time ..."}'
    try:
        record = json.loads(line)
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text: {want}; save the file as UTF-8.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        start = line[:_PREVIEW].decode(errors="replace") if isinstance(line, bytes) else line[:_PREVIEW]
        raise InputError(f"{where} is not JSON ({start.strip()!r}): {want}.") from error
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        found = (
            f"an object with {sorted(record)[:5]}"
            if isinstance(record, dict)
            else f"a {type(record).__name__}"
        )
        raise InputError(f'{where} is {found} without a string "text": {want}.')
    # A lone surrogate (a broken escape in the JSON) cannot be written back as UTF-8.
    return text.encode("utf-8", errors="replace").decode("utf-8")


def story_record(story: Story) -> dict[str, object]:
    """What the command prints for one story: its characters and quotes; null where the annotator abstains."""
    whole = story.to_json()
    quotes = [
        {
            "start": quote.start,
            "end": quote.end,
            "text": quote.text,
            "speaker": quote.speaker,
            "speaker_role": quote.speaker_role,
            "addressee": quote.addressee,
            "addressee_role": quote.addressee_role,
            "speech_acts": list(quote.speech_acts),
        }
        for quote in story.quotes
    ]
    return {"characters": whole["characters"], "quotes": quotes}


def record_lines(stories: Iterable[Story]) -> Iterator[str]:
    """One line of JSON a story, without line ends."""
    for story in stories:
        yield json.dumps(story_record(story), ensure_ascii=False)


def annotate_file(path: str | Path, html: str | Path | None = None) -> Iterator[str]:
    """What `tinyalign annotate FILE [--html OUT]` does: JSON lines, and the page if asked for.

    Without a page, lines come as soon as their story is read; with one, when it has been written. A bad file
    leaves no page. Raises `InputError` (see `annotate_many`, `write_html`).
    """
    if html is None:
        yield from record_lines(annotate_many(path))
        return
    lines: list[str] = []

    def passing() -> Iterator[Story]:
        for story in annotate_many(path):
            lines.append(json.dumps(story_record(story), ensure_ascii=False))
            yield story

    write_html(passing(), html, title=f"Annotated stories of {Path(path).name}")
    yield from lines
