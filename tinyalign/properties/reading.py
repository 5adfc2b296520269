"""What the text checkers share: occasions, windows of sentences, who acts, what a quote is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tinyalign.properties.outcome import Outcome, Span, Verdict
from tinyalign.stories.annotation import Event, Quote, Role, Story
from tinyalign.stories.lexicon import verbs

WINDOW = 5
"""A property is decided within this many sentences after the one that holds its antecedent."""

Prefer = Literal["violated", "satisfied", "first", "last"]

_WANTING = frozenset({"want", "wish", "hope", "try", "start", "begin", "go", "decide", "plan", "be"})
_EMPTY = re.compile(
    r"a|an|the|it|its|this|that|these|those|him|her|his|their|them|my|your|our|me|you|us|to|in|on|at|"
    r"of|for|with|and|or|but|so|very|too|again|now|then|there|here|all|some|more|one|right|away|once|"
    r"today|together|instead|anyway|happily|much|lot"
)


@dataclass(frozen=True)
class Occasion:
    """An antecedent: its span, its sentence, who decides the outcome and who is on the other side of it."""

    start: int
    end: int
    sentence: int
    deciders: frozenset[int]
    others: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Cue:
    """Something in the text that speaks for or against the property."""

    verdict: Verdict
    start: int
    end: int
    rule: str


def settle(occasion: Occasion, cues: Iterable[Cue], prefer: Prefer) -> Outcome:
    """The outcome of an occasion from its cues.

    `prefer` says which cue wins where both kinds are there: any "violated" one (a later apology does not
    undo a deed), any "satisfied" one, the "first", or the "last" (a refusal that ends in sharing).
    """
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    if prefer in ("violated", "satisfied"):
        ordered.sort(key=lambda cue: cue.verdict != prefer)
    if not ordered:
        return Outcome("unknown", (occasion.start, occasion.end))
    cue = ordered[-1] if prefer == "last" else ordered[0]
    return Outcome(cue.verdict, (occasion.start, occasion.end), (cue.start, cue.end), cue.rule)


def with_role(story: Story, *roles: Role) -> frozenset[int]:
    """Ids of the characters with one of these roles."""
    return frozenset(who.id for who in story.characters if who.role in roles)


def window_end(story: Story, sentence: int, sentences: int = WINDOW) -> int:
    """Offset at which the window after `sentence` ends."""
    return story.sentences[min(sentence + sentences, len(story.sentences) - 1)].end


def window_start(story: Story, sentence: int, sentences: int) -> int:
    """Offset at which the window of `sentences` sentences before `sentence` starts."""
    return story.sentences[max(sentence - sentences, 0)].start


def events_after(story: Story, occasion: Occasion, sentences: int = WINDOW) -> tuple[Event, ...]:
    """Events behind the antecedent, to the end of its window."""
    return story.events_between(occasion.end, window_end(story, occasion.sentence, sentences))


def quotes_after(story: Story, occasion: Occasion, sentences: int = WINDOW) -> tuple[Quote, ...]:
    """Quotes behind the antecedent, to the end of its window."""
    end = window_end(story, occasion.sentence, sentences)
    return tuple(quote for quote in story.quotes if occasion.end <= quote.start < end)


def acts(event: Event, who: frozenset[int], certain: bool = False) -> bool:
    """Whether one of `who` acts; an unknown subject counts unless `certain` is asked for."""
    return bool(who.intersection(event.subjects)) if event.subjects else not certain


def speaks(story: Story, quote: Quote, who: frozenset[int], certain: bool = True) -> bool:
    """Whether one of `who` says the quote; where only a role is known, whether one of them has it."""
    if quote.speaker is not None:
        return quote.speaker in who
    if quote.speaker_role is not None:
        return any(story.role(one) == quote.speaker_role for one in who)
    return not certain


def may_act(story: Story, event: Event, who: frozenset[int]) -> bool:
    """Whether one of `who` acts, or a pronoun of fitting gender does: for verbs that fit no one else."""
    if acts(event, who):
        return True
    before = plain(story.text[story.sentences[event.sentence].start : event.start])
    pronoun = re.search(r"\b(he|she)(?: \w+ly| just| still)?\s*$", before)
    gender = {"he": "male", "she": "female"}.get(pronoun[1]) if pronoun else None
    return gender is not None and any(story.characters[one].gender in (gender, None) for one in who)


def addressed(story: Story, quote: Quote, who: frozenset[int]) -> bool:
    """Whether the quote may be meant for one of `who`: it names one of them, or nobody."""
    if quote.addressee is not None:
        return quote.addressee in who
    return quote.addressee_role is None or any(story.role(one) == quote.addressee_role for one in who)


def addressees(quote: Quote, otherwise: frozenset[int]) -> frozenset[int]:
    """Who the quote is meant for; `otherwise` where that is unknown."""
    return otherwise if quote.addressee is None else frozenset({quote.addressee})


def plain(text: str) -> str:
    """Lower case with straight apostrophes, for matching; as long as `text`, so that offsets agree."""
    lowered = text.replace("\u2019", "'").replace("\u2018", "'").lower()
    return lowered if len(lowered) == len(text) else text


def says(text: str, pattern: str) -> bool:
    """Whether `pattern` (lower case, straight apostrophes) occurs in the text at a word's start."""
    return re.search(rf"(?<!\w)(?:{pattern})", plain(text)) is not None


