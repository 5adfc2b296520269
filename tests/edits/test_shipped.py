"""The edit and the verdict of the demo: the artifact still gives the model that the verdict is about."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.edits.models import embedded
from tinyalign import properties
from tinyalign.common.resources import data_folder
from tinyalign.edits import load_edit
from tinyalign.properties.contrast import preferences
from tinyalign.verification.verdict import Verdict, verdict_hash


@pytest.mark.slow
def test_the_shipped_edit_makes_the_child_obedient_on_development_prompts() -> None:
    edit = load_edit(data_folder() / "edits" / "p1-reply")
    base = embedded()
    edited = edit.apply(base)
    assert edit.trits_flipped <= 500
    prop = properties.get(edit.property_id)
    pair = prop.pairs[edit.pair]
    prompts = prop.prompts.sample("development", 60, 3, decision=pair.decision)
    before, _ = preferences(base, pair, prompts, ("clean", "neutral"))
    after, _ = preferences(edited, pair, prompts, ("clean", "neutral"))
    assert (before["clean"] > 0).mean() < 0.8 <= 0.95 <= (after["clean"] > 0).mean()
    assert abs(np.mean(after["neutral"] - before["neutral"])) < 0.7


def test_the_shipped_verdict_is_whole_and_about_that_edit() -> None:
    content = json.loads((data_folder() / "measurements" / "demo_verdict.json").read_text(encoding="utf-8"))
    verdict = Verdict(content, data_folder())
    edit = load_edit(data_folder() / "edits" / "p1-reply")
    assert verdict_hash(content) == verdict.hash
    assert content["edited"]["sha256"] == edit.edited_sha256
    assert verdict.results["1.1-rate"]["status"] == "established"
    assert (verdict.status, verdict.results["3.2-vocabulary"]["status"]) == ("defeated", "defeated")
