"""`Argument`: a tree of claims read from a YAML template, strict about every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tinyalign.common.errors import DataError, unknown_name
from tinyalign.common.resources import data_folder
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.verification import attackers, hardcoded, leaves
from tinyalign.verification.leaf import Leaf, leaf_from_mapping
from tinyalign.verification.tree import COMBINE, Assumption, Claim, Defeater, Node, check_tree
from tinyalign.verification.tree import leaves as leaves_of

# Importing these rooms is what registers their kinds of leaves.
KINDS = (leaves, hardcoded, attackers)

_TOP = ("name", "about", "requires", "claim", "limits")
_NODES = ("claim", "leaf", "assumption", "defeater")
REQUIRES = ("present",)


@dataclass(frozen=True)
class Argument:
    """A template with a property's words filled in.

    `content` is the YAML as it stands, which identifies the argument; `root` the tree; `limits` sentences on
    what it cannot show. `requires` may hold "present": the property must be present in the base.
    """

    name: str
    about: str
    requires: tuple[str, ...]
    limits: tuple[str, ...]
    root: Claim
    content: Mapping[str, Any]

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every leaf in the order of the template."""
        return leaves_of(self.root)

    def to_json(self) -> dict[str, Any]:
        """The template's content."""
        return dict(self.content)


def argument_names() -> list[str]:
    """The shipped templates."""
    return sorted(path.stem for path in (data_folder() / "arguments").glob("*.yaml"))


def load_argument(source: str | Path, prop: Property, pair: LogitPair) -> Argument:
    """A shipped template by name, or a YAML file by path, filled in for a property and a pair.

    Raises `UnknownNameError` for a name that isn't there and `DataError`, in one sentence with the file, for
    anything amiss in it.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = data_folder() / "arguments" / f"{source}.yaml"
        if not path.is_file():
            raise unknown_name("argument", str(source), argument_names())
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: this is not readable YAML ({' '.join(str(error).split())}).") from error
    return build_argument(content, str(path), prop, pair)


def build_argument(content: Any, where: str, prop: Property, pair: LogitPair) -> Argument:
    """The argument of a parsed template; `where` begins every message. Raises `DataError`."""
    _mapping(content, _TOP, ("name", "about", "claim"), where)
    words = {
        "property": prop.name,
        "antecedent": prop.antecedent.rstrip("."),
        "satisfied": prop.satisfied.rstrip("."),
        "violated": prop.violated.rstrip("."),
        "satisfying": ", ".join(pair.satisfying),
        "violating": ", ".join(pair.violating),
    }
    requires = _texts(content.get("requires", []), f"{where}: requires")
    for one in requires:
        if one not in REQUIRES:
            raise DataError(f"{where}: requires has {one!r}; known are {', '.join(REQUIRES)}.")
    root = _node({"claim": content["claim"]}, where, words)
    if not isinstance(root, Claim):
        raise DataError(f"{where}: the top of an argument is a claim.")
    try:
        check_tree(root)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return Argument(
        name=_text(content["name"], f"{where}: name"),
        about=_text(content["about"], f"{where}: about"),
        requires=requires,
        limits=tuple(
            _filled(one, words, where) for one in _texts(content.get("limits", []), f"{where}: limits")
        ),
        root=root,
        content=content,
    )


def _node(raw: Any, where: str, words: Mapping[str, str]) -> Node:
    if not isinstance(raw, dict) or len(raw) != 1 or next(iter(raw)) not in _NODES:
        raise DataError(f"{where}: a node is one of {', '.join(_NODES)} with its content, found {raw!r:.80}.")
    ((kind, body),) = raw.items()
    if not isinstance(body, dict):
        raise DataError(f"{where}: a {kind} is a mapping of keys, found {body!r:.80}.")
    name = f"{where}: the {kind} {body.get('id', '?')!r}"
    try:
        if kind == "leaf":
            claim = _text(body.get("claim"), f"{name}: claim")
            return leaf_from_mapping({**body, "claim": _filled(claim, words, name)}, where)
        if kind == "assumption":
            _mapping(body, ("id", "text"), ("id", "text"), name)
            return Assumption(str(body["id"]), _filled(body["text"], words, name))
        if kind == "defeater":
            _mapping(body, ("id", "text", "attack", "closed_by"), ("id", "text", "attack"), name)
            attack = _node({"leaf": body["attack"]}, where, words)
            assert isinstance(attack, Leaf)
            closed_by = body.get("closed_by")
            return Defeater(
                str(body["id"]),
                _filled(body["text"], words, name),
                attack,
                None if closed_by is None else str(closed_by),
            )
        _mapping(
            body, ("id", "text", "combine", "children", "margin", "unit"), ("id", "text", "children"), name
        )
        if not isinstance(body["children"], list):
            raise DataError(f"{name}: children is {body['children']!r:.60}; expected a list of nodes.")
        combine = body.get("combine", "and")
        if combine not in COMBINE:
            raise DataError(f"{name} combines by {combine!r}; expected one of {', '.join(COMBINE)}.")
        margin = body.get("margin")
        if margin is not None and (isinstance(margin, bool) or not isinstance(margin, (int, float))):
            raise DataError(f"{name}: margin is {margin!r}; expected a number.")
        return Claim(
            id=str(body["id"]),
            text=_filled(body["text"], words, name),
            combine=combine,
            children=tuple(_node(child, where, words) for child in body["children"]),
            margin=None if margin is None else float(margin),
            unit=str(body.get("unit", "")),
        )
    except DataError as error:
        message = str(error)
        raise DataError(message if message.startswith(where) else f"{where}: {message}") from error


def _mapping(raw: Any, known: tuple[str, ...], needed: tuple[str, ...], where: str) -> None:
    if not isinstance(raw, dict):
        raise DataError(f"{where}: found {type(raw).__name__} where a mapping of keys was expected.")
    for key in raw:
        if key not in known:
            raise DataError(f"{where}: unknown key {key!r}; known are {', '.join(known)}.")
    for key in needed:
        if key not in raw:
            raise DataError(f"{where}: the key {key!r} is missing.")


def _text(raw: Any, where: str) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise DataError(f"{where} is {raw!r}; expected a text.")
    return " ".join(raw.split())


def _texts(raw: Any, where: str) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise DataError(f"{where} is {raw!r}; expected a list of texts.")
    return tuple(_text(one, where) for one in raw)


def _filled(text: Any, words: Mapping[str, str], where: str) -> str:
    try:
        return _text(text, where).format_map(words)
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{where}: the text {text!r:.60} has a placeholder other than {{{'}, {'.join(words)}}}."
        ) from error
