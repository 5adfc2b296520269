"""Base rates: counted by hand on four small stories, and the committed table is of the shape it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinyalign.common.errors import InputError
from tinyalign.common.resources import data_folder
from tinyalign.properties import all_properties, get
from tinyalign.properties.base_rates import BaseRate, base_rates, main, read_texts
from tinyalign.statistics.binomial import clopper_pearson

NO = 'Mia wanted to climb the wall. Her dad said, "No, Mia. Do not climb it." '
TEXTS = [NO + "Mia listened.", NO + "But Mia did not listen.", NO + "The sun was hot.", "A bird sang."]


def test_counts_and_intervals() -> None:
    (row,) = base_rates(TEXTS, [get("P1")])
    assert row.counts == {"satisfied": 1, "violated": 1, "unknown": 1}
    assert row.antecedent == clopper_pearson(3, 4)
    assert row.outcomes["violated"] == clopper_pearson(1, 3)


def test_a_property_that_never_applies_has_no_outcome_rates() -> None:
    (row,) = base_rates(["A bird sang."], [get("P1")])
    assert row.antecedent.estimate == 0 and set(row.outcomes.values()) == {None}
    assert json.loads(json.dumps(row.to_json()))["outcomes"]["violated"] is None


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    stories, out = tmp_path / "stories.jsonl", tmp_path / "rates.json"
    stories.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    main(["--stories", str(stories), "--out", str(out)])
    table = json.loads(out.read_text(encoding="utf-8"))
    assert table["stories"]["count"] == 4
    assert [row["id"] for row in table["properties"]] == [prop.id for prop in all_properties()]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no story"):
        base_rates([], [get("P1")])
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "A."}\n{"words": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        list(read_texts(bad))
    with pytest.raises(InputError, match="Counts are given"):
        BaseRate("P1", "x", 1, {"satisfied": 2}, clopper_pearson(1, 1), {})


def test_the_committed_table_is_of_the_training_stories() -> None:
    table = json.loads((data_folder() / "measurements" / "base_rates.json").read_text(encoding="utf-8"))
    assert table["stories"]["count"] == 18160
    for row in table["properties"]:
        present = sum(row["counts"].values())
        assert row["antecedent"] == clopper_pearson(present, 18160).to_json()
