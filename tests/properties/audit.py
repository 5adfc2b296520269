"""The text checkers against hand labels, and against generated stories whose truth is known.

`python -m tests.properties.audit` measures precision and recall on the labels (data/measurements/
checker_labels.json); with `--generated N`, errors on N generated stories a property (checker_generated.json).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from tinyalign.common.errors import DataError
from tinyalign.common.files import write_json
from tinyalign.common.resources import data_folder, shared_folder
from tinyalign.properties import all_properties, get
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.stories.annotating import annotate
from tinyalign.stories.grammar import SPLITS
from tinyalign.stories.grammar.generator import GeneratedStory, StoryGenerator

LABELS = Path(__file__).parent / "labels" / "outcomes.json"
MEASURED = "checker_labels.json"


def labels() -> list[dict[str, Any]]:
    """The hand labels as committed."""
    return json.loads(LABELS.read_text(encoding="utf-8"))


def texts_of(stories: Path, records: list[dict[str, Any]]) -> list[str]:
    """The labelled texts; raises `DataError` where the line is not the text that was labelled."""
    files = {
        name: (stories / name).read_text(encoding="utf-8").splitlines()
        for name in ("valid.jsonl", "train.jsonl")
    }
    found: list[str] = []
    for record in records:
        text = json.loads(files[record["file"]][record["line"] - 1])["text"]
        if not hashlib.sha256(text.encode()).hexdigest().startswith(record["sha256"]):
            raise DataError(f"{record['file']}, line {record['line']}: not the text that was labelled.")
        found.append(text)
    return found


def audit(stories: Path) -> dict[str, Any]:
    """Per half and property, and over all five: precision and recall of "violated" and of "satisfied"."""
    records = labels()
    tallies: dict[str, dict[str, Counter[tuple[str, str]]]] = {}
    for record, text in zip(records, texts_of(stories, records), strict=True):
        said = get(record["property"]).outcome(annotate(text)).verdict
        half = tallies.setdefault(record["half"], {})
        for key in (record["property"], "all"):
            half.setdefault(key, Counter())[record["label"], said] += 1
    return {
        half: {
            key: {verdict: _figures(tally, verdict) for verdict in ("violated", "satisfied")}
            | {"labels": tally.total()}
            for key, tally in sorted(by_key.items())
        }
        for half, by_key in sorted(tallies.items())
    }


def _figures(tally: Counter[tuple[str, str]], verdict: str) -> dict[str, Any]:
    right = tally[verdict, verdict]
    called = sum(count for (_, said), count in tally.items() if said == verdict)
    labelled = sum(count for (label, _), count in tally.items() if label == verdict)
    return {
        "right": right,
        "called": called,
        "labelled": labelled,
        "precision": clopper_pearson(right, called).to_json() if called else None,
        "recall": clopper_pearson(right, labelled).to_json() if labelled else None,
    }


def expected(story: GeneratedStory) -> str:
    """What a checker should say of a generated story about its own property."""
    if story.outcome != "absent":
        return story.outcome
    # P11 applies wherever a parent and a child are: without provocation nothing of the kind happens.
    return "satisfied" if story.property_id == "P11" else "not applicable"


def count_errors(property_id: str, stories: int, seed: int) -> tuple[int, int]:
    """(stories read, wrong verdicts), the stories spread evenly over the three splits."""
    wrong = read = 0
    for split in SPLITS:
        generator = StoryGenerator((property_id,), violation_rate=0.5, split=split)
        for index in range(-(-stories // len(SPLITS))):
            story = generator.story(seed, index)
            wrong += get(property_id).outcome(annotate(story.text)).verdict != expected(story)
            read += 1
    return read, wrong


def main() -> None:
    """Write one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generated", type=int, default=0, metavar="N")
    options = parser.parse_args()
    folder = data_folder() / "measurements"
    if options.generated:
        rows = []
        for prop in all_properties():
            read, wrong = count_errors(prop.id, options.generated, seed=11)
            interval = clopper_pearson(wrong, read)
            rows.append({"id": prop.id, "stories": read, "errors": wrong, "error_rate": interval.to_json()})
        command = f"python -m tests.properties.audit --generated {options.generated}"
        write_json(folder / "checker_generated.json", {"command": command, "properties": rows})
        return
    stories = shared_folder("tinystories")
    if stories is None:
        raise DataError("The labelled stories are absent: see TINYALIGN_SHARED.")
    command = "python -m tests.properties.audit"
    write_json(folder / MEASURED, {"command": command, "interval": "Clopper-Pearson, 95%", **audit(stories)})


if __name__ == "__main__":
    main()
