"""What an annotated story is: frozen records with character offsets, roles, speech acts and events.

Offsets count code points of `Story.text` (Python string indices), half open: `text[start:end]`.
Abstaining is an answer: a speaker, an addressee or a subject that the rules cannot tell is None (or an
empty tuple), never a guess.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from tinyalign.common.errors import InputError

Role = Literal["parent", "grandparent", "child", "animal", "other"]
Gender = Literal["female", "male"]
SpeechAct = Literal[
    "request",
    "prohibition",
    "instruction",
    "warning",
    "permission",
    "refusal",
    "apology",
    "promise",
    "question",
    "comfort",
]

ROLES: tuple[Role, ...] = get_args(Role)
SPEECH_ACTS: tuple[SpeechAct, ...] = get_args(SpeechAct)


@dataclass(frozen=True)
class Sentence:
    """One sentence; a quote is never split: it lies whole in the sentence of the words that introduce it.

    `paragraph` counts from 0; a paragraph ends at a line break outside a quote.
    """

    start: int
    end: int
    paragraph: int


@dataclass(frozen=True)
class Character:
    """Somebody in the story, or a group named as one ("the kids", "his parents": `plural`).

    `role`: family relation first where the story states one, species second. A "mama bear" with cubs is a
    parent and her cub a child; a dog that belongs to nobody's family tree is an animal. Toys, trees and
    other talking things, teachers, neighbours and strangers are `other`; friends and siblings are children
    unless the story says otherwise.
    `species` is "human", an animal's word ("bird"), or "thing". `name` is the proper name where there is one,
    else the word that names them ("mom", "dog"). `mentions` are offset spans of names and nouns in the
    narration and of names inside quotes, never of pronouns. `parent_of` holds the ids of
    known children or grandchildren.
    """

    id: int
    name: str
    role: Role
    gender: Gender | None
    species: str
    plural: bool
    aliases: tuple[str, ...]
    mentions: tuple[tuple[int, int], ...]
    parent_of: tuple[int, ...] = ()


@dataclass(frozen=True)
class Quote:
    """Words that somebody says. `text[start:end] == quote.text`: the quotation marks lie outside the span.

    `speaker` and `addressee` are character ids, or None for an abstention. A role may be known without the
    identity ("she" among girls only; "the children said"): then `speaker` is None and `speaker_role` is not.
    Where `speaker` is given, `speaker_role` is that character's role; the same for the addressee.
    `sentence` is the index of the sentence in which it lies. `continues` is the index of the earlier quote
    of the same turn (`"Stop," she said. "It is hot."`), or None at the start of a turn.
    `evidence` says which rule named the speaker ("name after", "pronoun", "alternation", ...; "" for none).
    """

    start: int
    end: int
    text: str
    sentence: int
    speaker: int | None
    speaker_role: Role | None
    addressee: int | None
    addressee_role: Role | None
    speech_acts: tuple[SpeechAct, ...]
    continues: int | None = None
    evidence: str = ""


@dataclass(frozen=True)
class Event:
    """A narrated verb phrase (outside quotes), in the order of the text.

    `verb` is the verb group as written without its subject ("did not stop", "kept jumping"); `start:end` is
    its span. `lemma` is the main verb's base form ("stop"; "keep"; "be" for "was sad").
    `subjects`: ids of the characters that act, () where unknown ("they" gives the members it stands for).
    `object`: id of the character acted upon ("hugged *her son*"), None if none or unknown; `object_text`:
    the words after the verb up to the end of its clause ("the red ball to Ben"; "sad" for "was sad").
    `negated`: "didn't listen", "never shared". `modal`: "could", "would", "should", "must", "can", ... or "".
    `complement`: base form of the verb it governs: "kept jumping" is keep with complement jump.
    The governed verb is an event of its own, right behind, with `governor` the lemma above it:
    "wanted to share" gives want(complement=share), share(governor=want, realised=False).
    `realised`: the text says that it happened, or (with `negated`) that it did not: False under "want to",
    "would", "if", "stop -ing", "refuse to"; True under "start to", "keep -ing", "decide to", "go and".
    `passive`: "was broken", "got hurt". `quote`: index of the quote that a verb of speech introduces.
    `order` is its index in `Story.events`; `sentence` the index of its sentence.
    """

    verb: str
    lemma: str
    subjects: tuple[int, ...]
    object: int | None
    object_text: str
    negated: bool
    start: int
    end: int
    sentence: int
    order: int
    modal: str = ""
    complement: str = ""
    governor: str = ""
    realised: bool = True
    passive: bool = False
    quote: int | None = None

    @property
    def subject(self) -> int | None:
        """The one actor, or None where there are several or none is known."""
        return self.subjects[0] if len(self.subjects) == 1 else None


@dataclass(frozen=True)
class Story:
    """A text with what the rules found in it. Every index and id it holds is checked on construction."""

    text: str
    sentences: tuple[Sentence, ...]
    quotes: tuple[Quote, ...]
    characters: tuple[Character, ...]
    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        known = range(len(self.characters))
        for index, character in enumerate(self.characters):
            if character.id != index:
                raise InputError(f"Character {index} has the id {character.id}; ids are positions.")
        for quote in self.quotes:
            if self.text[quote.start : quote.end] != quote.text:
                raise InputError(f"The quote at {quote.start}:{quote.end} is not what the text holds there.")
            for who, role in ((quote.speaker, quote.speaker_role), (quote.addressee, quote.addressee_role)):
                if who is not None and (who not in known or self.characters[who].role != role):
                    raise InputError(f"The quote at {quote.start} names character {who} with role {role}.")
        for index, event in enumerate(self.events):
            if event.order != index:
                raise InputError(f"Event {index} has the order {event.order}; orders are positions.")
            if any(who not in known for who in event.subjects):
                raise InputError(f"Event {index} names a subject out of {event.subjects}, not a character.")

    def role(self, character: int | None) -> Role | None:
        """Role of the character with this id; None for None."""
        return None if character is None else self.characters[character].role

    def quotes_by(self, role: Role) -> tuple[Quote, ...]:
        """Quotes whose speaker is known to have this role, in order."""
        return tuple(quote for quote in self.quotes if quote.speaker_role == role)

    def events_of(self, character: int) -> tuple[Event, ...]:
        """Events in which this character acts (alone or with others), in order."""
        return tuple(event for event in self.events if character in event.subjects)

    def events_between(self, start: int, end: int) -> tuple[Event, ...]:
        """Events whose verb starts in the offset span `start:end`, in order."""
        return tuple(event for event in self.events if start <= event.start < end)

    def to_json(self) -> dict[str, object]:
        """Everything but the text itself as JSON values; `null` where the annotator abstains."""
        record = asdict(self)
        del record["text"]
        return record
