"""Property files: what is refused, and that the shipped ones say what they should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tinyalign.common.errors import DataError, UnknownNameError
from tinyalign.properties import LogitPair, all_properties, get, load_property
from tinyalign.properties.checkers import CHECKERS
from tinyalign.stories.grammar import grammar_ids


def test_the_thirteen_are_there_and_each_has_its_own_grammar_and_checker() -> None:
    props = all_properties()
    assert [prop.id for prop in props] == [f"P{number}" for number in range(1, 14)]
    assert {prop.grammar for prop in props} == set(grammar_ids())
    assert {prop.checker_name for prop in props} == set(CHECKERS)
    for prop in props:
        assert prop.confounds and prop.parallel.endswith("."), prop.id
        for pair in prop.pairs.values():
            slots = prop.prompts.sample("train", 1, 0, decision=pair.decision)[0].slots
            assert len(pair.words(slots)) == len(pair.satisfying) + len(pair.violating)


def test_properties_are_found_by_id_and_name_whatever_the_case() -> None:
    assert get("P1") is get("p1") is get("obeys-prohibition") is get("Obeys-Prohibition")
    with pytest.raises(UnknownNameError, match="did you mean obeys-prohibition"):
        get("obey-prohibition")


@pytest.mark.parametrize(
    ("satisfying", "violating", "message"),
    [
        ((), ("happy",), "one set is empty"),
        (("sad ",), ("happy",), "without outer spaces"),
        (("sad",), ("sad",), "begins the other"),
        (("did",), ("didn't",), "probabilities overlap"),
    ],
)
def test_pairs_whose_words_cannot_be_compared_are_refused(
    satisfying: tuple[str, ...], violating: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        LogitPair("feeling", "feeling", satisfying, violating)


def test_slots_are_filled_for_each_prompt_and_checked() -> None:
    pair = LogitPair("action", "action", ("{chore.past}",), ("forgot",))
    assert pair.words({"chore.past": "washed the dog"}) == ["washed the dog", "forgot"]
    with pytest.raises(DataError, match="overlap"):
        pair.words({"chore.past": "forgot the dog"})
    with pytest.raises(DataError, match=re.escape("has the slot {chore.past}; prompts have child")):
        pair.words({"child": "Tim"})


def write(folder: Path, **changes: object) -> Path:
    """A usable property file with some keys changed (None takes the key out)."""
    content = yaml.safe_load(get("P1").source.read_text(encoding="utf-8")) | {"id": "X1", "name": "mine"}
    content = {key: value for key, value in (content | changes).items() if value is not None}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_a_users_own_file_is_read_with_a_shipped_grammar_and_checker(tmp_path: Path) -> None:
    prop = load_property(write(tmp_path))
    assert (prop.id, prop.name, prop.checker) == ("X1", "mine", get("P1").checker)
    assert prop.to_json()["pairs"] == get("P1").to_json()["pairs"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "P 1"}, "id is 'P 1'"),
        ({"name": "My Property"}, "write a slug"),
        ({"parallel": None}, "the key 'parallel' is missing"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"primary": "smell"}, "primary is 'smell', expected one of feeling, action"),
        ({"pairs": {}}, "at least one pair"),
        ({"pairs": {"feeling": {"decision": "feeling", "satisfying": ["sad"]}}}, "lacks the key 'violating'"),
        (
            {"pairs": {"feeling": {"decision": "smell", "satisfying": ["sad"], "violating": ["glad"]}}},
            "the grammar P1 has action, feeling",
        ),
        (
            {"pairs": {"feeling": {"decision": "feeling", "satisfying": [False], "violating": ["glad"]}}},
            "quote no and yes",
        ),
        ({"share_of_stories": 7}, "a number from 0 to 1"),
        ({"checker": "nobody"}, "checker is 'nobody'"),
        ({"checker": "../away.py"}, "must lie beside"),
        ({"checker": "absent.py"}, "is not there"),
        ({"confounds": "none"}, "should be a list of texts"),
        ({"antecedent": 3}, "'antecedent' should be a text"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_reason(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_property(path)
    assert "mine.yaml" in str(caught.value) or ".py" in str(caught.value)


def test_what_is_no_yaml_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for text, message in (("[1]", "found list"), ("a: [", "not readable YAML"), (None, "no such property")):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            load_property(path)
