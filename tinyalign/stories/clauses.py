"""Which words are finite verbs, and who their subjects are."""

from __future__ import annotations

from tinyalign.stories.lexicon import verbs, word_set
from tinyalign.stories.page import Page, Reference, is_adverb
from tinyalign.stories.text import Token

AUXILIARIES = word_set(
    "did didn't do don't does doesn't could couldn't can can't cannot would wouldn't will won't should "
    "shouldn't must mustn't might may had has have hadn't was were is are am "
    "wasn't weren't isn't aren't never not 'd"
)
_NOT_BEFORE_VERB = word_set(
    "a an the his her their its my our your this that these those some any no every each of in on at with "
    "for from by into to very so too more most big little good great new"
)
# A subject is looked for at most this many tokens back, so that time stays linear on any text.
_REACH = 60
_JOINERS = word_set("and but or then so")
_SUBORDINATORS = word_set("that because how what who when if where why which while whether since until as")


class Clauses:
    """Finite verbs of the narration with their subjects, worked out left to right."""

    def __init__(self, page: Page) -> None:
        self.tokens: list[Token] = page.tokens
        self.refs = page.refs
        self.page = page
        self._verbs = verbs()
        self.subjects: dict[int, Reference | None] = {}
        self.subordinate: set[int] = set()
        self._read()

    def low(self, index: int) -> str:
        """The lower-case token, "" outside the text."""
        return self.tokens[index].low if 0 <= index < len(self.tokens) else ""

    def lemma(self, index: int) -> str:
        """Base form of the token if it can be a verb, else ""."""
        return self._verbs.lemma.get(self.low(index), "")

    def is_verb(self, index: int) -> bool:
        """The token is the main verb or the auxiliary "be" of a finite clause."""
        low = self.low(index)
        form = self._verbs.form.get(low)
        if form is None or index in self.refs or self.tokens[index].kind != "word":
            return False
        before = index - 1
        while before >= 0 and is_adverb(self.low(before)) and before not in self.refs:
            before -= 1
        previous = self.low(before)
        if form == "gerund" or (form == "participle" and low not in ("come", "run", "become")):
            return previous in ("was", "were", "had", "been", "is", "are", "be", "got", "has", "have")
        if before in self.refs:
            previous = ""
        if previous == "to" or (
            previous in _NOT_BEFORE_VERB and not (previous in ("that", "this") and form == "past")
        ):
            return False
        if form == "base" and low not in (
            "put",
            "let",
            "hit",
            "cut",
            "set",
            "hurt",
            "read",
            "quit",
            "shut",
            "spread",
            "beat",
        ):
            if previous in AUXILIARIES or previous in ("they", "we", "i", "you"):
                return True
            if previous == "and" and any(
                self.low(verb) in self._verbs.form and self._verbs.form[self.low(verb)] == "base"
                for verb in range(max(0, before - 6), before)
                if verb in self.subjects
            ):
                return True
            reference = self.refs.get(before)
            return reference is not None and len(reference.ids) > 1 and low not in self._verbs.nounlike
        if low in self._verbs.nounlike:
            return before in self.refs or previous in AUXILIARIES or previous in (*_JOINERS, ",")
        return True

    def _read(self) -> None:
        clause_start = 0
        for index, token in enumerate(self.tokens):
            title = token.text == "." and self.low(index - 1) in ("mr", "mrs", "ms", "dr")
            if token.kind == "break" or (token.kind == "mark" and token.text in ".!?" and not title):
                clause_start = index + 1
            elif token.kind == "word" and self.is_verb(index):
                self.subjects[index] = self._subject(index, clause_start)

    def _subject(self, index: int, clause_start: int) -> Reference | None:
        position = index - 1
        while (
            position >= clause_start
            and position not in self.refs
            and (
                self.low(position) in AUXILIARIES
                or is_adverb(self.low(position))
                or self.low(position) in ("to", "who", "both", "all")
            )
        ):
            position -= 1
        if position < clause_start:
            return None
        reference = self.refs.get(position)
        if reference is not None and not self.tokens[position].low.endswith("'s"):
            before = self.low(reference.first - 1)
            inside = reference.first - 1 >= clause_start
            if inside and (
                before in _SUBORDINATORS
                or (reference.first - 1 in self.subjects and self.low(reference.first - 1) not in ("said",))
            ):
                if any(
                    verb in self.subjects
                    for verb in range(max(clause_start, index - _REACH), reference.first)
                ):
                    self.subordinate.add(index)
            elif inside and before in (
                "of",
                "in",
                "with",
                "at",
                "for",
                "from",
                "by",
                "on",
                "to",
                "into",
                "near",
                "behind",
            ):
                # "the bird in the tree sang": the head is further left.
                outer = self._head_before(reference.first - 1, clause_start)
                return outer if outer is not None else None
            return reference
        if self.low(position) == "," and self.low(position + 1) == "who" and position - 1 in self.refs:
            return self.refs[position - 1]
        if self.low(position) == "," and (apposed := self._apposed(position, clause_start)) is not None:
            return apposed
        if self.low(position) in _JOINERS or self.low(position) == ",":
            return self._inherit(index, position, clause_start)
        return None

    def _apposed(self, comma: int, clause_start: int) -> Reference | None:
        """Of "her friend, a bug named Lucy, came" and "Rex, who was big, ran": the one before the comma."""
        opening = comma - 1
        while opening >= max(clause_start, comma - _REACH) and self.low(opening) != ",":
            opening -= 1
        first = self.refs.get(opening - 1) if opening >= clause_start else None
        if first is None:
            return None
        if self.low(opening + 1) == "who":
            return first
        inner = self.refs.get(comma - 1)
        return first if inner is not None and inner.ids == first.ids else None

    def _head_before(self, position: int, clause_start: int) -> Reference | None:
        head = position - 1
        if head < clause_start:
            return None
        return self.refs.get(head)

    def _inherit(self, index: int, joiner: int, clause_start: int) -> Reference | None:
        for verb in range(joiner - 1, max(clause_start, joiner - _REACH) - 1, -1):
            if verb in self.subjects and self.subjects[verb] is not None:
                if verb in self.subordinate and self._main_before(verb, clause_start) is not None:
                    return self._main_before(verb, clause_start)
                return self.subjects[verb]
        # "Smiling, Tim ... and": a subject without a verb of its own
        return None

    def _main_before(self, verb: int, clause_start: int) -> Reference | None:
        for earlier in range(verb - 1, max(clause_start, verb - _REACH) - 1, -1):
            if earlier in self.subjects and earlier not in self.subordinate:
                return self.subjects[earlier]
        return None
