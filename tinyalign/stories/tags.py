"""Tags: "said Tim", "her mom asked,", and the like, before and behind a quote."""

from __future__ import annotations

from tinyalign.stories.cast import Figure
from tinyalign.stories.lexicon import people, verbs, word_set
from tinyalign.stories.page import Reference, is_adverb
from tinyalign.stories.turns import Scene

_FIRM = word_set(
    "say ask reply shout yell whisper exclaim answer respond scream call tell mumble murmur mutter"
)
_NOT_WRITTEN = word_set("word words book box story")
_NONFINITE = word_set("say saying call asking shouting crying whispering calling whisper thinking")


class Tags:
    """Finds the tag of each quote and names the speaker by it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._people = people()
        self._verbs = verbs()

    def introduced(self, place: int) -> bool:
        """The words before the quote end in "said," or "said to her:" and so belong to it."""
        return self.scene.page.low(place - 1) in (",", ":") and self.scene.tokens[place - 1].kind == "mark"

    def _speech(self, index: int) -> bool:
        return (
            self.scene.clauses.lemma(index) in self._verbs.speech
            and self._verbs.form.get(self.scene.page.low(index)) != "gerund"
        )

    def after(self, number: int) -> None:
        turn = self.scene.turns[number]
        position = turn.token + 1
        if self.scene.page.low(position) in (",", ".", "!", "?"):
            if self.scene.page.low(position) in (".", "!", "?"):
                return
            position += 1
        if position >= len(self.scene.tokens) or self.scene.tokens[position].kind != "word":
            return
        verb, reference = self._verb_and_subject(position)
        if verb is None or self._introduces_next(number, verb, reference):
            return
        if self.scene.texts[number][-1] == "." and not self._firm(verb):
            return
        if (
            self.scene.texts[number][-1] in "!?"
            and not self._firm(verb)
            and self.scene.page.low(verb + 1) in (",", "and")
        ):
            return
        turn.tag, turn.after = verb, True
        self._speak(number, reference, "tag after")

    def _firm(self, verb: int) -> bool:
        return self.scene.clauses.lemma(verb) in _FIRM

    def _verb_and_subject(self, position: int) -> tuple[int | None, Reference | None]:
        start = position
        while is_adverb(self.scene.page.low(position)) and position not in self.scene.page.starts:
            position += 1
        if self._speech(position):
            head = self.scene.page.starts.get(position + 1)
            if head is not None and self.scene.clauses.lemma(position) != "tell":
                reference = self.scene.page.refs[head]
                if self.scene.page.low(head + 1) == "and" and head + 2 in self.scene.page.starts:
                    reference = self.scene.page.refs.get(self.scene.page.starts[head + 2], reference)
                return position, reference
            return (position, None) if start == position else (None, None)
        head = self.scene.page.starts.get(position)
        if head is None:
            return self._unknown_noun(position)
        if self.scene.page.low(head).endswith(("'s", "s'")):
            return self._unknown_noun(position)
        while True:
            following = head + 1
            if self.scene.page.low(following) == "and" and following + 1 in self.scene.page.starts:
                head = self.scene.page.starts[following + 1]
            elif self.scene.page.low(following) == "," and following + 1 in self.scene.page.starts:
                inner = self.scene.page.starts[following + 1]
                if self.scene.page.low(inner + 1) != ",":
                    break
                head = inner + 1
            else:
                break
        reference = self.scene.page.refs.get(head) or self.scene.page.refs[self.scene.page.starts[position]]
        verb = head + 1
        while is_adverb(self.scene.page.low(verb)) or self.scene.page.low(verb) in (
            "had",
            "both",
            "was",
            "all",
            ",",
        ):
            verb += 1
        if self._speech(verb):
            return verb, reference
        # "Tom nodded and said." behind the quote, and "Timmy said" with a short clause between
        for later in range(verb + 1, min(verb + 8, len(self.scene.tokens))):
            if self.scene.tokens[later].kind != "word":
                break
            if (
                self.scene.page.low(later) in ("said", "asked", "replied")
                and self.scene.page.low(later - 1) == "and"
            ):
                return later, reference
        return None, None

    def _unknown_noun(self, position: int) -> tuple[int | None, Reference | None]:
        """ "a voice said": a tag whose subject is nobody we know."""
        for verb in range(position + 1, min(position + 5, len(self.scene.tokens))):
            if self.scene.tokens[verb].kind != "word":
                break
            if self.scene.page.low(verb) in ("said", "asked", "replied", "says", "asks"):
                return verb, None
        return None, None

    def _introduces_next(self, number: int, verb: int, reference: Reference | None) -> bool:
        """`"Yes." Sam said, "No."`: the tag belongs to the quote behind it."""
        turn = self.scene.turns[number]
        if number + 1 >= len(self.scene.turns):
            return False
        following = self.scene.turns[number + 1].token
        between = self.scene.tokens[verb + 1 : following]
        if any(token.kind in ("break", "quote") or token.text in ".!?" for token in between):
            return False
        said = self.scene.texts[number]
        if said[-1] in ",-\u2013\u2014" or self.scene.page.low(turn.token + 1) == ",":
            return False
        inverted = reference is None or reference.first > verb
        ending = between[-1].text if between else ""
        return ending in (",", ":", "") and not inverted

    def before(self, number: int) -> None:
        turn = self.scene.turns[number]
        position = turn.token - 1
        if position > 0 and self.scene.tokens[position].kind == "break":
            position -= 1
            if self.scene.page.low(position) == "." and self.scene.clauses.lemma(position - 1) in _FIRM:
                position -= 1  # `Dad says.` on a line of its own
            elif self.scene.page.low(position) not in (":", ","):
                return
        if position < 0 or self.scene.tokens[position].kind in ("break", "quote"):
            return
        last = self.scene.tokens[position]
        if (
            last.text == ":"
            and position - 1 in self.scene.page.refs
            and (
                position < 2
                or self.scene.tokens[self.scene.page.refs[position - 1].first - 1].kind == "break"
                or self.scene.page.refs[position - 1].first == 0
            )
        ):
            turn.tag = position - 1
            self._speak(number, self.scene.page.refs[position - 1], "script")
            return
        if last.kind == "mark" and last.text not in ",:-\u2013\u2014;":
            return
        loose = last.kind == "word"
        if last.low in ("called", "named"):
            turn.silent = True  # `a game called "match"`
            return
        verb = self._last_speech_verb(position, loose)
        if verb is None:
            if not loose or last.low in ("that", "it"):
                turn.silent = turn.silent or last.low in self._people.unspoken
            return
        before = self.scene.turns[number - 1] if number else None
        if before is not None and before.after and before.tag == verb:
            # `"No!" said Kim, "I want it."`: one turn.
            turn.tag, turn.continues, turn.evidence = verb, number - 1, "same turn"
            turn.speakers, turn.role = before.speakers, before.role
            return
        turn.tag = verb
        reference = self.scene.clauses.subjects.get(verb)
        if self._unspoken_subject(verb, reference):
            turn.silent = True
            return
        if reference is None and self.scene.page.low(verb) in _NONFINITE:
            reference = self._nonfinite_subject(verb)
        self._speak(number, reference, "tag before")

    def _last_speech_verb(self, position: int, loose: bool) -> int | None:
        for index in range(position, max(-1, position - 26), -1):
            token = self.scene.tokens[index]
            if token.kind in ("break", "quote") or token.text in ".!?":
                if token.text == "." and self.scene.page.low(index - 1) in ("mr", "mrs", "ms", "dr"):
                    continue
                return None
            if token.kind != "word" or self.scene.clauses.lemma(index) not in self._verbs.speech:
                continue
            lemma = self.scene.clauses.lemma(index)
            if loose and lemma not in (
                "say",
                "ask",
                "reply",
                "shout",
                "yell",
                "whisper",
                "answer",
                "cry",
                "exclaim",
                "call",
            ):
                continue
            if loose and index != position and not self._addressed_only(index, position):
                continue
            finite = index in self.scene.clauses.subjects
            if finite or token.low in _NONFINITE:
                return index
        return None

    def _addressed_only(self, verb: int, position: int) -> bool:
        return all(
            self.scene.page.low(i) in ("to", "the", "his", "her", "out", "back")
            or i in self.scene.page.refs
            or is_adverb(self.scene.page.low(i))
            for i in range(verb + 1, position + 1)
        )

    def _unspoken_subject(self, verb: int, reference: Reference | None) -> bool:
        words = [self.scene.page.low(i) for i in range(max(0, verb - 6), verb)]
        for word in reversed(words):
            if word in self._people.unspoken:
                return True
            if word in (".", "!", "?", "and", ","):
                break
        if reference is not None and reference.pronoun and self.scene.page.low(reference.head) == "it":
            earlier = {token.low for token in self.scene.tokens[max(0, verb - 30) : verb]}
            written = earlier & (self._people.unspoken - _NOT_WRITTEN)
            if not written:
                return False
            spoken = self.scene.page.cast.figures[reference.ids[0]].mentions if reference.ids else []
            heard = max((start for start, _ in spoken if start < self.scene.tokens[verb].start), default=-1)
            seen = max(
                token.start for token in self.scene.tokens[max(0, verb - 30) : verb] if token.low in written
            )
            return seen > heard
        return False

    def _nonfinite_subject(self, verb: int) -> Reference | None:
        """ "smiled at her, saying": the subject of the verb before; "heard a bird say": the bird."""
        previous = verb - 1
        while is_adverb(self.scene.page.low(previous)):
            previous -= 1
        if previous in self.scene.page.refs and self.scene.page.low(verb) in ("say", "call", "whisper"):
            return self.scene.page.refs[previous]
        for index in range(verb - 1, max(-1, verb - 25), -1):
            if self.scene.tokens[index].kind in ("break", "quote"):
                return None
            if self.scene.clauses.subjects.get(index) is not None:
                return self.scene.clauses.subjects[index] if self.scene.page.low(verb) != "say" else None
        return None

    def _speak(self, number: int, reference: Reference | None, evidence: str) -> None:
        turn = self.scene.turns[number]
        if reference is None or not reference.ids:
            return
        turn.evidence = evidence
        if not reference.pronoun:
            turn.speakers = reference.ids
            return
        turn.evidence = "pronoun " + evidence.removeprefix("tag ")
        if len(reference.ids) > 1:
            turn.speakers = reference.ids
            return
        options: list[int] = [
            i
            for i in (*reference.ids, *reference.others)
            if not self.scene.is_called(self.scene.figures[i], number)
        ]
        if not options:
            turn.evidence = ""
            return
        best = options[0]
        first = self.scene.figures[best]
        if (best in reference.ids and reference.certain) or len(options) == 1:
            turn.speakers = (best,)
        else:
            turn.role = self.scene.shared_role(options)
            if turn.role is not None:
                return
            if best in reference.ids and self._leads(first, options[1:]):
                turn.speakers = (best,)
            elif self.scene.childish(number) and first.role != "parent":
                turn.role = "child" if first.role == "child" else None
            turn.evidence = turn.evidence if turn.speakers or turn.role else ""

    def _leads(self, first: Figure, others: list[int]) -> bool:
        """The best candidate led the latest clause, and no rival of known sex did."""
        rivals = [self.scene.figures[i] for i in others]
        return all(first.subject_at > rival.subject_at for rival in rivals)
