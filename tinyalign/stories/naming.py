"""Proper names: how a story gives them, and whom they mean."""

from __future__ import annotations

from tinyalign.stories.annotation import Gender
from tinyalign.stories.cast import Figure
from tinyalign.stories.lexicon import Noun, people, verbs
from tinyalign.stories.page import Page, Reference, base_word, own_phrase, unpossessed
from tinyalign.stories.text import Token
from tinyalign.stories.things import Things

_POSSESSIVE = frozenset(("his", "her", "their", "its"))


class Naming:
    """Reads proper names and the ways they are given."""

    def __init__(self, page: Page, things: Things) -> None:
        self.page = page
        self.tokens, self.cast, self.refs, self.starts = page.tokens, page.cast, page.refs, page.starts
        self._people, self._verbs = people(), verbs()
        self._things = things

    def introduce(
        self, index: int, figure: Figure, facts: Noun, word: str, species: str, determiner: str
    ) -> None:
        """ "a girl named Sue", "her friend, Max,", "his dog Spot", "two friends named Tim and Sally"."""
        position = index + 1
        if self.page.low(position) in ("was", "is", "who", "whose"):
            skip = {"was": 1, "is": 1, "who": 2, "whose": 1}[self.page.low(position)]
            if self.page.low(position + skip) in ("named", "called", "name"):
                position += skip
        if self.page.low(position) == "name" and self.page.low(position + 1) in ("was", "is"):
            position += 1
        if self.page.low(position) == "," and self.page.low(position + 1) in ("named", "called"):
            position += 1
        introduced = self.page.low(position) in ("named", "called", "was", "is") and position > index
        introduced = introduced and (
            self.page.low(position) in ("named", "called") or self.page.low(position - 1) == "name"
        )
        if introduced and self.page.is_name(position + 1):
            self._take_name(position + 1, figure, facts, word, species)
        elif self.page.low(position) == "," and (determiner in _POSSESSIVE or determiner.endswith("'s")):
            closing = self.page.low(position + 2)
            if self.page.is_name(position + 1) and (
                closing in (",", ".", "to", "and", "the") or closing in self._verbs.form
            ):
                self._take_name(position + 1, figure, facts, word, species)
            elif self.page.low(position + 1) in ("a", "an", "the"):
                self._apposition(position + 1, figure)
        elif (
            self.page.is_name(position)
            and own_phrase(self.tokens[index])
            and not figure.proper
            and (
                determiner in _POSSESSIVE
                or self.tokens[index].text[0].isupper()
                or facts.role == "other"
                or (determiner == "the" and not self.page.acts_next(position))
            )
        ):
            self._take_name(position, figure, facts, word, species)

    def _apposition(self, position: int, figure: Figure) -> None:
        """Of "her friend, a wise owl": the friend is an owl."""
        for index in range(position + 1, min(position + 5, len(self.tokens))):
            facts = self._people.nouns.get(base_word(self.tokens[index]))
            if (
                facts is not None
                and index + 1 < len(self.tokens)
                and self.page.low(index + 1) not in self._people.nouns
            ):
                word = base_word(self.tokens[index])
                figure.role = facts.role
                figure.species = word if facts.role == "animal" else "human"
                figure.gender = facts.gender
                figure.nouns.add(word)
                self.cast.describe(figure, word, facts, figure.species)
                self.page.mention(index, position, figure)
                self.introduce(index, figure, facts, word, figure.species, "a")
                return
            if self.tokens[index].kind != "word":
                return

    def _take_name(self, index: int, figure: Figure, facts: Noun, word: str, species: str) -> None:
        name = base_word(self.tokens[index])
        known = self.cast.named(name)
        if known is not None and known is not figure:
            self.cast.describe(known, word, facts, species)
            if figure.plural is False and figure.proper is None and not figure.children:
                known.owner = known.owner if known.owner is not None else figure.owner
            self.refs[index] = Reference((known.id,), index, index)
            self.page.mention(index, index, known)
            return
        if figure.plural:
            first = self.cast.add_named(name, self.tokens[index].text)
            self._describe_member(first, figure, facts, word)
            self.page.mention(index, index, first)
            members = [first.id]
            position = index + 1
            while self.page.low(position) in (",", "and") and self.page.is_name(position + 1):
                other_name = base_word(self.tokens[position + 1])
                other = self.cast.named(other_name) or self.cast.add_named(
                    other_name, self.tokens[position + 1].text
                )
                self._describe_member(other, figure, facts, word)
                self.page.mention(position + 1, position + 1, other)
                members.append(other.id)
                position += 2
            self.page.group, self.page.group_at = tuple(members), index
            return
        self.cast.give_name(figure, name, unpossessed(self.tokens[index].text))
        self.page.mention(index, index, figure)
        self._kind_behind(index, figure)

    def _describe_member(self, member: Figure, group: Figure, facts: Noun, word: str) -> None:
        single = word.removesuffix("s")
        member.role, member.species, member.stated = (
            group.role,
            group.species,
            word not in ("friends", "pals"),
        )
        if facts.gender is not None:
            member.gender = facts.gender
        member.nouns.update({single, "child"} if group.role == "child" else {single})

    def read(self, index: int, token: Token) -> None:
        word = base_word(token)
        figure = self.cast.named(word) or self._by_pronoun(index, word)
        if (
            figure is None
            and self.page.low(index - 1) in ("named", "called")
            and self._things.is_thing(index - 2)
        ):
            figure = self.cast.add_thing(self.page.low(index - 2))
            self.cast.give_name(figure, word, unpossessed(token.text))
        if figure is None:
            figure = self.cast.add_named(word, unpossessed(token.text))
        first = index
        dot = self.page.low(index - 1) == "."
        title = self.page.low(index - (2 if dot else 1))
        if title in self._people.titles and not figure.stated:
            first = index - (2 if dot else 1)
            if title in ("mr", "mrs", "ms", "miss", "dr", "sir", "madam", "professor", "captain", "officer"):
                gender: Gender | None = (
                    "male" if title in ("mr", "sir") else "female" if title in ("mrs", "ms", "miss") else None
                )
                figure.role, figure.gender, figure.stated = "other", gender or figure.gender, True
        self.page.mention(index, first, figure)
        self._kind_behind(index, figure)

    def _by_pronoun(self, index: int, name: str) -> Figure | None:
        """ "His name was Tim": the nameless one mentioned last whom "his" fits."""
        if self.page.low(index - 2) != "name" or self.page.low(index - 1) not in ("was", "is"):
            return None
        whose = self.page.low(index - 3)
        if whose not in _POSSESSIVE:
            return None
        gender: Gender | None = "male" if whose == "his" else "female" if whose == "her" else None
        for figure in self.cast.recent():
            nameless = figure.proper is None and figure.role not in ("parent", "grandparent")
            if nameless and not figure.plural and figure.gender in (gender, None):
                self.cast.give_name(figure, name, unpossessed(self.tokens[index].text))
                figure.gender = figure.gender or gender
                return figure
        return None

    def _kind_behind(self, index: int, figure: Figure) -> None:
        """ "Sam the cat", "Max, the puppy,": what the name's bearer is."""
        position = index + (2 if self.page.low(index + 1) == "," else 1)
        if not own_phrase(self.tokens[index]) or self.page.low(position) != "the":
            return
        for head in range(position + 1, min(position + 4, len(self.tokens))):
            word = self.tokens[head].low
            facts = self._people.nouns.get(word)
            if facts is not None:
                enclosed = self.page.low(index + 1) == "," == self.page.low(head + 1)
                if figure.stated and not enclosed:
                    return
                self.cast.describe(figure, word, facts, word if facts.role == "animal" else "human")
                self.page.mention(head, position, figure)
                return
