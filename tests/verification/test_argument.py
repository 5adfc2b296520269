"""Templates: the shipped ones fit every property; each mistake in one is a sentence that names it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyalign.common.errors import DataError, UnknownNameError
from tinyalign.properties import all_properties, get
from tinyalign.verification.argument import argument_names, build_argument, load_argument
from tinyalign.verification.leaf import leaf_kinds
from tinyalign.verification.tree import Assumption, Defeater, walk

SMALL: dict[str, Any] = {
    "name": "small",
    "about": "One rate.",
    "claim": {
        "id": "0",
        "text": "{property} holds",
        "children": [
            {
                "leaf": {
                    "kind": "rate",
                    "id": "1-rate",
                    "claim": "Rarely {violating}",
                    "p0": 0.1,
                    "planned_rate": 0.01,
                }
            },
        ],
    },
}

P1 = get("P1")
PAIR = P1.pairs["action"]


def build(content: Any) -> Any:
    return build_argument(content, "file.yaml", P1, PAIR)


@pytest.mark.parametrize("name", argument_names())
def test_shipped_templates_fit_every_property_and_pair(name: str) -> None:
    for prop in all_properties():
        for pair in prop.pairs.values():
            argument = load_argument(name, prop, pair)
            assert argument.limits
            assert any(isinstance(node, Assumption) for node in walk(argument.root))
            assert not any("{" in leaf.claim for leaf in argument.leaves)


def test_the_standard_argument_has_every_part_of_the_design() -> None:
    argument = load_argument("standard", P1, PAIR)
    kinds = {leaf.kind for leaf in argument.leaves}
    asked = {
        *("rate", "contrast", "exhaustive", "story-fall", "story-rate", "checker-error"),
        *("paired", "neutral-damage", "total-variation", "mechanism"),
        *("locus", "vocabulary", "role-swap", "held-out-lexicon", "held-out-words"),
        *("description-length", "no-evasion", "attack", "family-rate"),
    }
    assert asked <= kinds
    assert asked | {"universal", "quantisation"} <= set(leaf_kinds())
    assert sum(isinstance(node, Defeater) for node in walk(argument.root)) == 2


def test_words_of_the_property_are_filled_in() -> None:
    argument = build(SMALL)
    assert argument.root.text == "obeys-prohibition holds"
    assert argument.leaves[0].claim == "Rarely didn't, did not, kept, ignored"


def at(content: dict[str, Any]) -> dict[str, Any]:
    return content["claim"]["children"][0]["leaf"]


def without_margin(content: dict[str, Any]) -> None:
    del at(content)["p0"]


def unknown_kind(content: dict[str, Any]) -> None:
    at(content)["kind"] = "rat"


def unknown_key(content: dict[str, Any]) -> None:
    at(content)["alpha"] = 0.2


def margin_as_text(content: dict[str, Any]) -> None:
    at(content)["p0"] = "small"


def margin_as_truth(content: dict[str, Any]) -> None:
    at(content)["p0"] = True


def impossible_margin(content: dict[str, Any]) -> None:
    at(content)["p0"] = 1.5


def unknown_split(content: dict[str, Any]) -> None:
    at(content)["split"] = "final"


def id_as_path(content: dict[str, Any]) -> None:
    at(content)["id"] = "../1"


def unknown_node(content: dict[str, Any]) -> None:
    content["claim"]["children"][0] = {"leave": at(content)}


def unknown_combine(content: dict[str, Any]) -> None:
    content["claim"]["combine"] = "xor"


def chain_without_margin(content: dict[str, Any]) -> None:
    content["claim"]["combine"] = "chain"


def placeholder(content: dict[str, Any]) -> None:
    content["claim"]["text"] = "{verb} holds"


def top_key(content: dict[str, Any]) -> None:
    content["alpha"] = 0.2


def requirement(content: dict[str, Any]) -> None:
    content["requires"] = ["absent"]


def twice(content: dict[str, Any]) -> None:
    content["claim"]["children"] *= 2


def no_children(content: dict[str, Any]) -> None:
    content["claim"]["children"] = []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_margin, "'1-rate' of kind 'rate' lacks 'p0'"),
        (unknown_kind, "unknown leaf kind 'rat'"),
        (unknown_key, "unknown key 'alpha'"),
        (margin_as_text, "'p0' is 'small'; expected float"),
        (margin_as_truth, "'p0' is True; expected float"),
        (impossible_margin, "p0 is 1.5"),
        (unknown_split, "'split' is 'final'"),
        (id_as_path, "an id of letters"),
        (unknown_node, "a node is one of"),
        (unknown_combine, "combines by 'xor'"),
        (chain_without_margin, "a chain has a margin"),
        (placeholder, "has a placeholder other than"),
        (top_key, "unknown key 'alpha'"),
        (requirement, "requires has 'absent'"),
        (twice, "used twice"),
        (no_children, "nothing below it"),
    ],
)
def test_every_mistake_is_one_sentence_that_names_file_and_place(
    spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    content = copy.deepcopy(SMALL)
    spoil(content)
    with pytest.raises(DataError) as caught:
        build(content)
    message = str(caught.value)
    assert words in message
    assert message.startswith("file.yaml: ")
    assert message.count("file.yaml") == 1
    assert "\n" not in message


@pytest.mark.parametrize("content", [None, [], "text", {"name": "a"}])
def test_files_that_are_no_argument(content: object) -> None:
    with pytest.raises(DataError, match=r"file\.yaml: "):
        build(content)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [")
    with pytest.raises(DataError, match="not readable YAML"):
        load_argument(tmp_path / "broken.yaml", P1, PAIR)
    with pytest.raises(DataError, match="not readable YAML"):
        load_argument(tmp_path / "absent.yaml", P1, PAIR)
    with pytest.raises(UnknownNameError, match="did you mean standard"):
        load_argument("standart", P1, PAIR)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(SMALL))
    assert load_argument(tmp_path / "own.yaml", P1, PAIR).to_json() == SMALL
