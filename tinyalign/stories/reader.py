"""Reading the narration once, left to right: noun phrases become figures, pronouns find their figures."""

from __future__ import annotations

from dataclasses import dataclass

from tinyalign.stories.annotation import Gender
from tinyalign.stories.cast import Cast, Figure
from tinyalign.stories.lexicon import Noun, people, verbs
from tinyalign.stories.text import Token

_DETERMINERS = frozenset(
    "a an the another one his her their its my our your this that these those some two three many other all".split()
)
_NEW = frozenset("a an another one some two three many".split())
_POSSESSIVE: dict[str, Gender | None] = {"his": "male", "her": "female", "their": None, "its": None}
_HE_SHE: dict[str, Gender] = {
    "he": "male",
    "him": "male",
    "himself": "male",
    "she": "female",
    "herself": "female",
}
_STOP = frozenset(
    "in on at to with for of by from and or but so then that who which when while because as like about into near behind "
    "is are was were am be been had has have do does did not no he she it they we you i me him them us there up down out "
    "off over under around after before if than too very said asked told".split()
)
_TOYS = frozenset(
    "teddy toy stuffed plush paper clay wooden rubber plastic pretend hot chocolate gummy".split()
)
_COMPOUND = frozenset(
    "house food bowl cage bed book costume suit mask store shop show truck tail nest hole farm fur coat".split()
)
_ADVERBS = frozenset(
    "then also just finally always never still soon even both all quickly only ever almost once again now".split()
)
# Company, not kind: the friend of a bear may be a bear.
_WEAK = frozenset(("friend", "friends", "pal", "pals", "buddy", "playmate", "classmate", "neighbor"))
_SUBJECT_BREAKERS = frozenset(
    "in on at to with for of by from about into near behind after before than like around".split()
)


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
    return word in _ADVERBS or (
        word.endswith("ly") and len(word) > 4 and word not in ("family", "lily", "reply", "belly", "jelly")
    )


def base_word(token: Token) -> str:
    """The lower-case word without a possessive ending."""
    low = token.low
    if low.endswith("'s"):
        return low[:-2]
    return low[:-1] if low.endswith("'") else low


