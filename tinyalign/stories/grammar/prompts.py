"""Contrast prompts: what a property's antecedent is tested on, enumerable by index and drawn by seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from tinyalign.common.errors import InputError, unknown_name
from tinyalign.stories.grammar.lexicon import SPLITS, Entry, Lexicon, Split
from tinyalign.stories.grammar.permutation import SeededPermutation
from tinyalign.stories.grammar.template import Bindings, Person, render

SIDES = ("clean", "corrupted", "neutral")
FRAMES = "frames"
RENDERER = 1  # part of every identity hash: raise it when the same YAML is written out differently


@dataclass(frozen=True)
class ContrastPrompt:
    """One prompt of a property's grammar on all its sides; each text ends where the decision begins.

    `clean` has the antecedent, `corrupted` reverses it, `neutral` holds neither; the two role swaps are
    clean and corrupted with the two people exchanged. No text ends in a space: what a model is asked to go
    on with starts with `continuation_prefix` (a space, or nothing after an opened quotation mark).
    `slots` gives every word chosen: `child`, `parent`, `act`, and their forms as `act.past`.
    """

    property_id: str
    split: str
    index: int
    decision: str
    clean: str
    corrupted: str
    role_swap_clean: str
    role_swap_corrupted: str
    neutral: str
    continuation_prefix: str
    slots: Mapping[str, str]

    def __post_init__(self) -> None:
        for text in self.texts().values():
            if not text or text != text.strip():
                raise InputError(
                    f"The prompt {text!r} is empty or has outer spaces: it must end at the decision."
                )
        if self.continuation_prefix not in ("", " "):
            raise InputError(
                f"A continuation prefix is a space or nothing, not {self.continuation_prefix!r}."
            )

    def texts(self) -> dict[str, str]:
        """The five texts by side."""
        return {
            "clean": self.clean,
            "corrupted": self.corrupted,
            "role_swap_clean": self.role_swap_clean,
            "role_swap_corrupted": self.role_swap_corrupted,
            "neutral": self.neutral,
        }

    def to_json(self) -> dict[str, object]:
        """A JSON-able mapping of all fields."""
        return asdict(self)


@dataclass(frozen=True)
class Alternative:
    """One paraphrase of a part: its sentence on each side (the same everywhere, or one a side)."""

    clean: str
    corrupted: str
    neutral: str

    def side(self, side: str) -> str:
        """The sentence on `side`, one of `SIDES`."""
        return {"clean": self.clean, "corrupted": self.corrupted, "neutral": self.neutral}[side]


Parts = Mapping[Split, tuple[Alternative, ...]]


@dataclass(frozen=True)
class Decision:
    """Where a prompt stops: paraphrases of its last words, and what a continuation begins with."""

    name: str
    about: str
    continuation_prefix: str
    parts: Parts


@dataclass(frozen=True)
class Mix:
    """Which split every choice is drawn from: `base`, except for the slots (or "frames") named otherwise."""

    base: Split
    other: tuple[tuple[str, Split], ...] = ()

    def of(self, choice: str) -> Split:
        """The split that `choice` (a slot's name, or "frames") is drawn from."""
        return dict(self.other).get(choice, self.base)

    @property
    def label(self) -> str:
        """`train`, or `train, child: test` for a mixed space."""
        return ", ".join([self.base, *(f"{choice}: {split}" for choice, split in self.other)])


@dataclass(frozen=True)
class PromptGrammar:
    """The prompt grammar of one property, as read from `data/grammars/prompts/`.

    `slots` maps a slot to its lexicon, `roles` a role used in sentences to a slot, `swapped` the same with
    the two people exchanged; `decider` is the role whose decision is observed.
    """

    id: str
    name: str
    about: str
    slots: Mapping[str, Lexicon]
    people: Mapping[str, str]
    roles: Mapping[str, str]
    swapped: Mapping[str, str]
    decider: str
    parts: Mapping[str, Parts]
    decisions: Mapping[str, Decision]
    content: Mapping[str, object]

    @cached_property
    def sha256(self) -> str:
        """Identity of the grammar: SHA-256 of its canonical content, lexicons included."""
        lexicons = {lexicon.name: lexicon.to_json() for lexicon in self.slots.values()}
        body = {"grammar": dict(self.content), "lexicons": lexicons, "renderer": RENDERER}
        canonical = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def default_decision(self) -> str:
        """The first decision of the YAML."""
        return next(iter(self.decisions))

    def space(self, split: Split, decision: str | None = None, **other: Split) -> PromptSpace:
        """All prompts of a split; `other` draws single slots, or all `frames`, from another split.

        `grammar.space("train", child="test")` holds the training prompts with test names. Raises
        `UnknownNameError` for an unknown split, decision or slot.
        """
        decision = decision or self.default_decision
        if decision not in self.decisions:
            raise unknown_name(f"decision of {self.id}", decision, list(self.decisions))
        for choice in other:
            if choice not in self.slots and choice != FRAMES:
                raise unknown_name(f"slot of {self.id}", choice, [*self.slots, FRAMES])
        for one in (split, *other.values()):
            if one not in SPLITS:
                raise unknown_name("split", one, list(SPLITS))
        return PromptSpace(self, Mix(split, tuple(sorted(other.items()))), decision)

    def __len__(self) -> int:
        """Distinct prompts over the three splits, at the default decision."""
        return sum(len(self.space(split)) for split in SPLITS)

    def prompt(self, split: Split, index: int, decision: str | None = None) -> ContrastPrompt:
        """Prompt `index` of a split."""
        return self.space(split, decision)[index]

    def bind(self, chosen: Mapping[str, Entry], roles: Mapping[str, str]) -> dict[str, Person | Entry]:
        """The people and words that `roles` stand for once an entry is chosen for every slot."""
        bound: dict[str, Person | Entry] = dict(chosen)
        for role, slot in [*zip(self.people, self.people, strict=True), *roles.items()]:
            kind = self.people[slot]
            if kind == "parent":
                bound[role] = Person("parent", chosen[slot], chosen["child"])
            elif kind == "friend":
                bound[role] = Person("friend", chosen[slot])
            else:
                bound[role] = Person("child", chosen[slot])
        return bound

    def sample(
        self, split: Split, n: int, seed: int, decision: str | None = None, **other: Split
    ) -> list[ContrastPrompt]:
        """`n` different prompts; the i-th depends on (grammar's size, split, seed, i) alone, not on `n`."""
        return self.space(split, decision, **other).sample(n, seed)


@dataclass(frozen=True)
class PromptSpace:
    """The finite list of a grammar's prompts in one (possibly mixed) split at one decision point."""

    grammar: PromptGrammar
    mix: Mix
    decision: str

    @cached_property
    def radices(self) -> dict[str, int]:
        """How many choices each slot, each part and the decision have; their product is the size."""
        grammar, mix = self.grammar, self.mix
        sizes: dict[str, int] = {}
        for slot, lexicon in grammar.slots.items():
            rivals = sum(
                grammar.slots[earlier].name == lexicon.name and mix.of(earlier) == mix.of(slot)
                for earlier in sizes
            )
            sizes[slot] = len(lexicon.parts[mix.of(slot)]) - rivals
        frames = mix.of(FRAMES)
        for part, alternatives in grammar.parts.items():
            sizes[f"part {part}"] = len(alternatives[frames])
        sizes["decision"] = len(grammar.decisions[self.decision].parts[frames])
        return sizes

    @cached_property
    def _size(self) -> int:
        return math.prod(self.radices.values())

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[ContrastPrompt]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> ContrastPrompt:
        """Prompt number `index` (mixed radix over `radices`, last one fastest).

        Raises `IndexError` outside `range(len(self))`.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"prompt {index} of {self.grammar.id} is outside range({len(self)})")
        grammar, frames = self.grammar, self.mix.of(FRAMES)
        digits: dict[str, int] = {}
        rest = index
        for choice, radix in reversed(self.radices.items()):
            rest, digits[choice] = divmod(rest, radix)
        chosen = self._entries(digits)
        alternatives = [parts[frames][digits[f"part {part}"]] for part, parts in grammar.parts.items()]
        decision = grammar.decisions[self.decision]
        alternatives.append(decision.parts[frames][digits["decision"]])
        roles, swapped = grammar.bind(chosen, grammar.roles), grammar.bind(chosen, grammar.swapped)

        slots = {slot: entry.word for slot, entry in chosen.items()}
        slots |= {
            f"{slot}.{form}": word for slot, entry in chosen.items() for form, word in entry.forms.items()
        }
        return ContrastPrompt(
            property_id=grammar.id,
            split=self.mix.label,
            index=index,
            decision=self.decision,
            clean=_write(alternatives, "clean", roles),
            corrupted=_write(alternatives, "corrupted", roles),
            role_swap_clean=_write(alternatives, "clean", swapped),
            role_swap_corrupted=_write(alternatives, "corrupted", swapped),
            neutral=_write(alternatives, "neutral", roles),
            continuation_prefix=decision.continuation_prefix,
            slots=slots,
        )

    def sample(self, n: int, seed: int) -> list[ContrastPrompt]:
        """`n` different prompts, drawn without replacement; a longer sample begins with the shorter one.

        Raises `InputError` when the space holds fewer than `n`.
        """
        return list(itertools.islice(self.stream(seed), self._enough(n)))

    def stream(self, seed: int) -> Iterator[ContrastPrompt]:
        """All prompts once, in an order that depends on the grammar's identity, the space and `seed`."""
        purpose = ("prompts", self.grammar.sha256, self.mix.label, self.decision, seed)
        order = SeededPermutation(len(self), *purpose)
        return (self[order[i]] for i in range(len(self)))

    def _enough(self, n: int) -> int:
        if not 0 <= n <= len(self):
            raise InputError(
                f"Asked for {n} different prompts of {self.grammar.id} ({self.mix.label}), "
                f"which has {len(self)}: ask for at most that many."
            )
        return n

    def _entries(self, digits: Mapping[str, int]) -> dict[str, Entry]:
        chosen: dict[str, Entry] = {}
        for slot, lexicon in self.grammar.slots.items():
            entries = lexicon.parts[self.mix.of(slot)]
            # Two slots of one lexicon never hold the same entry: the later one steps over the earlier ones.
            taken = sorted(entries.index(entry) for entry in chosen.values() if entry in entries)
            digit = digits[slot]
            for other in taken:
                digit += digit >= other
            chosen[slot] = entries[digit]
        return chosen


def _write(alternatives: Sequence[Alternative], side: str, bindings: Bindings) -> str:
    return render([alternative.side(side) for alternative in alternatives], bindings).text
