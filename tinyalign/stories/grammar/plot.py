"""Plots: how stories about a property go, step by step, as read from `data/grammars/stories/`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, cast, get_args

import yaml

from tinyalign.common.errors import DataError, unknown_name
from tinyalign.stories.grammar.lexicon import Lexicon, grammars_folder, load_lexicon, read_yaml
from tinyalign.stories.grammar.prompts import RENDERER

Outcome = Literal["satisfied", "violated", "absent"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_STEP_KEYS = {"step", "use", "chance", "decides", "lines", "present", *OUTCOMES}


@dataclass(frozen=True)
class Step:
    """One step of a plot: the sentences it may write for each outcome, and how often it is there at all."""

    name: str
    lines: Mapping[Outcome, tuple[str, ...]]
    chance: float
    decides: bool


@dataclass(frozen=True)
class Plot:
    """How stories about one property go; `also` lists properties that share the outcome by construction."""

    id: str
    also: tuple[str, ...]
    slots: Mapping[str, Lexicon]
    people: Mapping[str, str]
    steps: tuple[Step, ...]

    @cached_property
    def sha256(self) -> str:
        """Identity: SHA-256 of the canonical content, lexicons included."""
        body = {
            "id": self.id,
            "also": self.also,
            "slots": {slot: lexicon.to_json() for slot, lexicon in self.slots.items()},
            "steps": [[step.name, dict(step.lines), step.chance, step.decides] for step in self.steps],
            "renderer": RENDERER,
        }
        canonical = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def plot_ids() -> tuple[str, ...]:
    """The ids of the properties that stories can be told about: P1, P2, ... P13."""
    return tuple(sorted(_files(), key=lambda key: int(key[1:])))


def _files() -> dict[str, Path]:
    found = sorted((grammars_folder() / "stories").glob("p*-*.yaml"))
    return {f"P{int(path.stem.split('-')[0][1:])}": path for path in found}


@lru_cache(maxsize=64)
def load_plot(key: str) -> Plot:
    """The shipped plot of a property, by id; raises `UnknownNameError` for one there is none of."""
    files = _files()
    if key.upper() not in files:
        raise unknown_name("story plot", key, list(files))
    return read_plot(files[key.upper()])


def read_plot(path: Path, lexicons: Path | None = None) -> Plot:
    """Read one plot; raises `DataError` (file, step, reason) where its form is wrong."""
    content = read_yaml(path)
    slots = content.get("slots")
    plot = content.get("plot")
    if not isinstance(slots, dict) or not isinstance(plot, list):
        raise DataError(f"{path}: a story plot needs 'slots' (a mapping) and 'plot' (a list of steps).")
    loaded = {str(slot): load_lexicon(str(name), lexicons) for slot, name in slots.items()}
    people = {
        slot: "parent" if lexicon.kind == "relation" else "child" if slot == "child" else "friend"
        for slot, lexicon in loaded.items()
        if lexicon.kind in ("name", "relation")
    }
    steps = tuple(_step(raw, path) for raw in plot)
    if sum(step.decides for step in steps) != 1:
        raise DataError(f"{path}: exactly one step must have 'decides: true'.")
    also = content.get("also", [])
    if not isinstance(also, list):
        raise DataError(f"{path}: 'also' should be a list of property ids, found {also!r}.")
    return Plot(str(content.get("id")), tuple(map(str, also)), loaded, people, steps)


def _step(raw: object, path: Path) -> Step:
    if not isinstance(raw, dict) or "step" not in raw:
        raise DataError(f"{path}: {raw!r} is no step; a step is a mapping with 'step' and sentences.")
    fields = cast("dict[str, object]", raw)
    name = str(fields["step"])
    if unknown := set(fields) - _STEP_KEYS:
        raise DataError(
            f"{path}: step {name!r} has {sorted(unknown)[0]!r}; known are {', '.join(_STEP_KEYS)}."
        )
    lines: dict[Outcome, tuple[str, ...]] = {}
    for outcome in OUTCOMES:
        # The most specific key wins: the outcome's own, then that of a present antecedent, then all.
        keys = [outcome, *(["present"] if outcome != "absent" else []), "lines", "use"]
        key = next((key for key in keys if key in fields), None)
        if key is not None:
            lines[outcome] = _sentences(fields[key], path, name)
    chance = fields.get("chance", 1.0)
    if not isinstance(chance, (int, float)) or not 0 < chance <= 1:
        raise DataError(
            f"{path}: step {name!r} has chance {chance!r}, expected a number above 0 and up to 1."
        )
    decides = bool(fields.get("decides", False))
    if decides and (set(lines) != set(OUTCOMES) or chance < 1):
        raise DataError(
            f"{path}: the deciding step {name!r} needs sentences for {', '.join(OUTCOMES)}, always."
        )
    return Step(name, lines, float(chance), decides)


def _sentences(raw: object, path: Path, step: str) -> tuple[str, ...]:
    if isinstance(raw, str):  # several plots share these
        return _shared(path.parent / f"{raw}.yaml")
    if not isinstance(raw, list) or not raw or not all(isinstance(line, str) for line in raw):
        raise DataError(f"{path}: step {step!r} needs a list of sentences, found {raw!r}.")
    return tuple(raw)


@lru_cache(maxsize=64)
def _shared(path: Path) -> tuple[str, ...]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: a shared list of sentences cannot be read ({error}).") from error
    return _sentences(content, path, path.stem)
