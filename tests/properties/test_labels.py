"""The checkers on hand-labelled real stories: the committed figures are what the code gives today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.properties.audit import MEASURED, audit, labels, texts_of
from tinyalign.common.resources import data_folder


def test_labels_are_offsets_not_text() -> None:
    records = labels()
    assert len(records) >= 200
    assert {record["property"] for record in records} == {"P1", "P3", "P5", "P6", "P13"}
    for record in records:
        assert set(record) == {"file", "line", "sha256", "property", "label", "decided", "chosen", "half"}
        assert (record["decided"] is not None) == (record["label"] in ("satisfied", "violated"))


def test_offsets_lie_in_the_texts_that_were_labelled(shared_stories: Path) -> None:
    records = labels()
    for record, text in zip(records, texts_of(shared_stories, records), strict=True):
        if record["decided"] is not None:
            start, end = record["decided"]
            assert 0 <= start < end <= len(text) and text[start:end].strip()


@pytest.mark.slow
def test_the_checkers_keep_their_precision(shared_stories: Path) -> None:
    committed = json.loads((data_folder() / "measurements" / MEASURED).read_text(encoding="utf-8"))
    found = audit(shared_stories)
    for half, figures in found.items():
        for verdict in ("violated", "satisfied"):
            now, then = (
                table["all"][verdict]["precision"]["estimate"] for table in (figures, committed[half])
            )
            assert abs(now - then) <= 0.05, (half, verdict, "measure again: python -m tests.properties.audit")
        assert figures["P1"]["violated"]["precision"]["estimate"] >= 0.75
        assert figures["all"]["satisfied"]["precision"]["estimate"] >= 0.8
        assert figures["all"]["violated"]["precision"]["estimate"] >= 0.6
