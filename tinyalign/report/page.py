"""The whole page: a head that lets nothing be loaded or run, and the sections in order."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from tinyalign.report import sections
from tinyalign.report.leaves import leaves
from tinyalign.report.marks import look
from tinyalign.report.markup import Html, each, fragment, tag
from tinyalign.report.reading import FORMAT, Document
from tinyalign.report.stories import Room, stories
from tinyalign.report.style import style_sheet
from tinyalign.report.tree_svg import NARROW, WIDE, legend, tree

_HOW_TO_READ = (
    "On each number line, the dot and the bar are the estimate and its interval, the dashed line is the "
    "margin, and the claim holds on the shaded side. A leaf is established where the interval lies there."
)
_SAME_RANDOM = (
    "Each prompt is continued by both models with the same random numbers. Words that only the one side has "
    "are marked: struck out before, underlined after."
)


def page(document: Document, room: Room) -> str:
    """The document as one HTML file without scripts that loads nothing."""
    blocks = [
        ("checked", "What was checked", sections.subject(document)),
        ("argument", "The argument", _argument(document)),
        ("leaves", "The leaves", fragment(tag("p", _HOW_TO_READ, class_="muted"), leaves(document, room))),
        ("doubts", "Doubts", sections.doubts(document)),
        ("stories", "Stories before and after", _stories(document, room)),
        ("assumptions", "Assumptions", sections.assumptions(document)),
        ("limits", "Limits", sections.limits(document)),
        ("rerun", "How to run it again", sections.rerun(document)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in blocks if body is not None]
    name = str(document.prop.get("name") or document.prop.get("id") or "")
    title = f"{look(document.verdict).word.capitalize()}: {name} in {document.edited.get('name', '')}"
    body = tag(
        "body",
        tag("a", "Skip to the verdict", class_="skip", href="#verdict"),
        tag("header", "tinyalign · an argument about an edit, with its leaves run as tests"),
        tag(
            "main",
            sections.hero(document),
            _contents([(anchor, words) for anchor, words, _ in shown]),
            each(_section(anchor, words, part) for anchor, words, part in shown),
        ),
        tag(
            "footer",
            f"Shown from verdict.json ({FORMAT}). This page computes nothing, runs no script, loads nothing.",
        ),
    )
    return f"<!doctype html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Html:
    # Only `style_sheet` may stand here unescaped; it holds no text from outside.
    style = style_sheet()
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style)),
    )


def _contents(entries: list[tuple[str, str]]) -> Html:
    links = each(tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title in entries)
    return tag("nav", tag("ul", links), aria_label="Contents")


def _section(anchor: str, title: str, body: Html) -> Html:
    heading = f"{anchor}-title"
    return tag("section", tag("h2", title, id=heading), body, id=anchor, aria_labelledby=heading)


def _argument(document: Document) -> Html:
    drawn = fragment(tree(document.tree, WIDE), tree(document.tree, NARROW))
    return tag("div", drawn, legend(), class_="card")


def _stories(document: Document, room: Room) -> Html | None:
    if not document.stories:
        return None
    return fragment(tag("p", _SAME_RANDOM, class_="muted"), stories(document.stories, room))
