"""Pronouns: the figure that "she" means, with the other candidates, and whether one stands out."""

from __future__ import annotations

from tinyalign.stories.annotation import Gender
from tinyalign.stories.cast import Figure
from tinyalign.stories.page import Page, Reference

HE_SHE: dict[str, Gender] = {
    "he": "male", "him": "male", "himself": "male", "she": "female", "herself": "female",
}  # fmt: skip

# In tokens: how far a mention that led no clause falls behind one that did, and the lead of a known sex.
_OBJECT_RANK, _KNOWN_SEX = 12, 10


class Pronouns:
    """Reads he, she, it, they and their object forms.

    `vocatives[q]` are the names and nouns that quote q calls somebody by: its speaker is not them.
    """

    def __init__(self, page: Page, vocatives: list[frozenset[str]]) -> None:
        self.page = page
        self.tokens, self.cast, self.refs, self.starts = page.tokens, page.cast, page.refs, page.starts
        self.vocatives = vocatives

    def read(self, index: int, low: str) -> None:
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
                best.gender = HE_SHE[low]
            if certain or best.subject_at >= 0:
                self.page.touch(best, index, index)

    def _they(self, index: int) -> tuple[int, ...]:
        if self.page.group:
            return self.page.group
        recent = [
            f for f in self.cast.recent() if not f.plural and f.species != "thing" and index - f.last < 60
        ]
        return tuple(f.id for f in recent) if 2 <= len(recent) <= 3 else ()

    def _ranked(self, index: int, low: str) -> list[Figure]:
        """Singular figures that the pronoun may mean, best first: known gender, then latest subject."""
        called = self._called(index)
        wanted = HE_SHE.get(low, "female" if low == "her" else None)
        fitting = []
        for figure in sorted(self.cast.recent(), key=lambda f: f.id):
            if figure.plural or self._matches(figure, called):
                continue
            if wanted is None:
                if figure.role in ("animal", "other") and (
                    figure.species != "human" or figure.gender is None
                ):
                    fitting.append(figure)
            elif figure.gender in (wanted, None):
                fitting.append(figure)
        if wanted is not None:
            # A thing is "she" only where nobody else can be.
            fitting = [figure for figure in fitting if figure.species != "thing"] or fitting
        is_object = low in ("him", "her", "himself", "herself")

        def weight(figure: Figure) -> tuple[int, int]:
            known = _KNOWN_SEX if wanted is not None and figure.gender == wanted else 0
            place = figure.last if is_object else max(figure.subject_at, figure.last - _OBJECT_RANK)
            return place + known, figure.last

        return sorted(fitting, key=weight, reverse=True)

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
        wanted = HE_SHE.get(low)
        if wanted is not None and best.gender == wanted and all(f.gender is None for f in rivals):
            return best.last >= max(f.last for f in rivals) or best.subject_at > max(
                f.subject_at for f in rivals
            )
        strongest = max(f.subject_at for f in rivals)
        return best.subject_at > strongest and best.subject_at >= max(f.last for f in rivals) - 12
