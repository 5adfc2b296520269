"""Word lists of `data/lexicons`: who can be in a story, and the verbs that stories are told with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import yaml

from tinyalign.common.errors import DataError
from tinyalign.common.resources import data_folder
from tinyalign.stories.annotation import ROLES, Gender, Role


@dataclass(frozen=True)
class Noun:
    """What a noun says about whoever it names."""

    role: Role
    gender: Gender | None
    plural: bool
    family: bool


@dataclass(frozen=True)
class People:
    """`nouns` by word, `names` by lower-case first name, and the small word sets of `people.yaml`."""

    nouns: dict[str, Noun]
    names: dict[str, Gender]
    titles: frozenset[str]
    not_names: frozenset[str]
    unspoken: frozenset[str]
    voices: frozenset[str]
    endearments: frozenset[str]
    same: dict[str, str]


@dataclass(frozen=True)
class Verbs:
    """`lemma` and `form` ("past", "participle", "gerund", "present", "base") by the word as written."""

    lemma: dict[str, str]
    form: dict[str, str]
    speech: frozenset[str]
    certain_speech: frozenset[str]
    beats: frozenset[str]
    implicative: frozenset[str]
    open_governors: frozenset[str]
    object_control: frozenset[str]
    nounlike: frozenset[str]


def word_set(words: str) -> frozenset[str]:
    """The words of a string as a set."""
    return frozenset(words.split())


_FAMILY = word_set(
    "brother brothers sister sisters son sons daughter daughters niece nephew grandson granddaughter sibling "
    "siblings cousin cousins twin twins baby babies child children sis girl boy kids kid"
)


@cache
def read_lexicon(name: str) -> dict[str, object]:
    """A file of `data/lexicons` as a mapping. Raises `DataError` if it is missing or damaged."""
    path: Path = data_folder() / "lexicons" / name
    try:
        with path.open(encoding="utf-8") as opened:
            value = yaml.load(opened, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"The lexicon {name} cannot be read ({error}): install the package again.") from error
    if not isinstance(value, dict):
        raise DataError(f"The lexicon {name} holds {type(value).__name__}, expected a mapping.")
    return cast("dict[str, object]", value)


def words_in(source: dict[str, object], key: str, name: str) -> list[str]:
    """The list of words under `key` of the lexicon `name`. Raises `DataError` if it is anything else."""
    value = source.get(key)
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise DataError(f"The lexicon {name} must give {key!r} as a list of words (quote yes, no, on, off).")
    return cast("list[str]", value)


def _words(source: dict[str, object], key: str, name: str) -> frozenset[str]:
    return frozenset(words_in(source, key, name))


@cache
def people() -> People:
    """The lexicon of characters. Raises `DataError` if the file is damaged."""
    name = "people.yaml"
    source = read_lexicon(name)
    nouns: dict[str, Noun] = {}
    for role in ROLES:
        groups = source.get(role)
        if not isinstance(groups, dict):
            raise DataError(f"The lexicon {name} must give {role!r} as lists by gender.")
        for group in groups:
            gender: Gender | None = "female" if group == "female" else "male" if group == "male" else None
            for word in _words(cast("dict[str, object]", groups), group, name):
                family = role in ("parent", "grandparent") or word in _FAMILY
                plural = group == "plural" or (role == "child" and word in ("girls", "boys"))
                nouns[word] = Noun(cast("Role", role), gender, plural, family)
    given = cast("dict[str, object]", source.get("names"))
    same = cast("dict[str, object]", source.get("same"))
    names: dict[str, Gender] = dict.fromkeys(_words(given, "female", name), "female")
    names.update(dict.fromkeys(_words(given, "male", name), "male"))
    return People(
        nouns=nouns,
        names=names,
        titles=_words(source, "titles", name),
        not_names=_words(source, "not_names", name),
        unspoken=_words(source, "unspoken", name),
        voices=_words(source, "voices", name),
        endearments=_words(source, "endearments", name),
        same={word: head for head in same for word in words_in(same, head, name)},
    )


def _regular_forms(base: str) -> dict[str, str]:
    """Written forms of a regular verb: forms -> tense."""
    vowels = "aeiou"
    doubling = (
        len(base) > 2
        and base[-1] not in vowels + "wxyh"
        and base[-2] in vowels
        and base[-3] not in vowels
        and (len(base) <= 4 or base in ("admit", "begin", "forget", "permit", "regret", "refer", "prefer"))
        and base not in ("open", "even", "iron")
    )
    stem = base + base[-1] if doubling else base
    if base.endswith("e"):
        past, gerund = base + "d", (base if base.endswith(("ee", "oe", "ye")) else base[:-1]) + "ing"
        if base.endswith("ie"):
            gerund = base[:-2] + "ying"
    elif base.endswith("y") and base[-2] not in vowels:
        past, gerund = base[:-1] + "ied", base + "ing"
    else:
        past, gerund = stem + "ed", stem + "ing"
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        present = base + "es"
    elif base.endswith("y") and base[-2] not in vowels:
        present = base[:-1] + "ies"
    else:
        present = base + "s"
    return {base: "base", past: "past", gerund: "gerund", present: "present"}


@cache
def verbs() -> Verbs:
    """The lexicon of verbs with all their written forms. Raises `DataError` if the file is damaged."""
    name = "verbs.yaml"
    source = read_lexicon(name)
    lemma: dict[str, str] = {}
    form: dict[str, str] = {}
    for base in sorted(_words(source, "regular", name)):
        for written, tense in _regular_forms(base).items():
            lemma[written], form[written] = base, tense
    irregular = source.get("irregular")
    if not isinstance(irregular, dict):
        raise DataError(f"The lexicon {name} must give 'irregular' as base: past forms.")
    for base, pasts in cast("dict[str, str]", irregular).items():
        for written, tense in _regular_forms(base).items():
            if tense != "past":
                lemma[written], form[written] = base, tense
        past, _, participle = pasts.partition(" ")
        lemma[participle or past], form[participle or past] = base, "participle"
        for written in past.split("/"):
            lemma[written], form[written] = base, "past"
    for written in ("am", "is", "are", "was", "were", "'s", "'re", "'m", "been", "being", "be"):
        lemma[written], form[written] = "be", "past" if written in ("was", "were") else "present"
    return Verbs(
        lemma=lemma,
        form=form,
        speech=_words(source, "speech", name),
        certain_speech=_words(source, "certain_speech", name),
        beats=_words(source, "beats", name),
        implicative=_words(source, "implicative", name),
        open_governors=_words(source, "open_governors", name),
        object_control=_words(source, "object_control", name),
        nounlike=_words(source, "nounlike", name),
    )
