"""The shipped properties by name, and users' own from a file they pass."""

from __future__ import annotations

import importlib.util
import inspect
from functools import lru_cache
from pathlib import Path
from typing import cast

from tinyalign.common.errors import DataError, unknown_name
from tinyalign.common.resources import data_folder
from tinyalign.properties.checkers import CHECKERS
from tinyalign.properties.definition import Property, build_property, read_definition
from tinyalign.properties.outcome import Checker


@lru_cache(maxsize=1)
def all_properties() -> tuple[Property, ...]:
    """The shipped properties P1, P2, ... in order of their numbers."""
    found = [_load(path) for path in (data_folder() / "properties").glob("*.yaml")]
    for prop in found:
        if prop.source.stem != f"p{int(prop.id[1:]):02d}-{prop.name}":
            raise DataError(
                f"{prop.source}: the file's name doesn't say its id {prop.id} and name {prop.name}."
            )
    return tuple(sorted(found, key=lambda prop: int(prop.id[1:])))


def get(key: str) -> Property:
    """The shipped property with this id ("P1") or name ("obeys-prohibition"), whatever the case.

    Raises `UnknownNameError` with the nearest known ones.
    """
    for prop in all_properties():
        if key.lower() in (prop.id.lower(), prop.name):
            return prop
    known = [key for prop in all_properties() for key in (prop.name, prop.id)]
    raise unknown_name("property", key, known)


def load_property(path: str | Path) -> Property:
    """A user's own property from a YAML file of the same form as `data/properties/*.yaml`.

    `grammar` may name a shipped grammar ("P1") or a grammar's YAML file beside it; `checker` a shipped
    checker or a Python file beside it (`my_checker.py`), which must define `check(story)` returning a
    sequence of `Outcome`. **That Python file is run.** It is looked for beside the YAML file only, and only
    when a user passes that file here: no checkpoint, model or grammar can name one. Raises `DataError` with
    file and reason for anything amiss, a checker that cannot be imported included.
    """
    return _load(Path(path))


def _load(path: Path) -> Property:
    content = read_definition(path)
    name = str(content["checker"])
    checker = _python_checker(path, name) if name.endswith(".py") else _shipped_checker(path, name)
    return build_property(content, path, checker)


def _shipped_checker(path: Path, name: str) -> Checker:
    if name not in CHECKERS:
        raise DataError(
            f"{path}: checker is {name!r}; name a Python file beside it, such as my_checker.py, or one of "
            f"{', '.join(sorted(CHECKERS))}."
        )
    return CHECKERS[name]


def _python_checker(path: Path, name: str) -> Checker:
    file = path.parent / name
    if Path(name).name != name:
        raise DataError(f"{path}: checker is {name!r}; it must lie beside the property file.")
    spec = importlib.util.spec_from_file_location(f"tinyalign_user_checker_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise DataError(f"{path}: the checker {file} is not there.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, OSError) as error:
        raise DataError(
            f"{file}: importing the checker fails with {type(error).__name__}: {error}."
        ) from error
    check = getattr(module, "check", None)
    if not callable(check):
        raise DataError(f"{file}: the checker must define check(story), but has no such function.")
    required = [
        parameter.name
        for parameter in inspect.signature(check).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    if len(required) != 1:
        raise DataError(
            f"{file}: check takes the arguments {', '.join(required) or 'none'}; expected one, story."
        )
    return cast("Checker", check)