class Reader:
    """One pass over the tokens. Afterwards `cast` is complete and `refs[i]` is the reference headed at token i.

    `vocatives[q]` are the lower-case names and nouns that quote q calls somebody by: its speaker is not them.
    """

    def __init__(self, tokens: list[Token], vocatives: list[frozenset[str]]) -> None:
        self.tokens = tokens
        self.vocatives = vocatives
        self.cast = Cast()
        self.refs: dict[int, Reference] = {}
        self.starts: dict[int, int] = {}
        self._people, self._verbs = people(), verbs()
        self._group: tuple[int, ...] = ()
        self._group_at = -1
        self._names = self._story_names()

    def read(self) -> None:
        """Fill `cast`, `refs` and `starts` (first token of a reference -> its head token)."""
        for index, token in enumerate(self.tokens):
            if token.kind == "word" and index not in self.refs:
                self._word(index, token)
        self._families()

    # Names

    def _initial(self, index: int) -> bool:
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
            if previous in ("named", "called") or (previous in ("was", "is") and before == "name"):
                names.add(word)
            elif word in lexicon.not_names or word in lexicon.nouns:
                continue
            elif word in lexicon.names or not self._initial(index):
                names.add(word)
        return names

    def _is_name(self, index: int) -> bool:
        if not 0 <= index < len(self.tokens):
            return False
        token = self.tokens[index]
        return token.kind == "word" and token.text[0].isupper() and base_word(token) in self._names

    def _low(self, index: int) -> str:
        return self.tokens[index].low if 0 <= index < len(self.tokens) else ""

    # Dispatch

    def _word(self, index: int, token: Token) -> None:
        low = token.low
        if low in _HE_SHE or low in ("it", "they", "them"):
            self._pronoun(index, low)
        elif low == "her" and not self._begins_noun(index):
            self._pronoun(index, low)
        elif self._is_name(index):
            self._name(index, token)
        else:
            facts = self._people.nouns.get(base_word(token))
            if facts is not None:
                if not self._plural_predicate(index, facts):
                    self._noun(index, token, facts)
            elif self._verbs.lemma.get(low) in self._verbs.certain_speech:
                self._unknown_speaker(index)

    def _plural_predicate(self, index: int, facts: Noun) -> bool:
        """ "Ben and Mia are (two) fish": both are."""
        verb = index - 1
        while verb > 0 and self._low(verb) not in ("are", "were") and index - verb < 4 and self.tokens[verb].kind == "word":
            verb -= 1
        reference = self.refs.get(verb - 1)
        if self._low(verb) not in ("are", "were") or reference is None or len(reference.ids) < 2 or facts.role == "other":
            return False
        word = base_word(self.tokens[index])
        for member in (self.cast.figures[i] for i in reference.ids):
            if not member.stated and word not in _WEAK:
                self.cast.describe(member, word, facts, word if facts.role == "animal" else "human")
        return True

    def _begins_noun(self, index: int) -> bool:
        following = self.tokens[index + 1] if index + 1 < len(self.tokens) else None
        if following is None or following.kind != "word":
            return False
        low = following.low
        return low not in _STOP and low not in _DETERMINERS and not is_adverb(low) and low != "that"

    # Noun phrases

    def _phrase_start(self, index: int) -> tuple[int, str]:
        """First token of the noun phrase headed at `index`, and its determiner ("" if it has none)."""
        position = index - 1
        while position >= 0 and index - position <= 6:
            token = self.tokens[position]
            if token.kind != "word":
                if token.text == "," and self._low(position - 1) and index - position > 1:
                    position -= 1
                    continue
                break
            if token.low in _DETERMINERS or token.low.endswith(("'s", "s'")):
                return position, token.low
            if token.low in _STOP or (
                token.low in self._verbs.form
                and self._verbs.form[token.low] in ("past", "gerund", "present")
                and token.low not in self._verbs.nounlike
            ):
                break
            position -= 1
        return index, ""

    def _owner(self, first: int, determiner: str) -> tuple[int | None, bool]:
        """The figure behind "Lily's", "her", ... and whether it was named."""
        if determiner.endswith(("'s", "s'")):
            reference = self.refs.get(first)
            if reference is None:
                figure = self.cast.named(determiner.removesuffix("'s").removesuffix("'"))
                return (figure.id, True) if figure else (None, False)
            return reference.ids[0] if reference.ids else None, True
        if determiner not in _POSSESSIVE:
            return None, False
        gender = _POSSESSIVE[determiner]
        fitting = [
            f
            for f in self.cast.figures
            if not f.plural
            and f.role not in ("parent", "grandparent")
            and (gender is None or f.gender in (gender, None))
        ]
        if not fitting:
            return None, False
        best = max(
            fitting, key=lambda f: (f.role == "child", f.gender == gender, f.species != "thing", f.last)
        )
        return best.id, False

    def _noun(self, index: int, token: Token, facts: Noun) -> None:
        word = base_word(token)
        capital = token.text[0].isupper() and not self._initial(index)
        if self._low(index - 1) in _TOYS:
            facts = Noun("other", None, facts.plural, False)
        following = base_word(self.tokens[index + 1]) if index + 1 < len(self.tokens) else ""
        own = not token.low.endswith(("'s", "'"))
        if own and following in _COMPOUND:
            return
        next_facts = self._people.nouns.get(following)
        if (
            own
            and next_facts is not None
            and (
                next_facts.role == "animal"
                or facts.role == "animal"
                or following in ("girl", "boy", "man", "brother", "sister", "bird")
            )
        ):
            return  # "mama bear", "baby brother": the head is the next word
        first, determiner = self._phrase_start(index)
        modifier = (
            self._people.nouns.get(self._low(index - 1)) if index - 1 >= first or not determiner else None
        )
        modifier = modifier if self._low(index - 1) not in _TOYS and own else None
        species = "thing" if self._low(index - 1) in _TOYS else word if facts.role == "animal" else "human"
        if modifier is not None and modifier.family and facts.role == "animal":
            facts = Noun(modifier.role, modifier.gender, facts.plural, True)
            first = min(first, index - 1)
        bare = facts.role in ("parent", "grandparent") or facts.plural or capital or word == "santa"
        title = self._low(index - 1) == "." and self._low(index - 2) in self._people.titles
        if title or self._low(index - 1) in self._people.titles:
            first, bare = min(first, index - (2 if title else 1)), True
        if not determiner and not (bare or (token.text[0].isupper() and self._spoken_by(index))):
            return
        if facts.plural and word in self._verbs.form and not determiner:
            return
        owner, explicit = self._owner(first, determiner)
        figure = self._whose(index, word, facts, species, determiner, owner, explicit)
        if figure is None:
            return
        self._mention(index, first, figure)
        if owner is not None:
            self._tie(figure, self.cast.figures[owner], facts, word)
        self._naming(index, figure, facts, word, species, determiner)

    def _spoken_by(self, index: int) -> bool:
        following = self._low(index + 1)
        return (
            following in self._verbs.form
            or is_adverb(following)
            or following in ("did", "could", "and", "had")
        )

    def _whose(
        self,
        index: int,
        word: str,
        facts: Noun,
        species: str,
        determiner: str,
        owner: int | None,
        explicit: bool,
    ) -> Figure | None:
        """The figure that the noun phrase means: one already known, or a new one."""
        adult = facts.role in ("parent", "grandparent") and species == "human"
        if adult and determiner not in _NEW:
            return self.cast.kin(word, facts, owner, explicit) or self.cast.add(word, facts, "human")
        before_phrase = self._low(self._phrase_start(index)[0] - 1)
        if determiner in _NEW:
            if before_phrase in ("like", "as"):
                return None
            predicate = self._predicate_of(index)
            if predicate is not None:
                if not (facts.role == "other" and predicate.stated):
                    self.cast.describe(predicate, word, facts, species)
                return None
            if facts.plural and (known := self.cast.latest(word, facts)):
                return known
            return self.cast.add(word, facts, species)
        known = self.cast.latest(word, facts)
        if known is not None and (not explicit or known.owner in (None, owner)):
            return known
        return self.cast.add(word, facts, species)

    def _predicate_of(self, index: int) -> Figure | None:
        """Of "Max was a big dog" and "Max, a big dog,": Max."""
        first, _ = self._phrase_start(index)
        position = first - 1
        if self._low(position) == "," and position - 1 in self.refs and not self.refs[position - 1].pronoun:
            reference = self.refs[position - 1]
            following = self._low(index + 1)
            if (
                following in (",", ".", "who", "from")
                and self.cast.figures[reference.ids[0]].proper
                and not self._initial(position - 1)
            ):
                return self.cast.figures[reference.ids[0]]
            return None
        if self._low(position) not in ("was", "is"):
            return None
        reference = self.refs.get(position - 1)
        if reference is None or len(reference.ids) != 1 or self._low(position - 1) in ("it", "there"):
            return None
        return self.cast.figures[reference.ids[0]]

    def _tie(self, figure: Figure, owner: Figure, facts: Noun, word: str) -> None:
        if facts.role in ("parent", "grandparent"):
            self.cast.relate(figure, owner)
        elif word in (
            "son",
            "daughter",
            "children",
            "baby",
            "babies",
            "cub",
            "cubs",
            "child",
            "sons",
            "daughters",
        ) and (owner.role in ("other", "animal", "parent") and owner.species != "thing"):
            owner.role = "parent"
            self.cast.relate(owner, figure)
        elif word in ("girl", "boy") and owner.role == "parent":
            self.cast.relate(owner, figure)
        elif word in ("friend", "friends") and figure.owner is None:
            figure.owner = owner.id
            if owner.role in ("animal", "other") and figure.species == "human":
                figure.role, figure.species = owner.role, owner.species

    def _naming(
        self, index: int, figure: Figure, facts: Noun, word: str, species: str, determiner: str
    ) -> None:
        """ "a girl named Sue", "her friend, Max,", "his dog Spot", "two friends named Tim and Sally"."""
        position = index + 1
        if self._low(position) in ("was", "is", "who", "whose"):
            skip = {"was": 1, "is": 1, "who": 2, "whose": 1}[self._low(position)]
            if self._low(position + skip) in ("named", "called", "name"):
                position += skip
        if self._low(position) == "name" and self._low(position + 1) in ("was", "is"):
            position += 1
        introduced = self._low(position) in ("named", "called", "was", "is") and position > index
        introduced = introduced and (
            self._low(position) in ("named", "called") or self._low(position - 1) == "name"
        )
        if introduced and self._is_name(position + 1):
            self._take_name(position + 1, figure, facts, word, species)
        elif self._low(position) == "," and (determiner in _POSSESSIVE or determiner.endswith("'s")):
            closing = self._low(position + 2)
            if self._is_name(position + 1) and (
                closing in (",", ".", "to", "and") or closing in self._verbs.form
            ):
                self._take_name(position + 1, figure, facts, word, species)
            elif self._low(position + 1) in ("a", "an", "the"):
                self._apposition(position + 1, figure)
        elif (
            self._is_name(position)
            and own_phrase(self.tokens[index])
            and not figure.proper
            and (
                determiner in _POSSESSIVE
                or self.tokens[index].text[0].isupper()
                or facts.role == "other"
                or (determiner == "the" and not self._spoken_by(position))
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
                and self._low(index + 1) not in self._people.nouns
            ):
                word = base_word(self.tokens[index])
                figure.role = facts.role
                figure.species = word if facts.role == "animal" else "human"
                figure.gender = facts.gender
                figure.nouns.add(word)
                self.cast.describe(figure, word, facts, figure.species)
                self._mention(index, position, figure)
                self._naming(index, figure, facts, word, figure.species, "a")
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
            self._mention(index, index, known)
            return
        if figure.plural:
            first = self.cast.add_named(name, self.tokens[index].text)
            self._describe_member(first, figure, facts, word)
            self._mention(index, index, first)
            members = [first.id]
            position = index + 1
            while self._low(position) in (",", "and") and self._is_name(position + 1):
                other_name = base_word(self.tokens[position + 1])
                other = self.cast.named(other_name) or self.cast.add_named(
                    other_name, self.tokens[position + 1].text
                )
                self._describe_member(other, figure, facts, word)
                self._mention(position + 1, position + 1, other)
                members.append(other.id)
                position += 2
            self._group, self._group_at = tuple(members), index
            return
        self.cast.give_name(figure, name, self.tokens[index].text.removesuffix("'s").removesuffix("’s"))
        self._mention(index, index, figure)

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

    def _name(self, index: int, token: Token) -> None:
        word = base_word(token)
        figure = self.cast.named(word)
        if figure is None and self._low(index - 1) in ("named", "called") and self._thing_before(index - 2):
            figure = self.cast.add_thing(self._low(index - 2))
            self.cast.give_name(figure, word, token.text.removesuffix("'s").removesuffix("’s"))
        if figure is None:
            figure = self.cast.add_named(
                word, token.text.removesuffix("'s").removesuffix("’s").removesuffix("'")
            )
        first = index
        dot = self._low(index - 1) == "."
        title = self._low(index - (2 if dot else 1))
        if title in self._people.titles and not figure.stated:
            first = index - (2 if dot else 1)
            if title in ("mr", "mrs", "ms", "miss", "dr", "sir", "madam", "professor", "captain", "officer"):
                gender: Gender | None = (
                    "male" if title in ("mr", "sir") else "female" if title in ("mrs", "ms", "miss") else None
                )
                figure.role, figure.gender, figure.stated = "other", gender or figure.gender, True
        self._mention(index, first, figure)
        # "Sam the cat", "Max, the dog," and "Max the puppy".
        position = index + (2 if self._low(index + 1) == "," else 1)
        if own_phrase(token) and self._low(position) == "the" and not figure.stated:
            for head in range(position + 1, min(position + 4, len(self.tokens))):
                facts = self._people.nouns.get(self.tokens[head].low)
                if facts is not None:
                    self.cast.describe(
                        figure,
                        self.tokens[head].low,
                        facts,
                        self.tokens[head].low if facts.role == "animal" else "human",
                    )
                    self._mention(head, position, figure)
                    break

    def _thing_before(self, head: int) -> bool:
        """ "a train named ...": a noun that no lexicon of people and animals knows."""
        if head < 0 or head in self.refs or self.tokens[head].kind != "word" or self._low(head) in _STOP:
            return False
        return self._phrase_start(head)[1] in ("a", "an", "the", "his", "her", "one", "their") and not self._is_name(head)

    def _unknown_speaker(self, verb: int) -> None:
        """ "the star said": the star speaks, though no lexicon knows it."""
        head = verb - 1
        while head >= 0 and is_adverb(self._low(head)) and head not in self.refs:
            head -= 1
        if head >= 0 and self._low(head) in ("and", "then"):
            head = self._clause_subject(head)
        if head >= 0 and self.tokens[head].kind == "word" and head not in self.refs:
            first, determiner = self._phrase_start(head)
            if determiner in ("the", "a", "an", "his", "her") and first < head:
                self._thing(head, first)
        if self._low(verb + 1) == "the" and verb and self.tokens[verb - 1].kind in ("quote", "mark"):
            head = verb + 1
            while (
                head + 1 < len(self.tokens)
                and self.tokens[head + 1].kind == "word"
                and head - verb < 4
                and self._low(head + 1) not in _STOP
            ):
                head += 1
            if (
                head > verb + 1
                and self._people.nouns.get(base_word(self.tokens[head])) is None
                and not any(self._is_name(i) for i in range(verb + 2, head + 1))
            ):
                self._thing(head, verb + 1)

    def _clause_subject(self, joiner: int) -> int:
        """Of "the green machine was happy and said": the word before the clause's first verb, or -1."""
        start = joiner
        while start > 0 and self.tokens[start - 1].kind == "word":
            start -= 1
        if self._low(start) not in ("the", "a", "an", "his", "her"):
            return -1
        for index in range(start + 1, min(start + 5, joiner)):
            if index in self.refs:
                return -1
            if self._low(index + 1) in self._verbs.form and self._low(index + 1) not in self._verbs.nounlike:
                return index
        return -1

    def _thing(self, head: int, first: int) -> None:
        word = base_word(self.tokens[head])
        if (
            word in self._people.voices
            or word in self._people.unspoken
            or word in _STOP
            or word in self._verbs.lemma
        ):
            return
        figure = self.cast.latest(word, Noun("other", None, False, False)) or self.cast.add_thing(word)
        self._mention(head, first, figure)

    # Bookkeeping

    def _mention(self, head: int, first: int, figure: Figure) -> None:
        token = self.tokens[head]
        end = token.start + len(token.text.removesuffix("'s").removesuffix("’s"))
        figure.mentions.append(
            (self.tokens[first].start if not self._possessor(first, head) else token.start, end)
        )
        figure.aliases[token.text.removesuffix("'s").removesuffix("’s")] = None
        ids = (figure.id,)
        position = first - 1
        if self._low(position) == "and" and position - 1 in self.refs and not self.refs[position - 1].pronoun:
            earlier = self.refs[position - 1]
            ids = (*earlier.ids, figure.id)
            first = earlier.first
            self._group, self._group_at = tuple(dict.fromkeys(ids)), head
        elif figure.plural:
            self._group, self._group_at = ids, head
        self.refs[head] = Reference(tuple(dict.fromkeys(ids)), first, head)
        self.starts[first] = head
        self._touch(figure, head, first)

    def _possessor(self, first: int, head: int) -> bool:
        return first < head and self._low(first).endswith(("'s", "s'"))

    def _touch(self, figure: Figure, head: int, first: int) -> None:
        figure.last = head
        if self.tokens[head].low.endswith(("'s", "s'")):
            return
        following = head + 1
        while is_adverb(self._low(following)):
            following += 1
        low = self._low(following)
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
        if (
            leads
            and self._low(first - 1) not in _SUBJECT_BREAKERS
            and self._low(first - 1) not in self._verbs.form
        ):
            figure.subject_at = head

    # Pronouns

    def _pronoun(self, index: int, low: str) -> None:
        if low in ("they", "them"):
            ids = self._they(index)
            if ids:
                self.refs[index] = Reference(ids, index, index, pronoun=True)
                self.starts[index] = index
            return
        ranked = self._ranked(index, low)
        if not ranked:
            return
        best = ranked[0]
        certain = self._stands_out(index, ranked, low)
        others = tuple(figure.id for figure in ranked[1:])
        self.refs[index] = Reference((best.id,), index, index, pronoun=True, certain=certain, others=others)
        self.starts[index] = index
        if low in ("she", "he", "it"):
            if certain and best.gender is None and low != "it":
                best.gender = _HE_SHE[low]
            if certain or best.subject_at >= 0:
                self._touch(best, index, index)

    def _they(self, index: int) -> tuple[int, ...]:
        if self._group:
            return self._group
        recent = [
            f for f in self.cast.figures if not f.plural and f.species != "thing" and index - f.last < 60
        ]
        return tuple(f.id for f in recent) if 2 <= len(recent) <= 3 else ()

    def _ranked(self, index: int, low: str) -> list[Figure]:
        """Singular figures that the pronoun may mean, best first: known gender, then latest subject."""
        called = self._called(index)
        wanted = _HE_SHE.get(low, "female" if low == "her" else None)
        fitting = []
        for figure in self.cast.figures:
            if figure.plural or self._matches(figure, called):
                continue
            if wanted is None:
                if figure.role in ("animal", "other") and (
                    figure.species != "human" or figure.gender is None
                ):
                    fitting.append(figure)
            elif figure.gender == wanted or (figure.gender is None and figure.species != "thing"):
                fitting.append(figure)
            elif figure.gender is None and figure.species == "thing":
                fitting.append(figure)
        is_object = low in ("him", "her", "himself", "herself")
        return sorted(
            fitting,
            key=lambda f: (max(f.subject_at, f.last - 12) if not is_object else f.last, f.last),
            reverse=True,
        )

    def _called(self, index: int) -> frozenset[str]:
        """Vocatives of the quotes right before and right after the pronoun's clause."""
        words: frozenset[str] = frozenset()
        if index and self.tokens[index - 1].kind == "quote":
            words = self.vocatives[self.tokens[index - 1].quote]
        for position in range(index + 1, min(index + 12, len(self.tokens))):
            token = self.tokens[position]
            if token.kind == "quote":
                if index and self.tokens[index - 1].kind != "quote":
                    words = words | self.vocatives[token.quote]
                break
            if token.kind == "break" or token.text in ".!?":
                break
        return words

    def _matches(self, figure: Figure, called: frozenset[str]) -> bool:
        if not called:
            return False
        return (figure.proper is not None and figure.proper in called) or not called.isdisjoint(figure.nouns)

    def _stands_out(self, index: int, ranked: list[Figure], low: str) -> bool:
        best = ranked[0]
        rivals = [f for f in ranked[1:] if index - f.last < 80]
        if not rivals:
            return True
        wanted = _HE_SHE.get(low)
        if wanted is not None and best.gender == wanted and all(f.gender is None for f in rivals):
            return best.last >= max(f.last for f in rivals) or best.subject_at > max(
                f.subject_at for f in rivals
            )
        strongest = max(f.subject_at for f in rivals)
        return best.subject_at > strongest and best.subject_at >= max(f.last for f in rivals) - 12

    # Families

    def _families(self) -> None:
        """Friends of the child are children, young of a stated parent are children."""
        parents = {
            f.species for f in self.cast.figures if f.role == "parent" and f.species not in ("human", "thing")
        }
        for figure in self.cast.figures:
            if figure.role == "animal" and figure.species in parents and figure.owner is not None:
                figure.role = "child"


def own_phrase(token: Token) -> bool:
    """The word is not a possessor ("Lily's")."""
    return not token.low.endswith(("'s", "s'"))
