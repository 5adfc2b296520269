"""Who says each quote, and to whom: tags, pronouns, the same turn going on, beats, alternation. Else abstain."""

from __future__ import annotations

from dataclasses import dataclass

from tinyalign.stories.annotation import Role
from tinyalign.stories.cast import Figure
from tinyalign.stories.clauses import Clauses
from tinyalign.stories.lexicon import people, verbs
from tinyalign.stories.reader import Reader, Reference, is_adverb
from tinyalign.stories.text import Token, words_of

_GREETINGS = frozenset(
    "hi hello hey bye goodbye thank thanks you yes no okay ok sure sorry oh please wow dear welcome morning night look well "
    "bye-bye good stop ouch help come wait".split()
)
_FIRM = frozenset(
    "say ask reply shout yell whisper exclaim answer respond scream call tell mumble murmur mutter".split()
)
_TO = frozenset(("to", "at"))
_CHILDISH = frozenset(("mother", "father", "grandmother", "grandfather"))


@dataclass
class Turn:
    """What is known of one quote while speakers are worked out. `tag` is the verb that introduces it."""

    token: int
    speakers: tuple[int, ...] = ()
    role: Role | None = None
    addressees: tuple[int, ...] = ()
    addressee_role: Role | None = None
    evidence: str = ""
    tag: int | None = None
    after: bool = False
    continues: int | None = None
    silent: bool = False


def vocatives(text: str, start: int, end: int) -> frozenset[str]:
    """Lower-case words in the quote `text[start:end]` by which somebody is called: "Mom, look!", "Hi, little bird"."""
    lexicon = people()
    words = words_of(text, start, end)
    called: set[str] = set()
    for index, token in enumerate(words):
        if token.kind != "word":
            continue
        low = token.low
        noun = lexicon.nouns.get(low)
        name = token.text[0].isupper() and low not in lexicon.not_names
        if not (name or noun is not None or low in lexicon.endearments):
            continue
        following = words[index + 1].text if index + 1 < len(words) else "."
        if following not in ",.!?…" and not (following in ("and", "please")):
            continue
        first = index
        while (
            first > 0
            and words[first - 1].kind == "word"
            and words[first - 1].low
            in (
                "little",
                "my",
                "dear",
                "scary",
                "old",
                "big",
                "mr",
                "mrs",
                "sweet",
                "silly",
                "good",
                "kind",
                "friendly",
                "poor",
            )
        ):
            first -= 1
        if first >= 2 and words[first - 1].text == "." and words[first - 2].low in ("mr", "mrs", "ms", "dr"):
            first -= 2
        before = words[first - 1] if first > 0 else None
        opening = (
            before is None
            or before.text in ",.!?…-—"
            or (before.low in _GREETINGS and not (name and before.low in ("good", "dear") and False))
        )
        if following == "and" or not opening:
            continue
        if name or first > 0 or following in ",!" or len(words) <= 2:
            called.add(low)
    return frozenset(called)


