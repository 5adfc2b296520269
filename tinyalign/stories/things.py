"""Speakers that no lexicon knows: talking trees, stars and machines."""

from __future__ import annotations

from tinyalign.stories.lexicon import Noun, people, verbs
from tinyalign.stories.page import STOP, Page, base_word, is_adverb


class Things:
    """Makes a figure of an unknown noun where it speaks or is given a name."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.tokens, self.cast, self.refs, self.starts = page.tokens, page.cast, page.refs, page.starts
        self._people, self._verbs = people(), verbs()

    def is_thing(self, head: int) -> bool:
        """ "a train named ...": a noun that no lexicon of people and animals knows."""
        if head < 0 or head in self.refs or self.tokens[head].kind != "word" or self.page.low(head) in STOP:
            return False
        return self.page.phrase_start(head)[1] in (
            "a",
            "an",
            "the",
            "his",
            "her",
            "one",
            "their",
        ) and not self.page.is_name(head)

    def read_speaker(self, verb: int) -> None:
        """ "the star said": the star speaks, though no lexicon knows it."""
        head = verb - 1
        while head >= 0 and is_adverb(self.page.low(head)) and head not in self.refs:
            head -= 1
        if head >= 0 and self.page.low(head) in ("and", "then"):
            head = self._clause_subject(head)
        if head >= 0 and self.tokens[head].kind == "word" and head not in self.refs:
            first, determiner = self.page.phrase_start(head)
            if determiner in ("the", "a", "an", "his", "her") and first < head:
                self._thing(head, first)
        if self.page.low(verb + 1) == "the" and verb and self.tokens[verb - 1].kind in ("quote", "mark"):
            head = verb + 1
            while (
                head + 1 < len(self.tokens)
                and self.tokens[head + 1].kind == "word"
                and head - verb < 4
                and self.page.low(head + 1) not in STOP
            ):
                head += 1
            if (
                head > verb + 1
                and self._people.nouns.get(base_word(self.tokens[head])) is None
                and not any(self.page.is_name(i) for i in range(verb + 2, head + 1))
            ):
                self._thing(head, verb + 1)

    def _clause_subject(self, joiner: int) -> int:
        """Of "the green machine was happy and said": the word before the clause's first verb, or -1."""
        start = joiner
        while start > max(0, joiner - 30) and self.tokens[start - 1].kind == "word":
            start -= 1
        if self.page.low(start) not in ("the", "a", "an", "his", "her"):
            return -1
        for index in range(start + 1, min(start + 5, joiner)):
            if index in self.refs:
                return -1
            if (
                self.page.low(index + 1) in self._verbs.form
                and self.page.low(index + 1) not in self._verbs.nounlike
            ):
                return index
        return -1

    def _thing(self, head: int, first: int) -> None:
        word = base_word(self.tokens[head])
        if (
            word in self._people.voices
            or word in self._people.unspoken
            or word in STOP
            or word.endswith("n't")
            or self._verbs.form.get(word) in ("past", "gerund")
        ):
            return
        figure = self.cast.latest(word, Noun("other", None, False, False)) or self.cast.add_thing(word)
        self.page.mention(head, first, figure)
