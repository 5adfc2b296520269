"""A strict reading of the report's HTML for tests: balanced tags, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser

VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})


@dataclass
class Element:
    """One element with its attributes and all text below it."""

    name: str
    attributes: dict[str, str | None]
    parents: tuple[Element, ...] = field(repr=False)
    data: list[str] = field(default_factory=list, repr=False)

    @cached_property
    def text(self) -> str:
        """All text below the element; to be read when the page is whole."""
        return "".join(self.data)


@dataclass
class Page:
    """Every element in order, and the declaration."""

    elements: list[Element] = field(default_factory=list, repr=False)
    declaration: str = ""

    def named(self, *names: str) -> list[Element]:
        """The elements with one of these names."""
        return [element for element in self.elements if element.name in names]

    def ids(self) -> list[str]:
        """Every id, in order."""
        return [found for element in self.elements if (found := element.attributes.get("id"))]

    def classed(self, css: str) -> list[Element]:
        """The elements with this class."""
        return [one for one in self.elements if css in (one.attributes.get("class") or "").split()]


class _Strict(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[Element] = []

    def handle_decl(self, decl: str) -> None:
        self.page.declaration = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        element = Element(tag, dict(attrs), tuple(self.open))
        self.page.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.data.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:40]}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data[:40]}")


def parse(html: str) -> Page:
    """The page; fails where a tag is not closed in order, and on comments and instructions."""
    parser = _Strict()
    parser.feed(html)
    parser.close()
    assert not parser.open, f"<{parser.open[-1].name}> is never closed"
    return parser.page
