"""Quotes without a tag: the same turn going on, beats, answers, two speakers taking turns."""

from __future__ import annotations

from tinyalign.stories.lexicon import people, verbs
from tinyalign.stories.turns import Scene


class Untagged:
    """Names speakers that no tag names, where the scene leaves one choice."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._people = people()
        self._verbs = verbs()

    def same_turn(self, number: int) -> None:
        """`"A," he said. "B"`: B is his too, unless it has a tag of its own."""
        if number == 0:
            return
        turn, before = self.scene.turns[number], self.scene.turns[number - 1]
        if turn.tag is not None or turn.silent:
            return
        between = self.scene.tokens[before.token + 1 : turn.token]
        if any(token.kind == "break" for token in between):
            return
        if before.after or (before.continues is not None and len(between) == 0):
            ends = sum(
                token.text in ".!?"
                and self.scene.page.low(before.token + at) not in ("mr", "mrs", "ms", "dr")
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

    def beat(self, number: int) -> None:
        """`Tim nodded. "Yes."`: who acts in the sentence right before, in the same paragraph, speaks."""
        turn = self.scene.turns[number]
        if turn.speakers or turn.role or turn.silent or turn.tag is not None or turn.continues is not None:
            return
        position = turn.token - 1
        if position > 0 and self.scene.tokens[position].kind == "break":
            position -= 1
        if position < 0 or self.scene.tokens[position].text not in (".", "!", ":", ","):
            return
        verb = None
        for index in range(position - 1, max(-1, position - 60), -1):
            token = self.scene.tokens[index]
            if token.kind in ("break", "quote") or token.text in ".!?":
                break
            if index in self.scene.clauses.subjects:
                verb = index
        if verb is None:
            return
        reference = self.scene.clauses.subjects[verb]
        beat = any(self.scene.clauses.lemma(i) in self._verbs.beats for i in range(verb, position))
        if (
            reference is not None
            and beat
            and len(reference.ids) == 1
            and reference.certain
            and not self.scene.is_called(self.scene.figures[reference.ids[0]], number)
        ):
            if (
                number
                and self.scene.turns[number - 1].speakers == reference.ids
                and self.scene.turns[number - 1].token > verb - 3
            ):
                return
            turn.speakers, turn.evidence = reference.ids, "beat"

    def revealed(self, number: int) -> None:
        """`Tim heard a voice. "Hello!" It was a small bird.`: the bird speaks."""
        turn = self.scene.turns[number]
        if turn.speakers or turn.role or turn.after:
            return
        before = {token.low for token in self.scene.tokens[max(0, turn.token - 8) : turn.token]}
        if not before & self._people.voices:
            return
        page, place = self.scene.page, turn.token + 1
        if page.low(place) == "it" and page.low(place + 1) in ("was", "is"):
            place += 2
        else:
            # "Tim looked around and saw a tiny frog."
            looking = range(place, min(place + 8, len(self.scene.tokens)))
            seen = [i for i in looking if page.low(i) in ("saw", "see") and page.low(i + 1) in ("a", "an")]
            looked = any(page.low(i) in ("looked", "turned", "spun") for i in looking)
            if not seen or not looked:
                return
            place = seen[0] + 1
        for index in range(place, min(place + 6, len(self.scene.tokens))):
            if index in page.refs:
                turn.speakers, turn.evidence = page.refs[index].ids, "revealed"
                return

    def calls_parent(self, number: int) -> None:
        """Untagged words to "Mom": a child speaks; which one, if the story has just one."""
        turn = self.scene.turns[number]
        if turn.speakers or turn.role or turn.silent or not self.scene.childish(number):
            return
        children = [f for f in self.scene.children[:8] if not self.scene.is_called(f, number)]
        if len(children) == 1:
            turn.speakers = (children[0].id,)
        turn.role, turn.evidence = "child", "calls a parent"

    def replies(self) -> None:
        """Untagged quotes on lines of their own between two speakers who take turns."""
        for number, turn in enumerate(self.scene.turns):
            if turn.speakers or turn.role or turn.silent or turn.tag is not None or number == 0:
                continue
            before = self.scene.turns[number - 1]
            gap = self.scene.tokens[before.token + 1 : turn.token]
            new_line = any(token.kind == "break" for token in gap) or not any(t.kind == "word" for t in gap)
            if not new_line or len(gap) > 40 or len(before.speakers) != 1:
                continue
            earlier = self.scene.turns[number - 2] if number >= 2 else None
            later = self.scene.turns[number + 1] if number + 1 < len(self.scene.turns) else None
            for other in (earlier, later):
                if (
                    other is not None
                    and len(other.speakers) == 1
                    and other.speakers != before.speakers
                    and not self.scene.is_called(self.scene.figures[other.speakers[0]], number)
                ):
                    near = self.scene.tokens[min(other.token, turn.token) : max(other.token, turn.token)]
                    if sum(token.kind == "break" for token in near) <= 3 and self._only_two(
                        number, before.speakers[0], other.speakers[0]
                    ):
                        turn.speakers, turn.evidence = other.speakers, "alternation"
                        break

    def _only_two(self, number: int, one: int, other: int) -> bool:
        place = self.scene.turns[number].token
        roles = {
            self.scene.figures[i].role
            for turn in self.scene.turns[max(0, number - 30) : number + 30]
            for i in turn.speakers
            if abs(turn.token - place) < 120
        }
        return roles <= {self.scene.figures[one].role, self.scene.figures[other].role}

    def answers(self) -> None:
        """A question put to Sue is answered by Sue."""
        for number in range(1, len(self.scene.turns)):
            turn, before = self.scene.turns[number], self.scene.turns[number - 1]
            if (
                turn.speakers
                or turn.role
                or turn.silent
                or turn.tag is not None
                or turn.continues is not None
            ):
                continue
            gap = self.scene.tokens[before.token + 1 : turn.token]
            if "?" not in self.scene.texts[number - 1] and sum(token.kind == "break" for token in gap) != 1:
                continue
            if (
                len(before.addressees) == 1
                and before.speakers
                and len(gap) < 14
                and not self.scene.is_called(self.scene.figures[before.addressees[0]], number)
            ):
                turn.speakers, turn.evidence = before.addressees, "answer"
                if not turn.addressees:
                    turn.addressees = before.speakers
