"""Every checker on generated stories, whose truth is known: no error at all."""

from __future__ import annotations

import json

import pytest

from tests.properties.audit import count_errors, expected
from tinyalign.common.resources import data_folder
from tinyalign.properties import all_properties
from tinyalign.stories.grammar.generator import StoryGenerator

IDS = [prop.id for prop in all_properties()]


@pytest.mark.slow
@pytest.mark.parametrize("property_id", IDS)
def test_no_error_on_generated_stories(property_id: str) -> None:
    assert count_errors(property_id, stories=90, seed=2) == (90, 0)


@pytest.mark.parametrize("property_id", IDS)
def test_the_generator_tells_all_three_courses(property_id: str) -> None:
    generator = StoryGenerator((property_id,), violation_rate=0.5)
    stories = [generator.story(2, index) for index in range(30)]
    assert {story.outcome for story in stories} == {"satisfied", "violated", "absent"}
    assert len({expected(story) for story in stories}) >= 2


def test_the_committed_count_is_of_ten_thousand_stories_a_property() -> None:
    measured = json.loads(
        (data_folder() / "measurements" / "checker_generated.json").read_text(encoding="utf-8")
    )
    assert [row["id"] for row in measured["properties"]] == IDS
    assert all(row["stories"] >= 10_000 for row in measured["properties"])
