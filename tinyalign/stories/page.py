"""One story on the desk: its tokens, the figures met so far, and the noun phrases found in it."""

from __future__ import annotations

from dataclasses import dataclass

from tinyalign.stories.cast import Cast, Figure
from tinyalign.stories.lexicon import people, verbs, word_set
from tinyalign.stories.text import Token

DETERMINERS = word_set(
    "a an the another one his her their its my our your this that these those some two three many other all"
)
NEW = word_set("a an another one some two three many")
STOP = word_set(
    "in on at to with for of by from and or but so then that who which when while because as like about into "
    "near behind is are was were am be been had has have do does did not no he she it they we you i me "
    "him them us there up down out off over under around after before if than said asked told"
)
# Before a noun, these make a toy or a dish of it.
TOYS = word_set("teddy toy stuffed plush paper clay wooden rubber plastic pretend hot chocolate gummy")
# Behind a noun, these make it a mere modifier ("dog food").
COMPOUND = word_set(
    "house food bowl cage bed book costume suit mask store shop show truck tail nest hole farm fur coat"
)
# Company, not kind: the friend of a bear may be a bear.
# Praise, not kind: "Tim was a nice person" does not make him an adult.
PRAISE = word_set(
    "person hero superhero player leader helper customer visitor stranger giant angel monster builder cook"
)
COMPANY = word_set("friend friends pal pals buddy playmate classmate neighbor")
PREPOSITIONS = word_set(
    "in on at to with for of by from about into near behind after before than like around"
)
_ADVERBS = word_set(
    "then also just finally always never still soon even both all quickly only ever almost once again now"
)
_LY_NOUNS = word_set("family lily reply belly jelly fly")
_LEADS = word_set("did didn't could couldn't would had has can will does doesn't wasn't and who")


@dataclass(frozen=True)
class Reference:
    """A noun phrase or pronoun of the narration: token span `first..head`, whom it means, and how surely.

    `others`: further candidates of a pronoun, best first. `certain`: one candidate stood out.
    """

    ids: tuple[int, ...]
    first: int
    head: int
    pronoun: bool = False
    certain: bool = True
    others: tuple[int, ...] = ()


def is_adverb(word: str) -> bool:
    """A word that may stand between a subject and its verb."""
    return word in _ADVERBS or (word.endswith("ly") and len(word) > 4 and word not in _LY_NOUNS)


def unpossessed(written: str) -> str:
    """A word as written, without a possessive ending."""
    for ending in ("'s", "\u2019s"):
        written = written.removesuffix(ending)
    return written[:-1] if written.endswith(("s'", "s\u2019")) else written


def base_word(token: Token) -> str:
    """The lower-case word without a possessive ending."""
    return unpossessed(token.low)


def own_phrase(token: Token) -> bool:
    """The word is not a possessor ("Lily's")."""
    return not token.low.endswith(("'s", "s'"))


