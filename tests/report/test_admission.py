"""The figures show exactly the numbers of the tables they are given."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinyalign.properties import get
from tinyalign.properties.admission import AdmissionRow, AdmissionTable
from tinyalign.properties.base_rates import base_rates
from tinyalign.properties.contrast import SIDES, Contrast
from tinyalign.report.admission import base_rates_figure, figure
from tinyalign.statistics.betting import betting_interval
from tinyalign.statistics.binomial import clopper_pearson


def contrast(property_id: str, nats: float) -> Contrast:
    values = tuple([nats] * 500)
    mean = betting_interval(np.array(values), -10.0, 10.0)
    return Contrast(
        property_id=property_id,
        property_name=get(property_id).name,
        pair="feeling",
        model="m",
        model_sha256="0",
        grammar_sha256="0",
        split="test",
        seed=0,
        mean=mean,
        clipped=0,
        sign=clopper_pearson(500, 500),
        role_swap=mean,
        role_gap=mean,
        preference=dict.fromkeys(SIDES, 0.0),
        merged=0,
        per_prompt=values,
        per_prompt_role_swap=values,
    )


def test_admission_figure() -> None:
    rows = tuple(AdmissionRow(contrast(key, nats), ()) for key, nats in (("P1", 1.5), ("P2", 0.1)))
    chart = json.loads(str(figure(AdmissionTable("m", "0", rows)).to_json()))
    swap, plain = chart["data"]
    assert plain["y"] == ["P2 follows-instruction", "P1 obeys-prohibition"]
    assert plain["x"] == pytest.approx([0.1, 1.5]) and swap["x"] == pytest.approx([0.1, 1.5])
    assert len(set(plain["marker"]["color"])) == 2
    assert "1 of 2" in chart["layout"]["title"]["text"]


def test_base_rates_figure() -> None:
    texts = ['Mia ran. Her dad said, "No, Mia. Do not run." Mia listened.', "A bird sang."]
    chart = json.loads(str(base_rates_figure(base_rates(texts, [get("P1"), get("P13")])).to_json()))
    by_name = {bar["name"]: bar for bar in chart["data"]}
    assert by_name["satisfied"]["x"] == [0.0, 0.5]
    assert by_name["violated"]["x"] == [0.0, 0.0]
