"""Model cards, written from measured JSON by code: no figure in a card is typed by hand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyalign.common.errors import DataError
from tinyalign.common.files import write_text
from tinyalign.common.resources import data_folder

_HEAD = """---
library_name: transformers
license: mit
language: en
datasets: [roneneldan/TinyStories]
tags: [tinyalign, TinyStories, {tag}]
---
# tinyalign's embedded model `{name}`

{what} One of three of one architecture: `ternary` (1.58 bits), `binary` (1 bit), `float` (fp16 on disk).
A Llama with multi-head attention, no biases, no norms inside the sub-layers, tied float embeddings:
4 layers, 4 heads, width 192, SwiGLU 512, context 512, byte-level BPE of 2,048 tokens; 1.77 million weights
in the blocks, 2.16 million in all. `tinyalign.load("{name}")` or plain
`transformers.AutoModelForCausalLM.from_pretrained(FOLDER)`.

Weights: MIT. Training text: TinyStories (Eldan and Li, arXiv:2305.07759; CDLA-Sharing-1.0) and stories of
tinyalign's own grammar (MIT). No text of the dataset is in this folder.
"""
_WHAT = {
    "ternary": "A story model: block matrices of -1, 0 and 1 with one scale each, int8 activations.",
    "binary": "A story model: block matrices of -1 and 1 with one scale each, int8 activations.",
    "float": "The float twin of the ternary story model.",
}


def write_card(name: str, folder: Path | None = None, measurements: Path | None = None) -> Path:
    """Write `folder`/README.md of an embedded model from `measurements` (default: the project's own).

    Reads eval_NAME.json, training.json and training_trials.json. Raises `DataError` when one is missing or
    lacks a figure.
    """
    folder = folder or data_folder() / "models" / name
    measurements = measurements or data_folder() / "measurements"
    facts = _read(measurements / f"eval_{name}.json")
    training = _read(measurements / "training.json")
    trials = _read(measurements / "training_trials.json")
    if name not in _WHAT or name not in training["models"]:
        raise DataError(f"No card can be written for {name!r}: it is not one of {', '.join(_WHAT)}.")
    try:
        text = "\n".join(
            [
                _HEAD.format(name=name, what=_WHAT[name], tag="bitnet" if name != "float" else "llama"),
                _quality(facts),
                _admission(facts),
                _outcomes(facts),
                _training(training, name),
                _trits(facts),
                _memorisation(facts),
                _samples(facts),
                _failings(training),
                _trials(trials),
            ]
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"The measurements of {name} lack {error}: measure the model again.") from error
    write_text(folder / "README.md", text)
    return folder / "README.md"


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"Cannot read the measurements {path.name}: {error}.") from error


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _range(interval: Mapping[str, Any], digits: int = 3) -> str:
    return (
        f"{interval['estimate']:.{digits}f} ({interval['low']:.{digits}f} to {interval['high']:.{digits}f})"
    )


def _quality(facts: Mapping[str, Any]) -> str:
    text, own = facts["text"], facts["samples"]
    rows = [
        ("bits per character", _range(facts["bits_per_character_interval"])),
        ("nats per token", _range(facts["nats_per_token_interval"])),
        (f"of {own['n']} sampled stories, ended properly", _range(own["ended"], 2)),
        ("repetition: 4-word runs that stood earlier in the same story", f"{own['repetition']:.3f}"),
        ("distinct 1-, 2-, 3-word runs in all samples", ", ".join(f"{d:.3f}" for d in own["distinct"])),
        ("words a sampled story", f"{own['words']:.0f}"),
    ]
    return (
        f"## How good it is\n\nOn the {text['stories']} held-out stories ({text['characters']:,} characters; "
        f"{text['normalisation']}; the end-of-story token not counted). 95% intervals by story.\n\n"
        + _table(("figure", "value"), rows)
        + f"\nSamples: temperature {own['temperature']:g}, seed {own['seed']}, "
        f"up to {own['max_new_tokens']} tokens.\n"
    )


def _admission(facts: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{row['property_id']} {row['property_name']} ({row['pair']})",
            _range(row["contrast_nats"], 2),
            f"{row['role_swap_nats']['estimate']:.2f}",
            f"{row['sign_rate']['estimate']:.2f}",
            "**yes**" if row["admitted"] else "no",
        )
        for row in facts["admission"]
    ]
    admitted = [row["property_id"] for row in facts["admission"] if row["admitted"]]
    n = facts["admission"][0]["n"]
    return (
        f"## Properties\n\nContrast in nats on {n} prompts of the held-out lexicon a property; present "
        "(admitted) where it is at least .5 and its lower bound above .25. Admitted: "
        f"{', '.join(admitted) or 'none'}.\n\n"
        + _table(("property (pair)", "contrast", "roles swapped", "share positive", "present"), rows)
    )


def _outcomes(facts: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{row['property_id']} {row['property_name']}",
            str(row["satisfied"]),
            str(row["violated"]),
            str(row["unknown"]),
        )
        for row in facts["outcomes_in_samples"]
    ]
    n = facts["outcomes_in_samples"][0]["stories"]
    return (
        f"## Outcomes in its own stories\n\nWhat the text checkers find in {n} sampled stories.\n\n"
        + _table(("property", "satisfied", "violated", "unknown"), rows)
    )


def _training(training: Mapping[str, Any], name: str) -> str:
    run = training["models"][name]
    stages = [
        (
            stage["recipe"],
            f"{stage['bits']:g}",
            f"{stage['tokens'] / 1e6:.1f} M",
            f"{stage['seconds'] / 60:.0f} min",
            stage["what"],
        )
        for stage in run["stages"]
    ]
    total = sum(stage["tokens"] for stage in run["stages"])
    curve = [
        (
            p["stage"],
            f"{p['tokens'] / 1e6:.1f} M",
            f"{p['loss']:.3f}",
            f"{p['bits_per_character']:.3f}",
        )
        for p in run["curve"]
    ]
    notes = "\n".join(f"* {note}" for note in training["notes"])
    return (
        f"## Training\n\n{training['data']}\n\n{training['hardware']} Seed {training['seed']}. "
        f"{total / 1e6:.1f} million tokens in all.\n\n"
        + _table(("stage (recipe)", "bits", "tokens", "time", "what"), stages)
        + "\nLoss in training (nats a token), and bits per character on those of the first 300 held-out "
        "stories that fit the context:\n\n"
        + _table(("stage", "tokens", "loss", "held-out bits/character"), curve)
        + f"\n{notes}\n"
    )


def _trits(facts: Mapping[str, Any]) -> str:
    zeros = facts["share_of_zero_trits"]
    if not zeros:
        return ""
    rows = [(name.removeprefix("model.layers."), f"{share:.3f}") for name, share in zeros.items()]
    return "## Share of zero trits a matrix\n\n" + _table(("matrix", "zeros"), rows)


def _memorisation(facts: Mapping[str, Any]) -> str:
    found = facts["memorisation"]
    return (
        f"## Memorisation\n\nShare of {found['run_characters']}-character runs that stand word for word in "
        f"the training text: {_range(found['samples'], 4)} in {found['n_samples']} samples, "
        f"{_range(found['held_out'], 4)} in {found['n_held_out']} real held-out stories.\n"
    )


def _samples(facts: Mapping[str, Any]) -> str:
    shown = "\n\n".join("> " + text.replace("\n", "\n> ") for text in facts["first_samples"])
    n = len(facts["first_samples"])
    return f"## Samples\n\nThe first {n} of the samples measured above, not picked.\n\n{shown}\n"


def _failings(training: Mapping[str, Any]) -> str:
    return "## Known failings\n\n" + "\n".join(f"* {line}" for line in training["failings"]) + "\n"


def _trials(trials: Mapping[str, Any]) -> str:
    rows = [
        (
            row["name"],
            row["what"],
            f"{row['tokens'] / 1e6:.1f} M",
            f"{row['block_parameters'] / 1e6:.2f} M",
            f"{row['training_loss']:.2f}",
            f"{row['bits_per_character']:.3f}",
        )
        for row in trials["trials"]
    ]
    return f"## What was tried\n\n{trials['about']} (`{trials['command']}`)\n\n" + _table(
        ("trial", "what", "tokens", "weights in blocks", "training loss", "held-out bits/character"), rows
    )


def main() -> None:
    """Write the cards of the models named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(_WHAT))
    for name in parser.parse_args().names:
        print(f"wrote the card of {write_card(name).parent.name}")


if __name__ == "__main__":
    main()
