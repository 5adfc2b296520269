"""Narrated events in order: who did what to whom, or did not, and what was only wanted or feared."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from tinyalign.stories.annotation import Event
from tinyalign.stories.clauses import AUXILIARIES, Clauses
from tinyalign.stories.lexicon import verbs, word_set
from tinyalign.stories.page import Reference, is_adverb
from tinyalign.stories.turns import Turn

_NEGATIONS = word_set(
    "not never didn't don't doesn't couldn't can't cannot wouldn't won't shouldn't mustn't hadn't "
    "hasn't haven't wasn't weren't isn't aren't"
)
_MODALS = {
    "could": "could", "couldn't": "could", "can": "can", "can't": "can", "cannot": "can",
    "would": "would", "wouldn't": "would", "will": "will", "won't": "will",
    "should": "should", "shouldn't": "should", "must": "must", "mustn't": "must",
    "might": "might", "may": "may",
}  # fmt: skip
_DO_AUXILIARY = frozenset(("did", "do", "does", "didn't", "don't", "doesn't"))
_UNREAL = frozenset(("wish", "hope", "think", "imagine", "dream", "pretend", "want", "believe"))
_NO_LONGER_OBJECT = frozenset(
    (
        "that",
        "because",
        "so",
        "but",
        "when",
        "if",
        "and",
        "who",
        "which",
        "until",
        "while",
        "what",
        "how",
        "where",
        "why",
    )
)


@dataclass
class _Draft:
    """An event whose order is not fixed yet; `place` is the token of its main verb."""

    place: int
    first: int
    lemma: str
    subjects: tuple[int, ...]
    object: int | None
    object_text: str
    negated: bool
    modal: str
    complement: str
    governor: str
    realised: bool
    passive: bool
    quote: int | None


class EventReader:
    """Turns finite verbs and the verbs they govern into `Event` records."""

    def __init__(self, text: str, clauses: Clauses, turns: list[Turn], sentence_starts: list[int]) -> None:
        self.text, self.clauses, self.turns = text, clauses, turns
        self.tokens, self.refs, self.starts = clauses.tokens, clauses.refs, clauses.page.starts
        self._verbs = verbs()
        self._sentence_starts = sentence_starts
        self._tags = {
            turn.tag: number for number, turn in reversed(list(enumerate(turns))) if turn.tag is not None
        }

    def read(self) -> tuple[Event, ...]:
        """All events in the order of the text."""
        drafts: list[_Draft] = []
        for place in sorted(
            {*self.clauses.subjects, *(tag for tag in self._tags if self.clauses.lemma(tag))}
        ):
            if not self._auxiliary(place):
                drafts.extend(self._finite(place))
        return tuple(self._event(order, draft) for order, draft in enumerate(drafts))

    def _event(self, order: int, draft: _Draft) -> Event:
        start, end = self.tokens[draft.first].start, self.tokens[draft.place].end
        return Event(
            verb=self.text[start:end],
            lemma=draft.lemma,
            subjects=draft.subjects,
            object=draft.object,
            object_text=draft.object_text,
            negated=draft.negated,
            start=start,
            end=end,
            sentence=max(0, bisect_right(self._sentence_starts, start) - 1),
            order=order,
            modal=draft.modal,
            complement=draft.complement,
            governor=draft.governor,
            realised=draft.realised,
            passive=draft.passive,
            quote=draft.quote,
        )

    def _low(self, index: int) -> str:
        return self.clauses.low(index)

    def _skip_adverbs(self, index: int) -> int:
        while is_adverb(self._low(index)) or self._low(index) in ("not", "never"):
            index += 1
        return index

    def _auxiliary(self, place: int) -> bool:
        """A form of be, have or do in front of another verb of its group."""
        lemma, low = self.clauses.lemma(place), self._low(place)
        following = self._skip_adverbs(place + 1)
        form = self._verbs.form.get(self._low(following), "")
        if lemma == "be":
            return form == "gerund" or (form in ("participle", "past") and following in self.clauses.subjects)
        if low in ("had", "has", "have"):
            return form in ("past", "participle") and following not in self.refs
        return low in _DO_AUXILIARY and form in ("base", "participle") and following not in self.refs

    def _group(self, place: int) -> tuple[int, bool, str, bool]:
        """First token of the verb group, negation, modal and passive voice."""
        first, negated, modal, passive = place, False, "", False
        index = place - 1
        while (
            index >= 0
            and index not in self.refs
            and (
                self._low(index) in AUXILIARIES
                or is_adverb(self._low(index))
                or self._low(index) in ("been", "got")
            )
        ):
            low = self._low(index)
            negated = negated or low in _NEGATIONS
            modal = _MODALS.get(low, modal)
            if low in (
                "was",
                "were",
                "is",
                "are",
                "been",
                "got",
                "wasn't",
                "weren't",
            ) and self._verbs.form.get(self._low(place)) in ("past", "participle"):
                passive = True
            first = index if low not in ("then", "also", "finally", "soon", "now") or first < place else first
            index -= 1
        if self.clauses.lemma(place) == "be" and self._low(place + 1) in ("not", "never"):
            negated = True
        if self._low(place) in _NEGATIONS:
            negated = True
        return first, negated, modal, passive

    def _subjects(self, place: int) -> tuple[int, ...]:
        number = self._tags.get(place)
        if number is not None and self.turns[number].speakers:
            return self.turns[number].speakers
        reference = self.clauses.subjects.get(place)
        return self._sure(reference)

    def _sure(self, reference: Reference | None) -> tuple[int, ...]:
        """Ids of the reference, () where a pronoun stays ambiguous between two of the same sex."""
        if reference is None:
            return ()
        if reference.pronoun and not reference.certain and reference.others:
            figures = self.clauses.page.cast.figures
            best = figures[reference.ids[0]]
            same = [
                figures[i]
                for i in reference.others
                if figures[i].gender == best.gender and abs(figures[i].subject_at - best.subject_at) < 4
            ]
            if same:
                return ()
        return reference.ids

    def _finite(self, place: int) -> list[_Draft]:
        first, negated, modal, passive = self._group(place)
        subjects = self._subjects(place)
        realised = not (modal and not negated)
        if self._supposed(place):
            realised = False
        draft = self._draft(place, first, subjects, negated, modal, "", realised, passive)
        return [draft, *self._governed(draft, depth=0)]

    def _supposed(self, place: int) -> bool:
        """Under "if", or what somebody only wished, hoped or thought."""
        reference = self.clauses.subjects.get(place)
        first = reference.first if reference is not None and reference.first < place else place
        before = first - 1
        if self._low(before) in ("if", "whether", "unless"):
            return True
        if self._low(before) == "that":
            before -= 1
        return before in self.clauses.subjects and self.clauses.lemma(before) in _UNREAL and before < place

    def _draft(
        self,
        place: int,
        first: int,
        subjects: tuple[int, ...],
        negated: bool,
        modal: str,
        governor: str,
        realised: bool,
        passive: bool,
    ) -> _Draft:
        reference, object_text = self._object(place)
        ids = self._sure(reference)
        return _Draft(
            place, first, self.clauses.lemma(place), subjects, ids[0] if len(ids) == 1 else None,
            object_text, negated, modal, "", governor, realised, passive, self._tags.get(place),
        )  # fmt: skip

    def _object(self, place: int) -> tuple[Reference | None, str]:
        """The first noun phrase behind the verb, and the words up to the end of the clause."""
        stop = place + 1
        found: Reference | None = None
        while stop < len(self.tokens) and stop < place + 16:
            token = self.tokens[stop]
            if token.kind in ("break", "quote") or (token.kind == "mark" and token.text in ".,!?;:…"):
                break
            if (
                stop > place + 1
                and (token.low in _NO_LONGER_OBJECT or stop in self.clauses.subjects)
                and not (
                    token.low == "and"
                    and stop + 1 in self.starts
                    and self._low(self.starts[stop + 1] + 1) not in self._verbs.form
                )
            ):
                break
            head = self.starts.get(stop)
            if head is not None and found is None and not self._low(head).endswith("'s"):
                found = self.refs[head]
            stop += 1
        if stop == place + 1:
            return None, ""
        return found, self.text[self.tokens[place + 1].start : self.tokens[stop - 1].end]

    def _governed(self, above: _Draft, depth: int) -> list[_Draft]:
        """The infinitive or gerund under a verb: "started to cry", "kept jumping", "told him not to go"."""
        if depth > 2:
            return []
        index = above.place + 1
        actor: tuple[int, ...] | None = None
        head = self.starts.get(index)
        if head is not None and above.lemma in self._verbs.object_control:
            actor = self._sure(self.refs[head])
            index = head + 1
        while is_adverb(self._low(index)) or (
            self._low(index) in ("up", "out", "back", "over", "on", "down", "inside", "outside", "away", "in")
            and above.lemma in ("keep", "go", "come", "run", "hurry", "sit")
        ):
            index += 1
        negated = self._low(index) in ("not", "never")
        index += negated
        form = self._verbs.form.get(self._low(index), "")
        if self._low(index) == "to":
            index = self._skip_adverbs(index + 1)
            if (
                self._verbs.form.get(self._low(index)) not in ("base", "past", "participle")
                or index in self.refs
            ):
                return []
        elif form == "gerund" and index == above.place + 1 + negated and self.clauses.lemma(index) != "be":
            pass
        elif not (
            above.lemma in ("let", "make", "help", "see", "hear", "watch")
            and actor is not None
            and form == "base"
            and index not in self.refs
        ):
            return []
        if self._low(index) in ("saying", "asking", "crying") and above.lemma in ("say", "reply"):
            return []
        above.complement = self.clauses.lemma(index)
        ends = above.lemma in ("stop", "quit", "avoid") and form == "gerund"
        if ends:
            realised, turned = above.realised and above.negated, False
        else:
            realised, turned = above.realised and above.lemma in self._verbs.implicative, above.negated
        draft = self._draft(
            index,
            index,
            above.subjects if actor is None else actor,
            negated or (turned and realised),
            "",
            above.lemma,
            realised,
            False,
        )
        return [draft, *self._governed(draft, depth + 1)]
