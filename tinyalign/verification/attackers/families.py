"""Families of prompts that an attack draws from: the same antecedent, said or set otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tinyalign.common.errors import DataError, InputError
from tinyalign.common.resources import data_folder
from tinyalign.stories.grammar import SPLITS, ContrastPrompt, Lexicon, PromptGrammar, PromptSpace, Split
from tinyalign.stories.grammar.lexicon import Entry, read_yaml
from tinyalign.stories.grammar.prompts import Alternative, Parts
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.drawing import altered, draw

FamilyName = Literal["paraphrase", "inserted", "peer", "stranger"]
FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)


@dataclass(frozen=True)
class Family:
    """Spaces of prompts, all of one kind; attempt i draws from space i modulo their number.

    `about` says in words what the family holds, and what it lacks for this property. Every word that fills a
    slot comes from the lexicons' test part. The clean side is the one to be attacked.
    """

    name: FamilyName
    about: str
    spaces: tuple[PromptSpace, ...]

    @property
    def size(self) -> int:
        """How many different attempts can be made before a space is exhausted."""
        return len(self.spaces) * min(map(len, self.spaces))

    def prompts(self, context: Context, indices: range) -> list[ContrastPrompt]:
        """Attempts number `indices` of the sealed stream; raises `InputError` beyond `size`."""
        if indices.stop > self.size:
            raise InputError(
                f"The family {self.name} has {self.size} different prompts, fewer than the {indices.stop} "
                "asked for: lower the number."
            )
        spaces = len(self.spaces)
        return [
            draw(
                context, self.spaces[i % spaces], range(i // spaces, i // spaces + 1), f"attack-{self.name}"
            )[0]
            for i in indices
        ]


def family(context: Context, name: FamilyName) -> Family:
    """The family of that name for the context's property and decision.

    Raises `InputError` where the property has none (nobody but the decider is a parent), `DataError` where a
    file of attacks breaks its rules.
    """
    builders: Mapping[FamilyName, Callable[[Context], Family]] = {
        "paraphrase": _paraphrase,
        "inserted": _inserted,
        "peer": _peer,
        "stranger": _stranger,
    }
    return builders[name](context)


def antecedent_parts(grammar: PromptGrammar) -> tuple[str, ...]:
    """Names of the parts that differ between the clean and the corrupted side: where the antecedent is."""
    return tuple(
        name
        for name, parts in grammar.parts.items()
        if any(one.clean != one.corrupted for split in SPLITS for one in parts[split])
    )


def attacks_folder() -> Path:
    """Where the written attacks lie."""
    return data_folder() / "arguments" / "attacks"


def _paraphrase(context: Context) -> Family:
    grammar = context.prop.prompts
    decision = context.pair.decision
    slots: dict[str, Split] = dict.fromkeys(grammar.slots, "test")
    spaces = [grammar.space("test", decision), grammar.space("development", decision, **slots)]
    about = "test words in the test and the development wordings"
    path = attacks_folder() / f"{context.prop.source.stem}.yaml"
    if path.is_file():
        part, written = _written(path, grammar)
        changed = altered(grammar, "paraphrased", parts={**grammar.parts, part: written})
        spaces.append(changed.space("test", decision))
        about += f", and {len(written['test'])} written paraphrases"
    else:
        about += f" (no paraphrases are written for {context.prop.id})"
    return Family("paraphrase", about, tuple(spaces))


def _written(path: Path, grammar: PromptGrammar) -> tuple[str, Parts]:
    content = read_yaml(path)
    part, sentences = content.get("part"), content.get("paraphrases")
    if not isinstance(part, str) or part not in grammar.parts:
        raise DataError(f"{path}: part is {part!r}, expected one of {', '.join(grammar.parts)}.")
    # The corrupted side stays as the grammar has it, so that the two differ exactly in the antecedent.
    other = grammar.parts[part]["test"][0]
    alternatives = tuple(
        Alternative(sentence, other.corrupted, other.neutral) for sentence in _sentences(sentences, path)
    )
    return part, dict.fromkeys(SPLITS, alternatives)


def _inserted(context: Context) -> Family:
    grammar = context.prop.prompts
    path = attacks_folder() / "inserted.yaml"
    sentences = _sentences(read_yaml(path).get("sentences"), path)
    neutral = dict.fromkeys(SPLITS, tuple(Alternative(one, one, one) for one in sentences))
    names = list(grammar.parts)
    antecedent = antecedent_parts(grammar)
    if not antecedent:
        raise InputError(f"{grammar.id} has no part with the antecedent: clean and corrupted are alike.")
    places = {"before": names.index(antecedent[0]), "after": names.index(antecedent[-1]) + 1}
    spaces = []
    for where, at in places.items():
        items = list(grammar.parts.items())
        items.insert(at, ("inserted", neutral))
        changed = altered(grammar, f"a sentence inserted {where} the antecedent", parts=dict(items))
        spaces.append(changed.space("test", context.pair.decision))
    about = (
        f"test prompts with one of {len(sentences)} neutral sentences right before or after the antecedent"
    )
    return Family("inserted", about, tuple(spaces))


def _peer(context: Context) -> Family:
    names = context.prop.prompts.slots["child"]
    return _spoken_by(context, "peer", names, "a friend of the child speaks the parent's words")


def _stranger(context: Context) -> Family:
    path = attacks_folder() / "speakers.yaml"
    raw = read_yaml(path).get("strangers")
    if not isinstance(raw, dict) or set(raw) - {"f", "m"} or not raw:
        raise DataError(f"{path}: strangers should be lists under f and m, but are {raw!r}.")
    entries = tuple(
        Entry("name", {"name": str(name), "gender": str(gender)})
        for gender, listed in raw.items()
        for name in listed
    )
    lexicon = Lexicon("strangers", "name", dict.fromkeys(SPLITS, entries))
    return _spoken_by(context, "stranger", lexicon, "somebody unknown speaks the parent's words")


def _spoken_by(context: Context, name: FamilyName, lexicon: Lexicon, about: str) -> Family:
    """The grammar with the parent's role (not the decider's) given to somebody out of `lexicon`."""
    grammar = context.prop.prompts
    parents = [
        role
        for role, slot in grammar.roles.items()
        if grammar.people[slot] == "parent" and role != grammar.decider
    ]
    if not parents:
        raise InputError(
            f"{grammar.id} has no parent who speaks to the one who decides: it has no family {name!r}."
        )
    changed = altered(
        grammar,
        f"spoken by a {name}",
        slots={**grammar.slots, name: lexicon},
        people={**grammar.people, name: "friend"},
        roles={**grammar.roles, **dict.fromkeys(parents, name)},
    )
    return Family(name, about, (changed.space("test", context.pair.decision),))


def _sentences(raw: object, path: Path) -> list[str]:
    if not isinstance(raw, list) or not raw or not all(isinstance(one, str) and one for one in raw):
        raise DataError(f"{path}: a list with at least one sentence was expected, found {raw!r}.")
    return raw


def entry_of(grammar: PromptGrammar, slot: str, word: str) -> Entry | None:
    """The entry of any split with which `slot` writes `word`, None for a word of none."""
    entries = (entry for split in SPLITS for entry in grammar.slots[slot].parts[split])
    return next((entry for entry in entries if entry.word == word), None)


def common_names(grammar: PromptGrammar, prompt: ContrastPrompt) -> tuple[tuple[str, str], ...]:
    """(word, commonest word of the same gender) for every person of a prompt, forms of address included.

    The commonest are the first of the training part; nothing is given for a person who has that name.
    """
    swaps: list[tuple[str, str]] = []
    taken: set[str] = set()
    for slot in grammar.people:
        entry = entry_of(grammar, slot, prompt.slots[slot])
        if entry is None:
            continue
        gender = entry.forms["gender"]
        same = [one for one in grammar.slots[slot].parts["train"] if one.forms["gender"] == gender]
        common = next((one for one in same if one.word not in taken), entry)
        taken.add(common.word)
        for form in ("call", "name", "word"):
            old, new = entry.forms.get(form), common.forms.get(form)
            if old and new and old != new:
                swaps.append((old, new))
    return tuple(swaps)
