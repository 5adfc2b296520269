"""The quotes of a story as turns of a conversation, and whom their own words call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tinyalign.stories.annotation import Role
from tinyalign.stories.cast import Figure
from tinyalign.stories.clauses import Clauses
from tinyalign.stories.lexicon import people, word_set
from tinyalign.stories.page import Page
from tinyalign.stories.text import words_of

_GREETINGS = word_set(
    "hi hello hey bye goodbye thank thanks you yes no okay ok sure sorry oh please wow dear welcome morning "
    "night look well bye-bye good stop ouch help come wait"
)
_ADDRESS = word_set("little my dear scary old big mr mrs sweet silly good kind friendly poor")


@dataclass
class Turn:
    """What is known of one quote while speakers are worked out. `tag` is the verb that introduces it."""

    token: int
    speakers: tuple[int, ...] = ()
    role: Role | None = None
    addressees: tuple[int, ...] = ()
    addressee_role: Role | None = None
    evidence: str = ""
    tag: int | None = None
    after: bool = False
    continues: int | None = None
    silent: bool = False


def vocatives(text: str, start: int, end: int) -> frozenset[str]:
    """Lower-case words in the quote `text[start:end]` that call somebody: "Mom, look!"."""
    lexicon = people()
    words = words_of(text, start, end)
    called: set[str] = set()
    for index, token in enumerate(words):
        if token.kind != "word":
            continue
        low = token.low
        noun = lexicon.nouns.get(low)
        name = token.text[0].isupper() and low not in lexicon.not_names
        if not (name or noun is not None or low in lexicon.endearments):
            continue
        following = words[index + 1].text if index + 1 < len(words) else "."
        if following not in ",.!?…" and following not in ("and", "please"):
            continue
        first = index
        while first > 0 and words[first - 1].kind == "word" and words[first - 1].low in _ADDRESS:
            first -= 1
        if first >= 2 and words[first - 1].text == "." and words[first - 2].low in ("mr", "mrs", "ms", "dr"):
            first -= 2
        before = words[first - 1] if first > 0 else None
        opening = before is None or before.text in ",.!?…-—" or before.low in _GREETINGS
        if following == "and" or not opening:
            continue
        if name or first > 0 or following in ",!" or len(words) <= 2:
            called.add(low)
    return frozenset(called)


class Scene:
    """Everything the attribution rules look at: the page, its clauses, and the turns to be filled in."""

    def __init__(self, page: Page, clauses: Clauses, called: list[frozenset[str]], texts: list[str]) -> None:
        self.page, self.clauses, self.called, self.texts = page, clauses, called, texts
        self.tokens, self.figures = page.tokens, page.cast.figures
        self._people = people()
        self.children = [figure for figure in self.figures if figure.role == "child" and not figure.plural]
        self._by_word: dict[str, list[Figure]] = {}
        for figure in self.figures:
            for word in {figure.proper or "", *figure.nouns, *(alias.lower() for alias in figure.aliases)}:
                self._by_word.setdefault(word, []).append(figure)
        self.turns = [Turn(index) for index, token in enumerate(self.tokens) if token.kind == "quote"]

    def is_called(self, figure: Figure, number: int) -> bool:
        """The quote calls this figure, so that the figure does not say it."""
        called = self.called[number]
        return bool(called) and (
            (figure.proper is not None and figure.proper in called)
            or not called.isdisjoint(figure.nouns)
            or not called.isdisjoint({a.lower() for a in figure.aliases})
        )

    def called_figures(self, number: int) -> list[Figure]:
        """The figures that the words of quote `number` may call."""
        found = {figure.id: figure for word in self.called[number] for figure in self._by_word.get(word, [])}
        return [found[i] for i in sorted(found)]

    def childish(self, number: int) -> bool:
        """The quote calls a parent or grandparent."""
        called = self.called[number]
        return any(
            word in self._people.nouns and self._people.nouns[word].role in ("parent", "grandparent")
            for word in called
        )

    def shared_role(self, ids: Iterable[int]) -> Role | None:
        """The role that all these figures have, None if they differ (or there are none)."""
        roles: list[Role] = [self.figures[i].role for i in ids]
        return roles[0] if roles and roles.count(roles[0]) == len(roles) else None