class Speakers:
    """Works out `turns`, one for each quote, from a finished reading of the narration."""

    def __init__(
        self, reader: Reader, clauses: Clauses, called: list[frozenset[str]], texts: list[str]
    ) -> None:
        self.reader, self.clauses, self.called, self.texts = reader, clauses, called, texts
        self.tokens: list[Token] = reader.tokens
        self.cast = reader.cast
        self._verbs, self._people = verbs(), people()
        places = [index for index, token in enumerate(self.tokens) if token.kind == "quote"]
        self.turns = [Turn(place) for place in places]
        for number, turn in enumerate(self.turns):
            if self._introduced(turn.token):
                self._tag_before(number)
            if turn.tag is None:
                self._tag_after(number)
            if turn.tag is None and not turn.silent:
                self._tag_before(number)
        for number in range(len(self.turns)):
            self._same_turn(number)
            self._revealed(number)
            self._beat(number)
            self._calls_parent(number)
        self._replies()
        for number in range(len(self.turns)):
            self._addressee(number)
        self._reply_from_addressee()
        for turn in self.turns:
            self._roles(turn)

    def _low(self, index: int) -> str:
        return self.tokens[index].low if 0 <= index < len(self.tokens) else ""

    def _speech(self, index: int) -> bool:
        return (
            self.clauses.lemma(index) in self._verbs.speech
            and self._verbs.form.get(self._low(index)) != "gerund"
        )

    # Tags

    def _introduced(self, place: int) -> bool:
        """The words before the quote end in "said," or "said to her:" and so belong to it."""
        return self._low(place - 1) in (",", ":") and self.tokens[place - 1].kind == "mark"

    def _tag_after(self, number: int) -> None:
        turn = self.turns[number]
        position = turn.token + 1
        if self._low(position) in (",", ".", "!", "?"):
            if self._low(position) in (".", "!", "?"):
                return
            position += 1
        if position >= len(self.tokens) or self.tokens[position].kind != "word":
            return
        verb, reference = self._verb_and_subject(position)
        if verb is None or self._introduces_next(number, verb, reference):
            return
        if self.texts[number][-1] == "." and not self._firm(verb):
            return
        if self.texts[number][-1] in "!?" and not self._firm(verb) and self._low(verb + 1) in (",", "and"):
            return
        turn.tag, turn.after = verb, True
        self._speak(number, reference, "tag after")

    def _firm(self, verb: int) -> bool:
        return self.clauses.lemma(verb) in _FIRM

    def _verb_and_subject(self, position: int) -> tuple[int | None, Reference | None]:
        start = position
        while is_adverb(self._low(position)) and position not in self.reader.starts:
            position += 1
        if self._speech(position):
            head = self.reader.starts.get(position + 1)
            if head is not None and self.clauses.lemma(position) != "tell":
                reference = self.reader.refs[head]
                if self._low(head + 1) == "and" and head + 2 in self.reader.starts:
                    reference = self.reader.refs.get(self.reader.starts[head + 2], reference)
                return position, self._whole(reference, head)
            return (position, None) if start == position else (None, None)
        head = self.reader.starts.get(position)
        if head is None:
            return self._unknown_noun(position)
        if self._low(head).endswith(("'s", "s'")):
            return self._unknown_noun(position)
        while True:
            following = head + 1
            if self._low(following) == "and" and following + 1 in self.reader.starts:
                head = self.reader.starts[following + 1]
            elif self._low(following) == "," and following + 1 in self.reader.starts:
                inner = self.reader.starts[following + 1]
                if self._low(inner + 1) != ",":
                    break
                head = inner + 1
            else:
                break
        reference = self.reader.refs.get(head) or self.reader.refs[self.reader.starts[position]]
        verb = head + 1
        while is_adverb(self._low(verb)) or self._low(verb) in ("had", "both", "was", "all", ","):
            verb += 1
        if self._speech(verb):
            return verb, reference
        # "Tom nodded and said." behind the quote, and "Timmy said" with a short clause between
        for later in range(verb + 1, min(verb + 8, len(self.tokens))):
            if self.tokens[later].kind != "word":
                break
            if self._low(later) in ("said", "asked", "replied") and self._low(later - 1) == "and":
                return later, reference
        return None, None

    def _unknown_noun(self, position: int) -> tuple[int | None, Reference | None]:
        """ "a voice said": a tag whose subject is nobody we know."""
        for verb in range(position + 1, min(position + 5, len(self.tokens))):
            if self.tokens[verb].kind != "word":
                break
            if self._low(verb) in ("said", "asked", "replied", "says", "asks"):
                return verb, None
        return None, None

    def _whole(self, reference: Reference, head: int) -> Reference:
        """Of "said Tim and Sue": both."""
        return reference

    def _introduces_next(self, number: int, verb: int, reference: Reference | None) -> bool:
        """`"Yes." Sam said, "No."`: the tag belongs to the quote behind it."""
        turn = self.turns[number]
        if number + 1 >= len(self.turns):
            return False
        following = self.turns[number + 1].token
        between = self.tokens[verb + 1 : following]
        if any(token.kind in ("break", "quote") or token.text in ".!?" for token in between):
            return False
        said = self.texts[number]
        if said[-1] in ",-–—" or self._low(turn.token + 1) == ",":
            return False
        inverted = reference is None or reference.first > verb
        ending = between[-1].text if between else ""
        return ending in (",", ":", "") and not inverted

    def _tag_before(self, number: int) -> None:
        turn = self.turns[number]
        position = turn.token - 1
        if position > 0 and self.tokens[position].kind == "break":
            position -= 1
            if self._low(position) == "." and self.clauses.lemma(position - 1) in _FIRM:
                position -= 1  # `Dad says.` on a line of its own
            elif self._low(position) not in (":", ","):
                return
        if position < 0 or self.tokens[position].kind in ("break", "quote"):
            return
        last = self.tokens[position]
        if (
            last.text == ":"
            and position - 1 in self.reader.refs
            and (
                position < 2
                or self.tokens[self.reader.refs[position - 1].first - 1].kind == "break"
                or self.reader.refs[position - 1].first == 0
            )
        ):
            turn.tag = position - 1
            self._speak(number, self.reader.refs[position - 1], "script")
            return
        if last.kind == "mark" and last.text not in ",:-–—;":
            return
        loose = last.kind == "word"
        verb = self._last_speech_verb(position, loose)
        if verb is None:
            if not loose or last.low in ("that", "it"):
                turn.silent = turn.silent or last.low in self._people.unspoken
            return
        turn.tag = verb
        reference = self.clauses.subjects.get(verb)
        if self._unspoken_subject(verb, reference):
            turn.silent = True
            return
        if self._low(verb) in (
            "say",
            "saying",
            "call",
            "crying",
            "asking",
            "shouting",
            "whispering",
            "calling",
            "whisper",
            "thinking",
        ):
            reference = self._nonfinite_subject(verb)
        self._speak(number, reference, "tag before")

    def _last_speech_verb(self, position: int, loose: bool) -> int | None:
        for index in range(position, max(-1, position - 26), -1):
            token = self.tokens[index]
            if token.kind in ("break", "quote") or token.text in ".!?":
                if token.text == "." and self._low(index - 1) in ("mr", "mrs", "ms", "dr"):
                    continue
                return None
            if token.kind != "word" or self.clauses.lemma(index) not in self._verbs.speech:
                continue
            lemma = self.clauses.lemma(index)
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
            finite = index in self.clauses.subjects
            if finite or token.low in (
                "say",
                "saying",
                "call",
                "asking",
                "shouting",
                "crying",
                "whispering",
                "calling",
                "whisper",
                "thinking",
            ):
                return index
        return None

    def _addressed_only(self, verb: int, position: int) -> bool:
        return all(
            self._low(i) in ("to", "the", "his", "her", "out", "back")
            or i in self.reader.refs
            or is_adverb(self._low(i))
            for i in range(verb + 1, position + 1)
        )

    def _unspoken_subject(self, verb: int, reference: Reference | None) -> bool:
        words = [self._low(i) for i in range(max(0, verb - 6), verb)]
        for word in reversed(words):
            if word in self._people.unspoken:
                return True
            if word in (".", "!", "?", "and", ","):
                break
        if reference is not None and reference.pronoun and self._low(reference.head) == "it":
            earlier = {token.low for token in self.tokens[max(0, verb - 30) : verb]}
            speaking = reference.ids and self.cast.figures[reference.ids[0]].last > verb - 12
            return bool(
                earlier & (self._people.unspoken - {"it", "word", "words", "book", "box", "story"})
            ) and not (speaking and self.cast.figures[reference.ids[0]].role == "animal")
        return False

    def _nonfinite_subject(self, verb: int) -> Reference | None:
        """ "smiled at her, saying": the subject of the verb before; "heard a bird say": the bird."""
        previous = verb - 1
        while is_adverb(self._low(previous)):
            previous -= 1
        if previous in self.reader.refs and self._low(verb) in ("say", "call", "whisper"):
            return self.reader.refs[previous]
        for index in range(verb - 1, max(-1, verb - 25), -1):
            if self.tokens[index].kind in ("break", "quote"):
                return None
            if self.clauses.subjects.get(index) is not None:
                return self.clauses.subjects[index] if self._low(verb) != "say" else None
        return None

    # Naming the speaker

    def _is_called(self, figure: Figure, number: int) -> bool:
        called = self.called[number]
        return bool(called) and (
            (figure.proper is not None and figure.proper in called)
            or not called.isdisjoint(figure.nouns)
            or not called.isdisjoint({a.lower() for a in figure.aliases})
        )

    def _speak(self, number: int, reference: Reference | None, evidence: str) -> None:
        turn = self.turns[number]
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
        options = [
            i
            for i in (*reference.ids, *reference.others)
            if not self._is_called(self.cast.figures[i], number)
        ]
        if not options:
            turn.evidence = ""
            return
        first = self.cast.figures[options[0]]
        if options[0] == reference.ids[0] and reference.certain:
            turn.speakers = (options[0],)
        elif len(options) == 1:
            turn.speakers = (options[0],)
        else:
            roles = {self.cast.figures[i].role for i in options}
            if len(roles) == 1:
                turn.role = first.role
            elif options[0] == reference.ids[0] and self._leads(first, options[1:]):
                turn.speakers = (options[0],)
            elif self._childish(number) and first.role != "parent":
                turn.role = "child" if first.role == "child" else None
            turn.evidence = turn.evidence if turn.speakers or turn.role else ""

    def _leads(self, first: Figure, others: list[int]) -> bool:
        """The best candidate led the latest clause, and no rival of known sex did."""
        rivals = [self.cast.figures[i] for i in others]
        return all(first.subject_at > rival.subject_at for rival in rivals)

    def _childish(self, number: int) -> bool:
        called = self.called[number]
        return any(
            word in self._people.nouns and self._people.nouns[word].role in ("parent", "grandparent")
            for word in called
        )

    # The same turn, beats, alternation

    def _same_turn(self, number: int) -> None:
        """`"A," he said. "B"`: B is his too, unless it has a tag of its own."""
        if number == 0:
            return
        turn, before = self.turns[number], self.turns[number - 1]
        if turn.tag is not None or turn.silent:
            return
        between = self.tokens[before.token + 1 : turn.token]
        if any(token.kind == "break" for token in between):
            return
        if before.after or (before.continues is not None and len(between) == 0):
            ends = sum(
                token.text in ".!?" and self._low(before.token + at) not in ("mr", "mrs", "ms", "dr")
                for at, token in enumerate(between)
            )
            if ends > 1 or (ends == 1 and between[-1].text not in ".!?"):
                return
            turn.continues = number - 1
            turn.speakers, turn.role, turn.evidence = (
                before.speakers,
                before.role,
                "same turn" if before.evidence else "",
            )

    def _beat(self, number: int) -> None:
        """`Tim nodded. "Yes."`: who acts in the sentence right before, in the same paragraph, speaks."""
        turn = self.turns[number]
        if turn.speakers or turn.role or turn.silent or turn.tag is not None or turn.continues is not None:
            return
        position = turn.token - 1
        if position > 0 and self.tokens[position].kind == "break":
            position -= 1
        if position < 0 or self.tokens[position].text not in (".", "!", ":", ","):
            return
        verb = None
        for index in range(position - 1, -1, -1):
            token = self.tokens[index]
            if token.kind in ("break", "quote") or token.text in ".!?":
                break
            if index in self.clauses.subjects:
                verb = index
        if verb is None:
            return
        reference = self.clauses.subjects[verb]
        beat = any(self.clauses.lemma(i) in self._verbs.beats for i in range(verb, position))
        if (
            reference is not None
            and beat
            and len(reference.ids) == 1
            and reference.certain
            and not self._is_called(self.cast.figures[reference.ids[0]], number)
        ):
            if (
                number
                and self.turns[number - 1].speakers == reference.ids
                and self.turns[number - 1].token > verb - 3
            ):
                return
            turn.speakers, turn.evidence = reference.ids, "beat"

    def _revealed(self, number: int) -> None:
        """`Tim heard a voice. "Hello!" It was a small bird.`: the bird speaks."""
        turn = self.turns[number]
        if turn.speakers or turn.role or turn.tag is not None or self._low(turn.token + 1) != "it":
            return
        before = {token.low for token in self.tokens[max(0, turn.token - 8) : turn.token]}
        if before & self._people.voices and self._low(turn.token + 2) in ("was", "is"):
            for index in range(turn.token + 3, min(turn.token + 9, len(self.tokens))):
                if index in self.reader.refs:
                    turn.speakers, turn.evidence = self.reader.refs[index].ids, "revealed"
                    return

    def _calls_parent(self, number: int) -> None:
        """Untagged words to "Mom": a child speaks; which one, if the story has just one."""
        turn = self.turns[number]
        if turn.speakers or turn.role or turn.silent or not self._childish(number):
            return
        children = [f for f in self.cast.figures if f.role == "child" and not f.plural and not self._is_called(f, number)]
        if len(children) == 1:
            turn.speakers = (children[0].id,)
        turn.role, turn.evidence = "child", "calls a parent"

    def _replies(self) -> None:
        """Untagged quotes on lines of their own between two speakers who take turns."""
        for number, turn in enumerate(self.turns):
            if turn.speakers or turn.role or turn.silent or turn.tag is not None or number == 0:
                continue
            before = self.turns[number - 1]
            gap = self.tokens[before.token + 1 : turn.token]
            new_line = any(token.kind == "break" for token in gap) or not any(t.kind == "word" for t in gap)
            if not new_line or len(gap) > 40 or len(before.speakers) != 1:
                continue
            earlier = self.turns[number - 2] if number >= 2 else None
            later = self.turns[number + 1] if number + 1 < len(self.turns) else None
            for other in (earlier, later):
                if (
                    other is not None
                    and len(other.speakers) == 1
                    and other.speakers != before.speakers
                    and not self._is_called(self.cast.figures[other.speakers[0]], number)
                ):
                    near = self.tokens[min(other.token, turn.token) : max(other.token, turn.token)]
                    if sum(token.kind == "break" for token in near) <= 3 and self._only_two(
                        turn.token, before.speakers[0], other.speakers[0]
                    ):
                        turn.speakers, turn.evidence = other.speakers, "alternation"
                        break

    def _only_two(self, place: int, one: int, other: int) -> bool:
        roles = {
            self.cast.figures[i].role
            for turn in self.turns
            for i in turn.speakers
            if abs(turn.token - place) < 120
        }
        return roles <= {self.cast.figures[one].role, self.cast.figures[other].role}

    # Addressees

    def _addressee(self, number: int) -> None:
        turn = self.turns[number]
        if turn.evidence == "silent":
            return
        named = self._named_addressee(turn) or self._called_figures(number, turn.speakers)
        if named:
            turn.addressees = named
            return
        called = self.called[number]
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
            and self.cast.figures[turn.speakers[0]].role in ("parent", "grandparent")
        ):
            turn.addressee_role = "child"
        near = []
        for other in (number - 1, number + 1):
            if (
                0 <= other < len(self.turns)
                and self.turns[other].speakers
                and self.turns[other].speakers != turn.speakers
            ):
                if abs(self.turns[other].token - turn.token) < 60:
                    near.append(self.turns[other].speakers)
        if near and turn.speakers:
            turn.addressees = near[0]
            return
        if turn.speakers and turn.continues is None:
            self._listener(turn)
        if turn.continues is not None and not turn.addressees:
            turn.addressees, turn.addressee_role = (
                self.turns[turn.continues].addressees,
                self.turns[turn.continues].addressee_role,
            )

    def _listener(self, turn: Turn) -> None:
        """Nobody answers: the other figure of the scene, if there is just one (or all are alike)."""
        scene = [
            figure
            for figure in self.cast.figures
            if figure.id not in turn.speakers
            and not figure.plural
            and figure.species != "thing"
            and any(
                abs(head - turn.token) < 45 and figure.id in ref.ids for head, ref in self.reader.refs.items()
            )
        ]
        roles = {figure.role for figure in scene}
        if len(scene) == 1:
            turn.addressees = (scene[0].id,)
        elif len(roles) == 1:
            turn.addressee_role = roles.pop()

    def _named_addressee(self, turn: Turn) -> tuple[int, ...]:
        """ "asked his mom", "said to Tom", "called out to the dog"."""
        if turn.tag is None or self._low(turn.tag + 1) == ":":
            return ()
        lemma = self.clauses.lemma(turn.tag)
        stop = turn.token if not turn.after else min(turn.tag + 14, len(self.tokens))
        for index in range(turn.tag + 1, stop):
            token = self.tokens[index]
            if token.kind in ("quote", "break") or token.text in ".!?" or (turn.after and token.text == ","):
                break
            head = self.reader.starts.get(index)
            if head is None or self.reader.refs[head].ids == turn.speakers or self._low(head).endswith("'s"):
                continue
            reference = self.reader.refs[head]
            direct = index == turn.tag + 1 and lemma in (
                "ask",
                "tell",
                "warn",
                "thank",
                "remind",
                "beg",
                "answer",
                "greet",
                "scold",
                "comfort",
                "reassure",
                "order",
                "command",
                "invite",
                "assure",
                "encourage",
                "request",
                "advise",
            )
            if direct or self._low(index - 1) in _TO:
                if reference.pronoun and not reference.certain:
                    ids = [i for i in (*reference.ids, *reference.others) if i not in turn.speakers]
                    return (ids[0],) if ids and len({self.cast.figures[i].role for i in ids}) == 1 else ()
                return tuple(i for i in reference.ids if i not in turn.speakers)
        return ()

    def _called_figures(self, number: int, speakers: tuple[int, ...]) -> tuple[int, ...]:
        called = self.called[number]
        if not called:
            return ()
        found = [f for f in self.cast.figures if f.id not in speakers and self._is_called(f, number)]
        named = [f for f in found if f.proper in called]
        found = named or found
        if len(found) > 1 and not named:
            found = [max(found, key=lambda f: f.last)]
        return tuple(figure.id for figure in found)

    def _reply_from_addressee(self) -> None:
        """A question put to Sue is answered by Sue."""
        for number in range(1, len(self.turns)):
            turn, before = self.turns[number], self.turns[number - 1]
            if (
                turn.speakers
                or turn.role
                or turn.silent
                or turn.tag is not None
                or turn.continues is not None
            ):
                continue
            gap = self.tokens[before.token + 1 : turn.token]
            if "?" not in self.texts[number - 1] and sum(token.kind == "break" for token in gap) != 1:
                continue
            if (
                len(before.addressees) == 1
                and before.speakers
                and len(gap) < 14
                and not self._is_called(self.cast.figures[before.addressees[0]], number)
            ):
                turn.speakers, turn.evidence = before.addressees, "answer"
                if not turn.addressees:
                    turn.addressees = before.speakers

    def _roles(self, turn: Turn) -> None:
        figures = self.cast.figures
        if turn.speakers:
            roles = {figures[i].role for i in turn.speakers}
            turn.role = roles.pop() if len(roles) == 1 else None
        if turn.addressees:
            roles = {figures[i].role for i in turn.addressees}
            turn.addressee_role = roles.pop() if len(roles) == 1 else None