class Page:
    """Shared state of the readers. `refs[i]` is the reference headed at token i; `starts` gives i by the
    first token.

    `group` is the plural last spoken of ("Lily and Ben"), for "they".
    """

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.cast = Cast()
        self.refs: dict[int, Reference] = {}
        self.starts: dict[int, int] = {}
        self.group: tuple[int, ...] = ()
        self.group_at = -1
        self._people, self._verbs = people(), verbs()
        self._names = self._story_names()

    def low(self, index: int) -> str:
        """The lower-case token, "" outside the text."""
        return self.tokens[index].low if 0 <= index < len(self.tokens) else ""

    def initial(self, index: int) -> bool:
        """The token begins a sentence, so that its capital says nothing."""
        previous = self.tokens[index - 1] if index else None
        return previous is None or previous.kind in ("break", "quote") or previous.text in ".!?:…"

    def _story_names(self) -> set[str]:
        names: set[str] = set()
        lexicon = self._people
        for index, token in enumerate(self.tokens):
            if token.kind != "word" or not token.text[0].isupper():
                continue
            word = base_word(token)
            previous = self.tokens[index - 1].low if index else ""
            before = self.tokens[index - 2].low if index > 1 else ""
            titled = previous == "." and before in ("mr", "mrs", "ms", "dr") and word not in lexicon.nouns
            if titled or previous in ("named", "called") or (previous in ("was", "is") and before == "name"):
                names.add(word)
            elif word in lexicon.not_names or word in lexicon.nouns:
                continue
            elif word in lexicon.names or not self.initial(index) or self._says(index, word):
                names.add(word)
        return names

    def _says(self, index: int, word: str) -> bool:
        """An unknown word at the head of a sentence used as a name: "Zib said", "Zib the cat"."""
        if self.low(index + 1) == "the":
            behind = self._people.nouns.get(self.low(index + 2))
            return behind is not None and word not in self._verbs.lemma and not is_adverb(word)
        if self.low(index + 1) == "and" and index + 2 < len(self.tokens):
            other = self.tokens[index + 2]
            named = other.text[:1].isupper() and other.low not in self._people.not_names
            return named and other.low not in self._people.nouns
        following = self._verbs.lemma.get(self.low(index + 1), "")
        return (
            following in self._verbs.certain_speech and word not in self._verbs.lemma and not is_adverb(word)
        )

    def is_name(self, index: int) -> bool:
        """The token is a proper name of this story."""
        if not 0 <= index < len(self.tokens):
            return False
        token = self.tokens[index]
        return token.kind == "word" and token.text[0].isupper() and base_word(token) in self._names

    def begins_noun(self, index: int) -> bool:
        """ "her" at `index` is a possessive: a noun phrase follows."""
        following = self.tokens[index + 1] if index + 1 < len(self.tokens) else None
        if following is None or following.kind != "word":
            return False
        low = following.low
        return low not in STOP and low not in DETERMINERS and not is_adverb(low) and low != "that"

    def phrase_start(self, index: int) -> tuple[int, str]:
        """First token of the noun phrase headed at `index`, and its determiner ("" if it has none)."""
        position = index - 1
        while position >= 0 and index - position <= 6:
            token = self.tokens[position]
            if token.kind != "word":
                if token.text == "," and self.low(position - 1) and index - position > 1:
                    position -= 1
                    continue
                break
            if token.low == "and" and index - position > 1 and position - 1 not in self.refs:
                position -= 1  # "a kind and honest cat"
                continue
            if token.low in DETERMINERS or token.low.endswith(("'s", "s'")):
                return position, token.low
            if token.low in STOP or (
                token.low in self._verbs.form
                and self._verbs.form[token.low] in ("past", "gerund", "present")
                and token.low not in self._verbs.nounlike
            ):
                break
            position -= 1
        return index, ""

    def acts_next(self, index: int) -> bool:
        """The word behind is a verb, so the noun before it acts."""
        following = self.low(index + 1)
        return (
            following in self._verbs.form
            or is_adverb(following)
            or following in ("did", "could", "and", "had")
        )

    def mention(self, head: int, first: int, figure: Figure) -> None:
        """Record that the noun phrase `first..head` means `figure` (with whoever "and" joins to it)."""
        token = self.tokens[head]
        end = token.start + len(unpossessed(token.text))
        figure.mentions.append(
            (self.tokens[first].start if not self._possessor(first, head) else token.start, end)
        )
        figure.aliases[unpossessed(token.text)] = None
        ids = (figure.id,)
        position = first - 1
        if self.low(position) == "and" and position - 1 in self.refs and not self.refs[position - 1].pronoun:
            earlier = self.refs[position - 1]
            ids = (*earlier.ids, figure.id)
            first = earlier.first
            self.group, self.group_at = tuple(dict.fromkeys(ids)), head
        elif figure.plural:
            self.group, self.group_at = ids, head
        self.refs[head] = Reference(tuple(dict.fromkeys(ids)), first, head)
        self.starts[first] = head
        self.touch(figure, head, first)

    def _possessor(self, first: int, head: int) -> bool:
        return first < head and self.low(first).endswith(("'s", "s'"))

    def touch(self, figure: Figure, head: int, first: int) -> None:
        """Keep when the figure was mentioned last and when it led a clause."""
        figure.last = head
        self.cast.touch(figure)
        if self.tokens[head].low.endswith(("'s", "s'")):
            return
        following = head + 1
        while is_adverb(self.low(following)):
            following += 1
        low = self.low(following)
        leads = low in self._verbs.form or low in (
            "did",
            "didn't",
            "could",
            "couldn't",
            "would",
            "had",
            "has",
            "can",
            "will",
            "does",
            "doesn't",
            "wasn't",
            "and",
            "who",
        )
        if leads and self.low(first - 1) not in PREPOSITIONS and self.low(first - 1) not in self._verbs.form:
            figure.subject_at = head
