"""The page as a browser gets it: structure, links, nothing loaded, nothing run, nothing unescaped."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest

from tests.report.nodes import LONG, NASTY, counterexample
from tests.report.parsing import Page, parse
from tests.report.samples import verdict
from tinyalign.report.markup import visible
from tinyalign.report.verdict import MOST_BYTES, render

# Where the reader checks the words; every other text may be anything.
_FIXED = frozenset({"format", "verdict", "kind", "status", "direction", "unit", "combine"})


def poisoned(value: Any, key: str = "") -> Any:
    """The verdict with hostile text in the place of all texts, and in the names of details.

    What a model wrote gets a word of 10,000 letters besides.
    """
    if isinstance(value, dict):
        extra = {NASTY: NASTY} if key == "details" else {}
        return {name: poisoned(one, name) for name, one in value.items()} | extra
    if isinstance(value, list):
        return [poisoned(one, key) for one in value]
    if not isinstance(value, str) or key in _FIXED:
        return value
    return LONG if key in ("prompt", "before", "after", "shrunk") else NASTY


def huge() -> dict[str, Any]:
    """A verdict with 500 long counterexamples at each leaf and 300 long stories."""
    made = verdict("defeated")
    long = "<&> " * 5_000 + "here it is " + "&<> " * 5_000
    many = [counterexample(before=long, after=long, span=[20_000, 20_010], prompt="")] * 500
    for node in _nodes(made["tree"]):
        if node["result"]:
            node["result"]["counterexamples"] = many
    made["stories"] = [{"prompt": "P", "before": long, "after": long[::-1]}] * 300
    return made


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(below for child in node["children"] for below in _nodes(child))]


def bare() -> dict[str, Any]:
    """A verdict without an edit, pair, stories, assumptions, limits, or times; one leaf that was not run."""
    made = verdict("not established")
    made |= {"edit": None, "pair": None, "stories": [], "assumptions": [], "limits": [], "rerun": []}
    del made["started"], made["seconds"]
    made["tree"]["children"] = [
        {"kind": "leaf", "id": "a", "text": "a leaf", "children": [], "result": None},
        {"kind": "leaf", "id": "A", "text": "its namesake", "children": [], "result": None},
    ]
    return made


CASES = {
    "established": verdict("established"),
    "defeated": verdict("defeated"),
    "not established": verdict("not established"),
    "poisoned": poisoned(verdict("defeated")),
    "huge": huge(),
    "bare": bare(),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[dict[str, Any], str, Page]:
    made = CASES[request.param]
    html = render(made)
    return made, html, parse(html)


def test_it_is_one_complete_page(case: tuple[dict[str, Any], str, Page]) -> None:
    _, html, page = case
    assert page.declaration.lower() == "doctype html"
    assert [one.name for one in page.elements[:2]] == ["html", "head"]
    assert page.elements[0].attributes["lang"] == "en"
    metas = [one.attributes for one in page.named("meta")]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert {"charset": "utf-8"} in metas
    assert len(html.encode()) < MOST_BYTES


def test_nothing_is_loaded_or_run(case: tuple[dict[str, Any], str, Page]) -> None:
    _, _, page = case
    forbidden = (
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
        "use",
        "video",
    )
    assert not page.named(*forbidden)
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on") and name not in (
                "src",
                "srcset",
                "style",
                "xlink:href",
                "action",
            )
            if name == "href":
                assert value and value.startswith("#")
    (style,) = page.named("style")
    assert "url(" not in style.text and "@import" not in style.text and "://" not in style.text


def test_the_policy_allows_this_style_sheet_and_nothing_else(case: tuple[dict[str, Any], str, Page]) -> None:
    _, _, page = case
    (style,) = page.named("style")
    digest = b64encode(sha256(style.text.encode()).digest()).decode()
    policy = [one.attributes["content"] for one in page.named("meta") if "http-equiv" in one.attributes]
    wanted = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy == [wanted]


def test_ids_are_unique_and_links_resolve(case: tuple[dict[str, Any], str, Page]) -> None:
    _, _, page = case
    ids = page.ids()
    assert len(set(ids)) == len(ids)
    targets = {one.attributes["href"] for one in page.named("a")}
    assert {f"#{found}" for found in ids} >= targets
    for element in page.elements:
        if "aria-labelledby" in element.attributes:
            assert element.attributes["aria-labelledby"] in ids


def test_a_reader_of_the_screen_finds_its_way(case: tuple[dict[str, Any], str, Page]) -> None:
    _, _, page = case
    assert [len(page.named(name)) for name in ("main", "nav", "h1", "footer")] == [1, 1, 1, 1]
    levels = [int(one.name[1]) for one in page.named("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for drawing in page.named("svg"):
        assert drawing.attributes.get("aria-label") or drawing.attributes.get("aria-hidden") == "true"
    assert all(one.text.strip() or one.attributes.get("aria-label") for one in page.named("a"))


def test_every_node_leaf_and_text_is_there(case: tuple[dict[str, Any], str, Page]) -> None:
    made, _, page = case
    flat = re.sub(r"\s+", " ", page.elements[0].text)
    for node in _nodes(made["tree"]):
        assert re.sub(r"\s+", " ", visible(node["text"])).strip() in flat
    for key in ("assumptions", "limits", "rerun"):
        for text in made[key]:
            assert re.sub(r"\s+", " ", visible(text)).strip() in flat
    leaves = [node for node in _nodes(made["tree"]) if node["kind"] == "leaf"]
    assert len(page.classed("leaf")) - len(page.classed("shape")) <= len(leaves)
    assert len([one for one in page.named("article") if "leaf" in (one.attributes["class"] or "")]) == len(
        leaves
    )
    assert len(page.classed("tree")) == 2


def test_hostile_text_stays_text() -> None:
    page = parse(render(CASES["poisoned"]))
    for name in ("h1", "h3", "title", "code", "pre", "bdi", "tspan"):
        assert any("<script>" in one.text for one in page.named(name)), name
    text = page.elements[0].text
    assert not any(hidden in text for hidden in ("\x1b", "\x00", "\u202e", "\ud800"))
    assert "[U+202E]" in text and "\u241b[31m" in text


def test_the_whole_page_can_be_written_as_utf8() -> None:
    assert render(CASES["poisoned"]).encode()


def test_what_is_left_out_is_said() -> None:
    page = parse(render(CASES["huge"]))
    text = page.elements[0].text
    assert re.search(r"\d+ more in verdict\.json", text) and "characters more]" in text
    # A cut never hides what decides.
    marks = page.named("mark")
    assert marks and all(mark.text == "here it is" for mark in marks)


def test_two_pages_of_one_verdict_are_the_same() -> None:
    assert render(verdict("defeated")) == render(verdict("defeated"))


def test_the_verdict_stands_on_top_in_words_sign_and_colour() -> None:
    for kind, css, word in (
        ("established", "good", "Established"),
        ("defeated", "bad", "Defeated"),
        ("not established", "open", "Not established"),
    ):
        made = verdict(kind)
        page = parse(render(made))
        (hero,) = page.classed("hero")
        assert css in (hero.attributes["class"] or "")
        (heading,) = page.named("h1")
        # The sentence begins with the verdict's word, which is not said twice.
        assert heading.text == f"{word}: The edited model obeys prohibitions."
        assert hero in heading.parents
        if kind == "established":
            assert "attempt 2" in hero.text
        against = [one.text for one in page.named("a") if hero in one.parents]
        failing = [n["id"] for n in _nodes(made["tree"]) if n["kind"] == "leaf" and n["status"] == kind]
        assert against == ([] if kind == "established" else failing)
