"""The cast of a story while it is read: who has been introduced, under which nouns and names."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from tinyalign.stories.annotation import Character, Gender, Role
from tinyalign.stories.lexicon import Noun, people

# So many figures stay in mind when a noun or a pronoun looks for its own.
_REMEMBERED = 40
_CHILD_NOUNS = frozenset({"girl", "boy", "child", "daughter", "son"})


def canonical(noun: str) -> str:
    """The noun under which a character is looked up ("mommy" -> "mother")."""
    return people().same.get(noun, noun)


@dataclass
class Figure:
    """A character in the making. `stated`: a noun of the story gave the role; otherwise it is a default.

    `last` is the token at which it was mentioned last, `subject_at` the token of the last clause it led.
    """

    id: int
    name: str
    role: Role
    gender: Gender | None
    species: str
    plural: bool
    nouns: set[str] = field(default_factory=set)
    proper: str | None = None
    aliases: dict[str, None] = field(default_factory=dict)
    mentions: list[tuple[int, int]] = field(default_factory=list)
    children: set[int] = field(default_factory=set)
    owner: int | None = None
    stated: bool = False
    last: int = -1
    subject_at: int = -1


class Cast:
    """All figures met so far, looked up by name, by noun, and by family relation."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self._order: dict[int, None] = {}
        self._by_name: dict[str, int] = {}

    def touch(self, figure: Figure) -> None:
        """The figure has just been mentioned."""
        self._order.pop(figure.id, None)
        self._order[figure.id] = None

    def recent(self) -> list[Figure]:
        """The figures mentioned last, latest first: all of any story's, bounded so that time stays linear."""
        return [self.figures[i] for i in islice(reversed(self._order), _REMEMBERED)]

    def named(self, name: str) -> Figure | None:
        """The figure with this lower-case proper name."""
        index = self._by_name.get(name)
        return None if index is None else self.figures[index]

    def add(self, noun: str, facts: Noun, species: str) -> Figure:
        """A new figure introduced by a noun."""
        # "friend" tells company, not kind: a later noun may still say what the friend is.
        stated = canonical(noun) not in ("friend", "friends")
        role = facts.role
        if not stated and self.figures and self.figures[0].role in ("animal", "other"):
            role, species = self.figures[0].role, self.figures[0].species
        figure = Figure(len(self.figures), noun, role, facts.gender, species, facts.plural, stated=stated)
        figure.nouns.add(canonical(noun))
        if facts.role == "child" and not facts.plural:
            figure.nouns.add("child")
        self.figures.append(figure)
        self.touch(figure)
        return figure

    def add_named(self, name: str, written: str) -> Figure:
        """A new figure of whom only the proper name is known: a child until the story says otherwise."""
        gender = people().names.get(name)
        figure = Figure(len(self.figures), written, "child", gender, "human", plural=False)
        self.figures.append(figure)
        self.touch(figure)
        self.give_name(figure, name, written)
        return figure

    def add_thing(self, noun: str) -> Figure:
        """A talking thing, or anybody whose noun no lexicon knows."""
        figure = Figure(len(self.figures), noun, "other", None, "thing", plural=False, stated=True)
        figure.nouns.add(noun)
        self.figures.append(figure)
        self.touch(figure)
        return figure

    def give_name(self, figure: Figure, name: str, written: str) -> None:
        """Let `name` stand for `figure` from here on."""
        self._by_name[name] = figure.id
        figure.proper, figure.name = name, written
        if figure.gender is None and figure.role in ("child", "other") and figure.species == "human":
            figure.gender = people().names.get(name)

    def describe(self, figure: Figure, noun: str, facts: Noun, species: str) -> None:
        """The story says that a figure known by name is a girl, a dog, a teacher ..."""
        figure.nouns.add(canonical(noun))
        if canonical(noun) in ("friend", "friends"):
            return
        if not figure.stated:
            figure.role, figure.species, figure.stated = facts.role, species, True
            if facts.role == "animal" and facts.gender is None:
                figure.gender = None
        if facts.gender is not None:
            figure.gender = facts.gender
        if facts.role == "child":
            figure.nouns.add("child")

    def latest(self, noun: str, facts: Noun) -> Figure | None:
        """The figure mentioned last that this noun can name again."""
        word = canonical(noun)
        best: Figure | None = None
        for figure in self.recent():
            if figure.plural != facts.plural:
                continue
            fits = word in figure.nouns
            if not fits and word in ("animal", "creature", "pet", "beast"):
                fits = figure.species not in ("human", "thing")
            if not fits and word in _CHILD_NOUNS and not figure.stated and figure.role == "child":
                fits = facts.gender is None or figure.gender == facts.gender
            if fits and (best is None or figure.last > best.last):
                best = figure
        return best

    def kin(self, noun: str, facts: Noun, owner: int | None, explicit: bool) -> Figure | None:
        """The mother, father, grandmother ... already known, of this owner if one is stated by name."""
        word = canonical(noun)
        known = [f for f in reversed(self.recent()) if word in f.nouns and f.plural == facts.plural]
        for figure in known:
            if owner is not None and (owner in figure.children or figure.owner == owner):
                return figure
        if explicit and owner is not None:
            free = [f for f in known if f.owner is None]
            return free[-1] if free else None
        return max(known, key=lambda f: f.last) if known else None

    def relate(self, parent: Figure, child: Figure) -> None:
        """Record a family tie; it outranks the species: an animal with a mother is a child."""
        if parent.id == child.id:
            return
        parent.children.add(child.id)
        parent.owner = child.id if parent.owner is None else parent.owner
        if child.role == "animal":
            child.role = "child"

    def characters(self) -> tuple[Character, ...]:
        """The frozen records."""
        return tuple(
            Character(
                id=figure.id,
                name=figure.name,
                role=figure.role,
                gender=figure.gender,
                species=figure.species,
                plural=figure.plural,
                aliases=tuple(alias for alias in figure.aliases if alias != figure.name),
                mentions=tuple(sorted(set(figure.mentions))),
                parent_of=tuple(sorted(figure.children)),
            )
            for figure in self.figures
        )
