"""To whom each quote is said: named in the tag, called in the quote, or the other one in the scene."""

from __future__ import annotations

import re

from tinyalign.stories.lexicon import people, word_set
from tinyalign.stories.turns import Scene, Turn

_TO = frozenset(("to", "at"))
# A cry to nobody in particular.
_EXCLAIMED = re.compile(r"(?:oh,? no|oh,? wow|ouch|ow\b|yuck|yum|help|ew+\b|wow|oops)")
# Tokens: how far apart two quotes of one conversation lie, and how far a scene reaches.
_NEAR_QUOTE, _SCENE = 60, 45
_DIRECT = word_set(
    "ask tell warn thank remind beg answer greet scold comfort reassure order command invite "
    "assure encourage request advise"
)


class Addressees:
    """Names the addressee of each turn whose speaker has been worked out."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._people = people()

    def address(self, number: int) -> None:
        turn = self.scene.turns[number]
        if turn.evidence == "silent":
            return
        named = self._named_addressee(turn) or self._called_figures(number, turn.speakers)
        if named:
            turn.addressees = named
            return
        called = self.scene.called[number]
        kin = [
            w
            for w in called
            if w in self._people.nouns and self._people.nouns[w].role in ("parent", "grandparent")
        ]
        if kin:
            turn.addressee_role = self._people.nouns[kin[0]].role
            return
        if (
            called & self._people.endearments
            and turn.speakers
            and self.scene.figures[turn.speakers[0]].role in ("parent", "grandparent")
        ):
            turn.addressee_role = "child"
        if turn.speakers and (partner := self._partner(number)):
            turn.addressees = partner
            return
        exclaimed = _EXCLAIMED.match(self.scene.texts[number].lower()) is not None
        if turn.speakers and turn.continues is None and not exclaimed:
            self._listener(turn)
        if turn.continues is not None and not turn.addressees:
            first = self.scene.turns[turn.continues]
            turn.addressees, turn.addressee_role = first.addressees, first.addressee_role

    def _partner(self, number: int) -> tuple[int, ...]:
        """Who speaks right before or right after this quote, if near and somebody else."""
        turns = self.scene.turns
        for other in (number - 1, number + 1):
            if 0 <= other < len(turns) and abs(turns[other].token - turns[number].token) < _NEAR_QUOTE:
                speakers = turns[other].speakers
                if speakers and speakers != turns[number].speakers:
                    return speakers
        return ()

    def _listener(self, turn: Turn) -> None:
        """Nobody answers: the other figure of the scene, if there is just one (or all are alike)."""
        refs = self.scene.page.refs
        nearby = range(max(0, turn.token - _SCENE), turn.token + _SCENE)
        ids = dict.fromkeys(i for head in nearby if head in refs for i in refs[head].ids)
        others = [self.scene.figures[i] for i in ids if i not in turn.speakers]
        others = [figure for figure in others if not figure.plural and figure.species != "thing"]
        if len(others) == 1:
            turn.addressees = (others[0].id,)
        else:
            turn.addressee_role = self.scene.shared_role(figure.id for figure in others)

    def _named_addressee(self, turn: Turn) -> tuple[int, ...]:
        """ "asked his mom", "said to Tom", "called out to the dog"."""
        if turn.tag is None or self.scene.page.low(turn.tag + 1) == ":":
            return ()
        lemma = self.scene.clauses.lemma(turn.tag)
        stop = turn.token if not turn.after else min(turn.tag + 14, len(self.scene.tokens))
        for index in range(turn.tag + 1, stop):
            token = self.scene.tokens[index]
            if token.kind in ("quote", "break") or token.text in ".!?" or (turn.after and token.text == ","):
                break
            head = self.scene.page.starts.get(index)
            if (
                head is None
                or self.scene.page.refs[head].ids == turn.speakers
                or self.scene.page.low(head).endswith("'s")
            ):
                continue
            reference = self.scene.page.refs[head]
            direct = index == turn.tag + 1 and lemma in _DIRECT
            if direct or self.scene.page.low(index - 1) in _TO:
                if reference.pronoun and not reference.certain:
                    ids = [i for i in (*reference.ids, *reference.others) if i not in turn.speakers]
                    return (ids[0],) if ids and len({self.scene.figures[i].role for i in ids}) == 1 else ()
                return tuple(i for i in reference.ids if i not in turn.speakers)
        return ()

    def _called_figures(self, number: int, speakers: tuple[int, ...]) -> tuple[int, ...]:
        called = self.scene.called[number]
        if not called:
            return ()
        found = [f for f in self.scene.called_figures(number) if f.id not in speakers]
        named = [f for f in found if f.proper in called]
        found = named or found
        if len(found) > 1 and not named:
            found = [max(found, key=lambda f: f.last)]
        return tuple(figure.id for figure in found)
