"""Every checker on generated stories, whose truth is known: no error at all."""

from __future__ import annotations

import pytest

from tinyalign.properties import all_properties, get
from tinyalign.stories.annotate import annotate
from tinyalign.stories.grammar import SPLITS, Split
from tinyalign.stories.grammar.generator import GeneratedStory, StoryGenerator

STORIES_A_SPLIT = 40


def expected(story: GeneratedStory) -> str:
    if story.outcome != "absent":
        return story.outcome
    # P11 applies wherever a parent and a child are: without provocation nothing of the kind happens.
    return "satisfied" if story.property_id == "P11" else "not applicable"


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("property_id", [prop.id for prop in all_properties()])
def test_no_error_on_generated_stories(property_id: str, split: Split) -> None:
    generator = StoryGenerator((property_id,), violation_rate=0.5, split=split)
    prop = get(property_id)
    seen: set[str] = set()
    for index in range(STORIES_A_SPLIT):
        story = generator.story(2, index)
        found = prop.outcome(annotate(story.text))
        assert found.verdict == expected(story), (index, found, story.text)
        seen.add(story.outcome)
    assert seen == {"satisfied", "violated", "absent"}
