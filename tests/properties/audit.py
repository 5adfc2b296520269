"""Precision and recall of the text checkers on the hand labels: `python -m tests.properties.audit`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from tinyalign.common.errors import DataError
from tinyalign.common.files import write_json
from tinyalign.common.resources import data_folder, shared_folder
from tinyalign.properties import get
from tinyalign.statistics.binomial import clopper_pearson
from tinyalign.stories.annotate import annotate

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


def main() -> None:
    stories = shared_folder("tinystories")
    if stories is None:
        raise DataError("The labelled stories are absent: see TINYALIGN_SHARED.")
    out = data_folder() / "measurements" / MEASURED
    write_json(
        out,
        {"command": "python -m tests.properties.audit", "interval": "Clopper-Pearson, 95%", **audit(stories)},
    )


if __name__ == "__main__":
    main()
