"""Where stories come from: the shared folder, else the hub, else the project's own grammar; always said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tinyalign.common.errors import InputError
from tinyalign.common.resources import shared_folder
from tinyalign.stories.grammar import StoryGenerator, mixture
from tinyalign.training.recipe import Data, Generated

HUB_DATASET = "roneneldan/TinyStories"
# The whole dataset has 2.1 million stories; these are enough for the small models that train on a CPU.
_HUB_STORIES = 20_000
_FALLBACK_STORIES = 4_000
_NEWLINES = re.compile(r"[ \t]*(\r\n|\r|\n)[\s]*")


@dataclass(frozen=True)
class Corpus:
    """Stories, newlines folded, with where each part came from in words and how many there are."""

    texts: tuple[str, ...]
    parts: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, Any]:
        """The parts; the texts themselves are left out."""
        return {"stories": len(self.texts), "parts": [{"from": said, "stories": n} for said, n in self.parts]}


def fold_newlines(text: str) -> str:
    """`text` with each run of newlines (and blanks around it) made one newline, ends stripped.

    Copies of TinyStories part paragraphs by one newline or by two; every model is trained and measured on
    the folded text, so that bits per character compare.
    """
    return _NEWLINES.sub("\n", text).strip()


def read_stories(path: str | Path) -> list[str]:
    """Stories of a file: JSON lines with `text`, or plain text with a blank line between stories.

    Raises `InputError` when the file is absent, unreadable, or holds no story.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read stories from {path}: {error}.") from error
    if path.suffix == ".jsonl":
        texts = [
            _text(line, number, path) for number, line in enumerate(content.splitlines(), 1) if line.strip()
        ]
    else:
        texts = re.split(r"\n\s*\n", content)
    folded = [text for text in map(fold_newlines, texts) if text]
    if not folded:
        raise InputError(
            f"{path} holds no story: expected JSON lines with `text`, or text parted by blank lines."
        )
    return folded


def _text(line: str, number: int, path: Path) -> str:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path.name}, line {number} is not JSON: {error}.") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError(f"{path.name}, line {number} has no `text`: expected an object with that string.")
    return record["text"]


def gather(data: Data) -> Corpus:
    """All real and generated stories of a recipe, in a fixed order."""
    texts: list[str] = []
    parts: list[tuple[str, int]] = []
    for source in data.sources:
        found, said = _source(source, data.stories)
        texts += found
        parts.append((said, len(found)))
    for entry in data.generated:
        made = list(_generate(entry))
        texts += made
        about = ", ".join(entry.properties) or "all properties"
        parts.append(
            (f"story grammar ({about}; violated {entry.violation_rate:g} of the occasions)", len(made))
        )
    return Corpus(tuple(texts), tuple(parts))


def validation_stories() -> list[str]:
    """Held-out stories: `valid.jsonl` of the shared folder, else 300 of the grammar's own held-out split."""
    folder = shared_folder("tinystories")
    if folder is not None:
        return read_stories(folder / "valid.jsonl")
    return [fold_newlines(text) for text in mixture(0, 300, split="test")]


def _source(name: str, cap: int) -> tuple[list[str], str]:
    if name not in ("tinystories", "kin"):
        return _capped(read_stories(name), cap), f"file {Path(name).name}"
    folder = shared_folder("tinystories")
    if folder is not None:
        file = "train" if name == "tinystories" else "kin"
        return _capped(
            read_stories(folder / f"{file}.jsonl"), cap
        ), f"{name}, the shared folder's {file}.jsonl"
    if name == "kin":
        raise InputError("The source `kin` is only in the shared folder, which is absent: leave it out.")
    found = _from_hub(cap or _HUB_STORIES)
    if isinstance(found, list):
        return found, f"{HUB_DATASET} from the hub, streamed, the first {len(found)} stories"
    made = [fold_newlines(text) for text in mixture(0, cap or _FALLBACK_STORIES)]
    return made, f"the story grammar, because TinyStories is neither beside the project nor fetched ({found})"


def _capped(texts: list[str], cap: int) -> list[str]:
    return texts[:cap] if cap else texts


def _from_hub(n: int) -> list[str] | str:
    """The first stories of the dataset, or why they could not be had."""
    try:
        from datasets import load_dataset
    except ImportError:
        return "install the extra `train` to stream it"
    try:
        stream = load_dataset(HUB_DATASET, split="train", streaming=True)
        return [fold_newlines(str(record["text"])) for record in islice(stream, n)]
    except (OSError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"


def _generate(entry: Generated) -> Iterator[str]:
    generator = StoryGenerator(entry.properties, entry.violation_rate, entry.absent_rate)
    return (fold_newlines(story.text) for story in generator.stories(0, entry.stories))


@dataclass(frozen=True)
class CorpusCounts:
    """How much a tokenized corpus holds, for cards: `generated_share` is of tokens."""

    stories: int
    tokens: int
    characters: int
    generated_share: float

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)
