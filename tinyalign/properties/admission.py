"""Admission: which properties are present in a model, so that circuits and preservation can be claimed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tinyalign.common.errors import InputError
from tinyalign.common.files import write_json
from tinyalign.engine.score import LanguageModel
from tinyalign.models import load
from tinyalign.properties.contrast import ADMISSION_LOWER_BOUND, ADMISSION_NATS, Contrast, measure_contrast
from tinyalign.properties.definition import Property
from tinyalign.properties.registry import all_properties
from tinyalign.stories.grammar import SPLITS

PRESENT, ABSENT = "present", "not present in this model"


@dataclass(frozen=True)
class AdmissionRow:
    """One property: the contrast of its primary pair, which decides, and those of its other pairs."""

    primary: Contrast
    others: tuple[Contrast, ...]
    splits: tuple[Contrast, ...] = ()

    def __post_init__(self) -> None:
        if any(other.property_id != self.primary.property_id for other in (*self.others, *self.splits)):
            raise InputError("An admission row holds the contrasts of one property.")

    @property
    def admitted(self) -> bool:
        """Whether the primary pair's contrast is at least .5 nats with its interval's low end above .25."""
        return self.primary.admitted

    def to_json(self) -> dict[str, object]:
        """The row as JSON values: id, name, contrast, interval, admitted, and all that backs them."""
        contrast = self.primary
        return {
            "id": contrast.property_id,
            "name": contrast.property_name,
            "contrast_nats": contrast.mean.estimate,
            "interval": [contrast.mean.low, contrast.mean.high],
            "admitted": self.admitted,
            "verdict": PRESENT if self.admitted else ABSENT,
            "primary": contrast.to_json(),
            "other_pairs": [other.to_json() for other in self.others],
            "other_splits": [other.to_json() for other in self.splits],
        }


@dataclass(frozen=True)
class AdmissionTable:
    """The rows of several properties on one model."""

    model: str
    model_sha256: str
    rows: tuple[AdmissionRow, ...]

    @property
    def admitted(self) -> tuple[str, ...]:
        """Ids of the properties that are present."""
        return tuple(row.primary.property_id for row in self.rows if row.admitted)

    def to_json(self) -> dict[str, object]:
        """The table as JSON values; `properties` is the list that `tinyalign properties --json` prints."""
        return {
            "model": self.model,
            "model_sha256": self.model_sha256,
            "rule": f"contrast >= {ADMISSION_NATS} nats and its interval's low end > {ADMISSION_LOWER_BOUND}",
            "properties": [row.to_json() for row in self.rows],
        }


def admission(
    model: LanguageModel,
    props: Sequence[Property],
    n: int = 500,
    seed: int = 0,
    split: str = "test",
    *,
    other_pairs: bool = True,
    other_splits: Sequence[str] = (),
    batch_size: int = 32,
) -> AdmissionTable:
    """Measure which of `props` are present in `model`; see `rows` for getting them one by one.

    `n` prompts a property, pair and split, drawn by `seed`. The primary pair on `split` decides; the other
    pairs, and the primary pair on `other_splits`, are measured beside it for the reader. Nothing is corrected
    for multiplicity: admission decides what is worth studying and is never itself a claim. Raises what
    `measure_contrast` raises, and `InputError` for no property at all.
    """
    if not props:
        raise InputError("There is no property to measure: name at least one.")
    found = rows(
        model,
        props,
        n,
        seed,
        split,
        other_pairs=other_pairs,
        other_splits=other_splits,
        batch_size=batch_size,
    )
    return AdmissionTable(model.name, model.sha256, tuple(found))


def rows(
    model: LanguageModel,
    props: Sequence[Property],
    n: int = 500,
    seed: int = 0,
    split: str = "test",
    *,
    other_pairs: bool = True,
    other_splits: Sequence[str] = (),
    batch_size: int = 32,
) -> Iterator[AdmissionRow]:
    """The rows of `admission` one by one, as they are measured (for progress bars)."""

    def measure(prop: Property, on: str, pair: str) -> Contrast:
        return measure_contrast(prop, model, n=n, seed=seed, split=on, pair=pair, batch_size=batch_size)

    for prop in props:
        others = [name for name in prop.pairs if name != prop.primary] if other_pairs else []
        yield AdmissionRow(
            primary=measure(prop, split, prop.primary),
            others=tuple(measure(prop, split, name) for name in others),
            splits=tuple(measure(prop, on, prop.primary) for on in other_splits),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every shipped property on a model and write the table as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tinyalign.properties.admission", description=main.__doc__
    )
    parser.add_argument("model", help="anything tinyalign.load takes")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("-n", type=int, default=500, help="prompts a property, pair and split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="the split that decides admission")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = load(options.model)
    others = tuple(split for split in SPLITS if split != options.split)
    table = admission(model, all_properties(), options.n, options.seed, options.split, other_splits=others)
    command = (
        f"python -m tinyalign.properties.admission {model.name} -n {options.n} --seed {options.seed} "
        f"--split {options.split}"
    )
    write_json(options.out, {"command": command, **table.to_json()})


if __name__ == "__main__":
    main()
