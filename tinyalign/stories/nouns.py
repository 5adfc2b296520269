"""Noun phrases with a noun the lexicon knows: whom they mean, and what they tell about them."""

from __future__ import annotations

from tinyalign.stories.annotation import Gender
from tinyalign.stories.cast import Figure
from tinyalign.stories.lexicon import Noun, people, verbs
from tinyalign.stories.naming import Naming
from tinyalign.stories.page import COMPANY, COMPOUND, NEW, PRAISE, PREPOSITIONS, TOYS, Page, base_word
from tinyalign.stories.text import Token

_POSSESSIVE: dict[str, Gender | None] = {"his": "male", "her": "female", "their": None, "its": None}


class Nouns:
    """Reads nouns such as "a little girl", "her mom", "the big dog"."""

    def __init__(self, page: Page, names: Naming) -> None:
        self.page = page
        self.tokens, self.cast, self.refs, self.starts = page.tokens, page.cast, page.refs, page.starts
        self._people, self._verbs = people(), verbs()
        self._names = names

    def read(self, index: int, token: Token, facts: Noun) -> None:
        word = base_word(token)
        capital = token.text[0].isupper() and not self.page.initial(index)
        if self.page.low(index - 1) in TOYS:
            facts = Noun("other", None, facts.plural, False)
        following = base_word(self.tokens[index + 1]) if index + 1 < len(self.tokens) else ""
        own = not token.low.endswith(("'s", "'"))
        if own and following in COMPOUND:
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
        first, determiner = self.page.phrase_start(index)
        modifier = (
            self._people.nouns.get(self.page.low(index - 1)) if index - 1 >= first or not determiner else None
        )
        modifier = modifier if self.page.low(index - 1) not in TOYS and own else None
        species = "thing" if self.page.low(index - 1) in TOYS else word if facts.role == "animal" else "human"
        if modifier is not None and modifier.family and facts.role == "animal":
            facts = Noun(modifier.role, modifier.gender, facts.plural, True)
            first = min(first, index - 1)
        bare = facts.role in ("parent", "grandparent") or facts.plural or capital or word == "santa"
        title = self.page.low(index - 1) == "." and self.page.low(index - 2) in self._people.titles
        if title or self.page.low(index - 1) in self._people.titles:
            first, bare = min(first, index - (2 if title else 1)), True
        if not determiner and not (bare or (token.text[0].isupper() and self.page.acts_next(index))):
            return
        if facts.plural and word in self._verbs.form and not determiner:
            return
        owner, explicit = self._owner(first, determiner)
        figure = self._whose(index, word, facts, species, determiner, owner, explicit)
        if figure is None:
            return
        self.page.mention(index, first, figure)
        if owner is not None:
            self._tie(figure, self.cast.figures[owner], facts, word)
        self._names.introduce(index, figure, facts, word, species, determiner)

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
        if adult and determiner not in NEW:
            return self.cast.kin(word, facts, owner, explicit) or self.cast.add(word, facts, "human")
        before_phrase = self.page.low(self.page.phrase_start(index)[0] - 1)
        if determiner in NEW:
            if before_phrase in ("like", "as"):
                return None
            predicate = self._predicate_of(index)
            if predicate is not None:
                if word not in PRAISE and not (facts.role == "other" and predicate.stated):
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
        first, _ = self.page.phrase_start(index)
        position = first - 1
        if (
            self.page.low(position) == ","
            and position - 1 in self.refs
            and not self.refs[position - 1].pronoun
        ):
            reference = self.refs[position - 1]
            following = self.page.low(index + 1)
            if (
                following in (",", ".", "who", "from")
                and self.cast.figures[reference.ids[0]].proper
                and not self.page.initial(position - 1)
            ):
                return self.cast.figures[reference.ids[0]]
            return None
        if self.page.low(position) not in ("was", "is"):
            return None
        reference = self.refs.get(position - 1)
        if reference is None or len(reference.ids) != 1 or self.page.low(position - 1) in ("it", "there"):
            return None
        return self.cast.figures[reference.ids[0]]

    def read_plural_predicate(self, index: int, facts: Noun) -> bool:
        """ "Ben and Mia are (two) fish": both are."""
        verb = index - 1
        while (
            verb > 0
            and self.page.low(verb) not in ("are", "were")
            and index - verb < 4
            and self.tokens[verb].kind == "word"
        ):
            verb -= 1
        reference = self.refs.get(verb - 1)
        between = {self.page.low(i) for i in range(verb + 1, index)}
        if (
            self.page.low(verb) not in ("are", "were")
            or between & (PREPOSITIONS | {"the"})
            or reference is None
            or len(reference.ids) < 2
            or facts.role == "other"
        ):
            return False
        word = base_word(self.tokens[index])
        for member in (self.cast.figures[i] for i in reference.ids):
            if not member.stated and word not in COMPANY:
                self.cast.describe(member, word, facts, word if facts.role == "animal" else "human")
        return True

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
            for f in self.cast.recent()
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
