"""The annotator against the hand labels on real stories: the figures it must reach."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from measure_annotator import FINAL, LABELS, TUNED, tally

from tinyalign.common.resources import data_folder
from tinyalign.stories.annotation import ROLES, SPEECH_ACTS

counted = cache(tally)


@pytest.mark.slow
@pytest.mark.parametrize("sets", [FINAL, TUNED])
def test_speakers_reach_their_precision_and_coverage(shared_stories: Path, sets: tuple[str, ...]) -> None:
    total = counted(sets, shared_stories)
    assert total.quotes >= 200
    assert total.found == total.quotes
    assert total.speaker_right >= 0.95 * total.speaker_given
    assert total.speaker_given_where_one >= 0.75 * total.has_speaker
    assert total.addressee_right >= 0.85 * total.addressee_given


@pytest.mark.slow
@pytest.mark.parametrize("sets", [FINAL, TUNED])
@pytest.mark.parametrize("act", ["prohibition", "request", "apology"])
def test_speech_acts_reach_their_precision(shared_stories: Path, sets: tuple[str, ...], act: str) -> None:
    total = counted(sets, shared_stories)
    assert total.act_given[act] >= 5
    assert total.act_right[act] >= 0.9 * total.act_given[act]
    assert total.act_right[act] >= 0.8 * total.act_labelled[act]


@pytest.mark.slow
def test_the_committed_table_is_what_this_tree_gives(shared_stories: Path) -> None:
    table = json.loads((data_folder() / "measurements" / "annotator.json").read_text(encoding="utf-8"))
    committed = table["final_stories_never_tuned_on"]
    total = counted(FINAL, shared_stories)
    assert committed["speaker_role_precision"]["successes"] == total.speaker_right
    assert committed["speaker_role_precision"]["trials"] == total.speaker_given
    for act in SPEECH_ACTS:
        assert committed["speech_acts"][act]["precision"]["trials"] == total.act_given[act]


def test_labels_hold_no_text_and_only_known_words() -> None:
    names = {path.stem for path in LABELS.glob("*.json")}
    assert names == {*TUNED, *FINAL}
    stories = 0
    for name in sorted(names):
        for record in json.loads((LABELS / f"{name}.json").read_text(encoding="utf-8")):
            assert set(record) <= {"file", "line", "sha256", "quotes"}
            stories += 1
            for quote in record["quotes"]:
                assert set(quote) == {"start", "end", "speaker_role", "addressee_role", "speech_acts"}
                assert {quote["speaker_role"], quote["addressee_role"]} <= {*ROLES, None}
                assert set(quote["speech_acts"]) <= set(SPEECH_ACTS)
    assert stories >= 120