def begins(text: str, pattern: str) -> bool:
    """Whether the text begins with `pattern`, after an interjection or a name at most."""
    return re.match(rf"\W*(?:(?:oh|hey|um|well|but|hm+)\W+)?(?:{pattern})", plain(text)) is not None


def done(event: Event) -> bool:
    """Whether the text says that it happened."""
    return event.realised and not event.negated


def not_done(event: Event) -> bool:
    """Whether the text says that it did not happen."""
    return event.negated and event.modal in ("", "would", "will") and not event.passive


def content(text: str) -> frozenset[str]:
    """The words of a phrase that carry its meaning, lower case."""
    words = re.findall(r"[a-z]+(?:'[a-z]+)?", plain(text))
    return frozenset(word for word in words if not _EMPTY.fullmatch(word))


@dataclass(frozen=True)
class Topic:
    """What a request or prohibition is about: a verb's base form and the words of its object.

    `pronoun`: the object is "it", "them", "that" or "there", and so has no words of its own.
    """

    lemma: str
    object_words: frozenset[str]
    pronoun: bool = False

    def matches(self, event: Event) -> bool:
        """Whether an event is of this verb, about the same thing where both name one."""
        if event.lemma != self.lemma:
            return False
        named = content(event.object_text)
        return not self.object_words or not named or bool(named & self.object_words)

    def matches_closely(self, event: Event) -> bool:
        """Whether it is of this verb and names the same thing, or both name nothing."""
        named = content(event.object_text)
        return self.matches(event) and bool(named & self.object_words if self.object_words else not named)


def topics_in(text: str, lead: str) -> Iterator[Topic]:
    """What is said behind the words `lead` (a pattern): "don't touch the cat" gives touch, {cat}."""
    lemma = verbs().lemma
    for found in re.finditer(
        rf"(?<!\w)(?:{lead})\s+((?:\w+ly |ever |even |please |now |just )*)(\w+)([^.!?,;]*)", plain(text)
    ):
        verb = found[found.lastindex - 1] if found.lastindex else ""
        rest = found[found.lastindex] if found.lastindex else ""
        if verb in lemma:
            pronoun = re.match(r"\s*(?:it|them|that|there)\b", rest) is not None
            yield Topic(lemma[verb], frozenset() if pronoun else content(rest), pronoun)


def resolve(topics: list[Topic], before: str) -> list[Topic]:
    """The topics with a pronoun for object ("touch it") standing for anything named in the text before."""
    named = content(before)
    return [Topic(topic.lemma, named) if topic.pronoun else topic for topic in topics]


def wishes_before(
    story: Story, who: frozenset[int], sentence: int, sentences: int = 4, until: int | None = None
) -> list[Topic]:
    """What `who` wanted, tried or began to do in the sentences before."""
    start = window_start(story, sentence, sentences)
    end = story.sentences[sentence].end if until is None else until
    found: list[Topic] = []
    for event in story.events_between(start, end):
        if not acts(event, who, certain=True) or event.negated:
            continue
        unwanted = event.governor and event.order and story.events[event.order - 1].negated
        if event.governor in _WANTING and not unwanted:
            found.append(Topic(event.lemma, content(event.object_text)))
        elif event.complement and event.lemma in _WANTING:
            found.append(Topic(event.complement, content(event.object_text) - {event.complement, "to"}))
    return found


def span_of(event: Event, story: Story) -> Span:
    """The verb with what follows it in its clause."""
    end = event.end
    if event.object_text:
        at = story.text.find(event.object_text, event.end)
        if 0 <= at - event.end <= 2:
            end = at + len(event.object_text)
    return event.start, end


def cue(verdict: Verdict, event: Event, story: Story, rule: str) -> Cue:
    """A cue that is an event."""
    start, end = span_of(event, story)
    return Cue(verdict, start, end, rule)


def said(verdict: Verdict, quote: Quote, rule: str) -> Cue:
    """A cue that is a quote."""
    return Cue(verdict, quote.start, quote.end, rule)


def near_words(story: Story, event: Event, pattern: str) -> bool:
    """Whether the pattern occurs behind the event's verb, in the same sentence and outside quotes."""
    return says(_rest(story, event), pattern)


def follows(story: Story, event: Event, pattern: str) -> bool:
    """Whether the words right behind the event's verb begin with the pattern."""
    return re.match(rf"\s*(?:{pattern})", plain(_rest(story, event))) is not None


def _rest(story: Story, event: Event) -> str:
    end = story.sentences[event.sentence].end
    quotes = [quote.start for quote in story.quotes if event.end <= quote.start < end]
    return story.text[event.end : min([end, *quotes])]
