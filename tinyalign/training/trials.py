"""Trials of a recipe: one base, small changes, equal tokens; `python -m tinyalign.training.trials FILE`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from tinyalign.common.errors import DataError
from tinyalign.common.files import write_json
from tinyalign.common.resources import data_folder
from tinyalign.properties import all_properties
from tinyalign.properties.contrast import measure_contrast
from tinyalign.training.evaluation import evaluate
from tinyalign.training.loop import train
from tinyalign.training.recipe import Recipe, build
from tinyalign.training.sources import validation_stories

PROMPTS = 60
"""Prompts a property in a trial: enough to see a share of generated stories work, not to admit a property."""


@dataclass(frozen=True)
class Trial:
    """A recipe that differs from the base in what `what` says."""

    name: str
    what: str
    recipe: Recipe


def read_trials(path: Path) -> tuple[str, tuple[Trial, ...]]:
    """(what the file says of itself, its trials). `base` holds a recipe, each trial's `change` its changes.

    Mappings are changed key by key, everything else is replaced. Raises `DataError` for a file that is not
    of that form or a recipe that cannot be trained.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or set(content) != {"about", "base", "trials"}:
        raise DataError(f"{path.name} must have the keys about, base and trials, and no others.")
    trials = []
    for entry in content["trials"]:
        if set(entry) != {"name", "what", "change"}:
            raise DataError(f"{path.name}: a trial has the keys name, what and change, not {sorted(entry)}.")
        changed = {**merge(content["base"], entry["change"]), "name": entry["name"]}
        trials.append(
            Trial(entry["name"], entry["what"], build(Recipe, changed, f"{path.name}: {entry['name']}"))
        )
    names = [trial.name for trial in trials]
    if len(set(names)) < len(names):
        raise DataError(f"{path.name} has two trials of one name.")
    return content["about"], tuple(trials)


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `change` put in its place; mappings are gone into, lists are replaced."""
    merged = dict(base)
    for key, value in change.items():
        known = merged.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(known, value) if isinstance(known, Mapping) and both else value
    return merged


def run_trial(trial: Trial, runs: Path) -> dict[str, Any]:
    """Train the trial (going on from its checkpoint in `runs`) and measure it.

    `bits_per_character` is that of `evaluate` on the first `validation_stories` held-out stories, newlines
    folded; `contrasts_nats` that of each property's primary pair on `PROMPTS` prompts of the test split.
    """
    run = train(trial.recipe, runs, quiet=True)
    found = evaluate(
        run.model, validation_stories()[: trial.recipe.validation_stories], samples=0, admission_prompts=0
    )
    return {
        "name": trial.name,
        "what": trial.what,
        "tokens": run.tokens,
        "seconds": round(run.seconds, 1),
        "block_parameters": run.model.config.n_block_parameters,
        "bits_per_character": found.bits_per_character.estimate,
        "interval": [found.bits_per_character.low, found.bits_per_character.high],
        "training_loss": run.final_loss,
        "contrasts_nats": {
            prop.id: measure_contrast(prop, run.model, n=PROMPTS).mean.estimate for prop in all_properties()
        },
        "recipe_sha256": trial.recipe.sha256,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trials of a file and write their table; trials that stand in the table already are kept."""
    parser = argparse.ArgumentParser(prog="python -m tinyalign.training.trials", description=main.__doc__)
    parser.add_argument("file", type=Path, help="trials as YAML, as data/trials/ternary.yaml")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--out", type=Path, help="default: data/measurements/training_trials.json")
    options = parser.parse_args(arguments)
    out = options.out or data_folder() / "measurements" / "training_trials.json"
    torch.set_num_threads(1)
    about, trials = read_trials(options.file)
    known = _known(out)
    rows: list[dict[str, Any]] = []
    for trial in trials:
        row = known.get(trial.recipe.sha256) or run_trial(trial, options.runs)
        rows.append({**row, "name": trial.name, "what": trial.what})
        write_json(out, {"command": f"{parser.prog} {options.file}", "about": about, "trials": rows})
        print(f"{trial.name}: {row['bits_per_character']:.4f} bits a character, {row['seconds']:.0f} s")


def _known(out: Path) -> dict[str, dict[str, Any]]:
    """Rows of an earlier table by the recipe that made them."""
    if not out.is_file():
        return {}
    rows = json.loads(out.read_text(encoding="utf-8"))["trials"]
    return {row["recipe_sha256"]: row for row in rows if "recipe_sha256" in row}


if __name__ == "__main__":
    main()
