"""Reading prompt grammars from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import cast

from tinyalign.common.errors import DataError, unknown_name
from tinyalign.stories.grammar.lexicon import SPLITS, Lexicon, Split, grammars_folder, load_lexicon, read_yaml
from tinyalign.stories.grammar.prompts import Alternative, Decision, Parts, PromptGrammar

_KEYS = ("id", "name", "about", "slots", "roles", "swapped", "decider", "parts", "decisions")


def grammar_ids() -> tuple[str, ...]:
    """The ids of the shipped prompt grammars, in order: P1, P2, ... P13."""
    return tuple(sorted(_files(), key=lambda key: int(key[1:])))


@lru_cache(maxsize=64)
def load_grammar(key: str) -> PromptGrammar:
    """The shipped prompt grammar of a property, by id ("P1") or name ("obeys-prohibition").

    Raises `UnknownNameError` with the nearest known id or name.
    """
    files = _files()
    for known, path in files.items():
        if key.lower() in (known.lower(), _name_of(path)):
            return read_grammar(path)
    raise unknown_name("prompt grammar", key, [*files, *map(_name_of, files.values())])


def _files() -> dict[str, Path]:
    # Files are called p01-obeys-prohibition.yaml: the number gives the id, the rest the name.
    found = sorted((grammars_folder() / "prompts").glob("p*-*.yaml"))
    return {f"P{int(path.stem.split('-')[0][1:])}": path for path in found}


def _name_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def read_grammar(path: Path, lexicons: Path | None = None) -> PromptGrammar:
    """Read one prompt grammar; its lexicons come from `lexicons` (by default the shipped folder).

    Raises `DataError` (file, key, reason) where the form is wrong.
    """
    content = read_yaml(path)
    for key in _KEYS:
        if key not in content:
            raise DataError(f"{path}: the key {key!r} is missing; a prompt grammar has {', '.join(_KEYS)}.")
    slots: dict[str, Lexicon] = {}
    people: dict[str, str] = {}
    for slot, name in _mapping(content["slots"], path, "slots").items():
        slots[slot] = load_lexicon(str(name), lexicons)
        if slots[slot].kind == "name":
            people[slot] = "child" if slot == "child" else "friend"
        elif slots[slot].kind == "relation":
            people[slot] = "parent"
    if people.get("child") != "child":
        raise DataError(f"{path}: slots need a 'child' out of a lexicon of names.")
    roles = {role: str(slot) for role, slot in _mapping(content["roles"], path, "roles").items()}
    swapped = {role: str(slot) for role, slot in _mapping(content["swapped"], path, "swapped").items()}
    for table in (roles, swapped):
        for role, slot in table.items():
            if slot not in people:
                raise DataError(
                    f"{path}: role {role!r} is given to {slot!r}, which is no person among the slots."
                )
    if set(roles) != set(swapped):
        raise DataError(f"{path}: roles and swapped must name the same roles.")
    if content["decider"] not in roles:
        raise DataError(f"{path}: decider is {content['decider']!r}, expected one of {', '.join(roles)}.")
    frames = (lexicons or grammars_folder() / "lexicons").parent / "frames"
    raw_parts = dict(_mapping(content["parts"], path, "parts"))
    for part, raw in raw_parts.items():
        if isinstance(raw, str):  # parts that several grammars share lie in files of their own
            raw_parts[part] = read_yaml(frames / f"{raw}.yaml")
    parts = {part: _parts(raw, path, f"parts: {part}") for part, raw in raw_parts.items()}
    return PromptGrammar(
        id=str(content["id"]),
        name=str(content["name"]),
        about=str(content["about"]).strip(),
        slots=slots,
        people=people,
        roles=roles,
        swapped=swapped,
        decider=str(content["decider"]),
        parts=parts,
        decisions={
            name: _decision(name, raw, path)
            for name, raw in _mapping(content["decisions"], path, "decisions").items()
        },
        content={**content, "parts": raw_parts},
    )


def _mapping(raw: object, path: Path, key: str) -> Mapping[str, object]:
    if not isinstance(raw, dict) or not raw:
        raise DataError(f"{path}: {key!r} should be a mapping with at least one entry, found {raw!r}.")
    return cast("Mapping[str, object]", raw)


def _decision(name: str, raw: object, path: Path) -> Decision:
    fields = _mapping(raw, path, f"decisions: {name}")
    prefix = fields.get("continuation", " ")
    if prefix not in ("", " "):
        raise DataError(f'{path}: decision {name!r} has continuation {prefix!r}; write " " or "".')
    return Decision(
        name, str(fields.get("about", "")), str(prefix), _parts(fields, path, f"decisions: {name}")
    )


def _parts(raw: object, path: Path, key: str) -> Parts:
    fields = _mapping(raw, path, key)
    parts: dict[Split, tuple[Alternative, ...]] = {}
    for split in SPLITS:
        listed = fields.get(split)
        if not isinstance(listed, list) or not listed:
            raise DataError(f"{path}: {key!r} needs a list of sentences for {split}.")
        parts[split] = tuple(_alternative(one, path, key) for one in listed)
    return parts


def _alternative(raw: object, path: Path, key: str) -> Alternative:
    if isinstance(raw, str):
        return Alternative(raw, raw, raw)
    if isinstance(raw, dict) and set(raw) == {"clean", "corrupted", "neutral"}:
        return Alternative(**{side: str(text) for side, text in raw.items()})
    raise DataError(f"{path}: {key!r} has {raw!r}; write a sentence, or clean, corrupted and neutral.")
