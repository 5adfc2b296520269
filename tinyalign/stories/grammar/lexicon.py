"""Lexicons: lists of names, relations, things and doings, each in three disjoint parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast, get_args

import yaml

from tinyalign.common.errors import DataError
from tinyalign.common.resources import data_folder

Split = Literal["train", "development", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# For every kind of lexicon the forms an entry must have; the first one is what the bare slot writes.
KINDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "gender"),
    "relation": ("word", "call", "gender"),
    "thing": ("word", "article"),
    "activity": ("base", "ing", "past", "it"),
    "mischief": ("base", "ing", "past", "innocent", "thing"),
    "accident": ("past", "innocent"),
    "phrase": ("text",),
}
OPTIONAL: Mapping[str, tuple[str, ...]] = {"activity": ("irregular",), "mischief": ("irregular",)}

PRONOUNS: Mapping[str, Mapping[str, str]] = {
    "f": {"he": "she", "him": "her", "his": "her", "himself": "herself", "kid": "girl"},
    "m": {"he": "he", "him": "him", "his": "his", "himself": "himself", "kid": "boy"},
}


@dataclass(frozen=True)
class Entry:
    """One line of a lexicon: its kind and its forms by name (all strings, in the YAML's order)."""

    kind: str
    forms: Mapping[str, str]

    @property
    def word(self) -> str:
        """The form a bare slot writes."""
        return self.forms[KINDS[self.kind][0]]

    def form(self, name: str) -> str:
        """A form by name: the YAML's own, or one that follows from it (pronouns, `a`, `the`).

        Raises `DataError` for a form the entry does not have.
        """
        if name in self.forms:
            return self.forms[name]
        if "gender" in self.forms and name in PRONOUNS[self.forms["gender"]]:
            return PRONOUNS[self.forms["gender"]][name]
        if self.kind == "thing" and name == "a":
            return f"{self.forms['article']} {self.word}"
        if self.kind == "thing" and name == "the":
            return f"the {self.word}"
        raise DataError(
            f"The {self.kind} {self.word!r} has no form {name!r}: it has {', '.join(self.forms)}."
        )


@dataclass(frozen=True)
class Lexicon:
    """A named list of entries in three parts that share nothing."""

    name: str
    kind: str
    parts: Mapping[Split, tuple[Entry, ...]]

    def to_json(self) -> dict[str, object]:
        """The lexicon's whole content, for identity hashes."""
        return {
            "lexicon": self.name,
            "kind": self.kind,
            **{split: [dict(entry.forms) for entry in self.parts[split]] for split in SPLITS},
        }


def read_yaml(path: Path) -> dict[str, object]:
    """The mapping in a YAML file; raises `DataError` with the file and what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file; see the README of data/grammars for what is there."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: this is not readable YAML ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: found {type(content).__name__} where a mapping of keys was expected.")
    return cast("dict[str, object]", content)


def _entry(kind: str, raw: object, where: str) -> Entry:
    if isinstance(raw, str) and kind == "phrase":
        return Entry(kind, {"text": raw})
    if not isinstance(raw, dict):
        raise DataError(f"{where}: entry {raw!r} should be a mapping with {', '.join(KINDS[kind])}.")
    forms = {str(key): str(value) for key, value in raw.items()}
    missing = [form for form in KINDS[kind] if not forms.get(form)]
    if missing:
        raise DataError(f"{where}: entry {raw!r} lacks the form {missing[0]!r} that every {kind} needs.")
    extra = [form for form in forms if form not in KINDS[kind] + OPTIONAL.get(kind, ())]
    if extra:
        raise DataError(f"{where}: entry {raw!r} has a form {extra[0]!r} that no {kind} has.")
    if "gender" in forms and forms["gender"] not in PRONOUNS:
        raise DataError(f"{where}: entry {raw!r} has gender {forms['gender']!r}; write f or m.")
    return Entry(kind, forms)


def _entries(kind: str, raw: object, where: str) -> tuple[Entry, ...]:
    # Names are written as two short lists, which is how a teacher would write them.
    if kind == "name" and isinstance(raw, dict):
        raw = [{"name": name, "gender": g} for g, names in raw.items() for name in names or []]
    if not isinstance(raw, list) or not raw:
        raise DataError(f"{where}: a list with at least one entry was expected.")
    return tuple(_entry(kind, one, where) for one in raw)


def read_lexicon(path: Path) -> Lexicon:
    """Read one lexicon file; raises `DataError` (file, entry, reason) where its form is wrong."""
    content = read_yaml(path)
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"{path}: kind is {kind!r}, expected one of {', '.join(KINDS)}.")
    return Lexicon(
        name=path.stem,
        kind=kind,
        parts={split: _entries(kind, content.get(split), f"{path} ({split})") for split in SPLITS},
    )


@lru_cache(maxsize=64)
def load_lexicon(name: str, folder: Path | None = None) -> Lexicon:
    """The lexicon `name` from `folder` (by default the one that ships with tinyalign)."""
    return read_lexicon((folder or grammars_folder() / "lexicons") / f"{name}.yaml")


def grammars_folder() -> Path:
    """Where the shipped lexicons, prompt grammars and story grammars lie."""
    return data_folder() / "grammars"
