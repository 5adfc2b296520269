"""A training recipe: a YAML file read into frozen dataclasses that refuse what cannot be trained."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from tinyalign.common.errors import DataError, unknown_name
from tinyalign.common.resources import data_folder

_T = TypeVar("_T")


@dataclass(frozen=True)
class Shape:
    """Dimensions of the Llama: multi-head attention, no biases, tied embeddings."""

    d_model: int = 192
    n_layers: int = 4
    n_heads: int = 4
    d_mlp: int = 512
    n_ctx: int = 512
    d_vocab: int = 2048

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise DataError(f"The recipe's shape.{name} is {value}; it must be 1 or more.")
        if self.d_model % (2 * self.n_heads):
            raise DataError(
                f"The recipe's d_model {self.d_model} does not split into {self.n_heads} heads of even size."
            )
        if self.d_vocab < 257:
            raise DataError(f"A vocabulary of {self.d_vocab} has no room for the 256 bytes and end of text.")


@dataclass(frozen=True)
class Generated:
    """Stories of the grammar mixed in: see `tinyalign.stories.grammar.StoryGenerator`."""

    stories: int
    properties: tuple[str, ...] = ()
    violation_rate: float = 0.25
    absent_rate: float = 0.3

    def __post_init__(self) -> None:
        if self.stories < 1:
            raise DataError(f"The recipe asks for {self.stories} generated stories; give at least 1.")
        for name, rate in (("violation_rate", self.violation_rate), ("absent_rate", self.absent_rate)):
            if not 0 <= rate < 1:
                raise DataError(
                    f"The recipe's {name} is {rate}; nothing may be planted at 100%: give [0, 1)."
                )


@dataclass(frozen=True)
class Data:
    """What is read: `sources` of real stories (`tinystories`, `kin`, or a JSON-lines or text file), mixed
    with `generated` ones and with `teacher_stories` sampled by the teacher. `stories` > 0 caps each source.
    Epochs are numbered from `first_epoch`, so that a run that goes on from another reads other orders.
    """

    sources: tuple[str, ...] = ("tinystories",)
    generated: tuple[Generated, ...] = ()
    teacher_stories: int = 0
    stories: int = 0
    first_epoch: int = 0

    def __post_init__(self) -> None:
        if not self.sources and not self.generated and not self.teacher_stories:
            raise DataError(
                "The recipe's data has no sources and nothing generated: there is nothing to read."
            )
        if min(self.teacher_stories, self.stories, self.first_epoch) < 0:
            raise DataError("The recipe's data has a negative number; give 0 or more.")


@dataclass(frozen=True)
class Schedule:
    """Warm up for `warmup` steps, hold, then fall linearly to zero over the last `decay` share of `steps`.

    A step reads `rows * length * accumulation` tokens. In the last `long_share` of the steps rows are twice
    as long and half as many. Rates are peaks: `matrix_rate` for the blocks' linears (Muon, or AdamW where
    `optimizer` says so), `vector_rate` for embedding and norms (AdamW).
    """

    steps: int
    warmup: int = 100
    decay: float = 0.25
    long_share: float = 0.0
    rows: int = 8
    length: int = 256
    accumulation: int = 2
    optimizer: str = "muon"
    matrix_rate: float = 6e-3
    vector_rate: float = 3e-3
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        for name in ("steps", "rows", "length", "accumulation"):
            if getattr(self, name) < 1:
                raise DataError(
                    f"The recipe's schedule.{name} is {getattr(self, name)}; it must be 1 or more."
                )
        for name in ("decay", "long_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(
                    f"The recipe's schedule.{name} is {getattr(self, name)}; it is a share, 0 to 1."
                )
        if self.long_share and self.rows % 2:
            raise DataError(f"long_share halves the rows, and {self.rows} rows are odd.")
        if min(self.warmup, self.matrix_rate, self.vector_rate, self.weight_decay) < 0:
            raise DataError("The recipe's schedule has a negative number; give 0 or more.")
        if self.optimizer not in ("muon", "adamw"):
            raise unknown_name("optimizer", self.optimizer, ["muon", "adamw"])

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step learns from."""
        return self.rows * self.length * self.accumulation

    def rate(self, step: int) -> float:
        """The factor on both peak rates at `step` (from 0)."""
        falling = self.decay * self.steps
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rise * (min(1.0, (self.steps - step) / falling) if falling else 1.0)

    def row_length(self, step: int) -> int:
        """Tokens in a row at `step`."""
        return (
            2 * self.length if step >= self.steps * (1 - self.long_share) and self.long_share else self.length
        )


@dataclass(frozen=True)
class Recipe:
    """One training run.

    `bits`: 16 (float), 1.58 or 1. `start`: the name of another recipe whose run is gone on from (weights and
    optimizer), or a model's name or folder to fine-tune; empty for random weights. `teacher`: a model (or a
    finished run) to distil from, mixed in with `distill_weight`. `tokenizer`: a file or model to take it
    from; empty to train one of `shape.d_vocab` tokens on the sources. `dtype`: arithmetic, float32 or
    bfloat16. `compile`: use torch.compile.
    """

    name: str
    schedule: Schedule
    bits: float = 1.58
    start: str = ""
    teacher: str = ""
    distill_weight: float = 0.5
    tokenizer: str = ""
    seed: int = 0
    dropout: float = 0.0
    dtype: str = "bfloat16"
    compile: bool = False
    checkpoint_seconds: float = 60.0
    validation_every: int = 500
    validation_stories: int = 300
    shape: Shape = field(default_factory=Shape)
    data: Data = field(default_factory=Data)

    def __post_init__(self) -> None:
        if not self.name or any(c in self.name for c in "/\\ ") or self.name.startswith("."):
            raise DataError(f"The recipe's name {self.name!r} is not a plain folder name.")
        if self.bits not in (1, 1.58, 16):
            raise DataError(f"The recipe's bits are {self.bits}: expected 16 (float), 1.58 (ternary) or 1.")
        if self.dtype not in ("float32", "bfloat16"):
            raise unknown_name("dtype", self.dtype, ["float32", "bfloat16"])
        if not 0 <= self.distill_weight <= 1 or not 0 <= self.dropout < 1:
            raise DataError("The recipe's distill_weight must lie in [0, 1], its dropout in [0, 1).")
        if self.schedule.length * (2 if self.schedule.long_share else 1) > self.shape.n_ctx:
            raise DataError(f"The recipe's rows are longer than the context of {self.shape.n_ctx} tokens.")
        if self.data.teacher_stories and not self.teacher:
            raise DataError("The recipe asks for stories sampled by a teacher but names none.")

    @property
    def sha256(self) -> str:
        """Identity of everything that decides the weights (`steps` and the pace of saving included)."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def recipes_folder() -> Path:
    """Where the recipes that ship lie."""
    return data_folder() / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(path.stem for path in recipes_folder().glob("*.yaml"))


def read_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of that name in `data/recipes`, or in a YAML file.

    Raises `UnknownNameError` for an unknown name, `DataError` naming the file and the key for a bad recipe.
    """
    path = Path(name_or_path)
    if not path.is_file():
        shipped = recipes_folder() / f"{name_or_path}.yaml"
        if not shipped.is_file():
            raise unknown_name("recipe", str(name_or_path), recipe_names())
        path = shipped
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is not readable as YAML: {error}") from error
    return build(Recipe, content, path.name)


def build(kind: type[_T], content: object, where: str) -> _T:
    """A dataclass from nested mappings: unknown keys, missing keys and wrong types raise `DataError`."""
    if not isinstance(content, Mapping):
        raise DataError(f"{where} must be a mapping of keys to values, but is {content!r}.")
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind} is not a dataclass")
    hints = get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    for key in content:
        if key not in known:
            raise DataError(f"{where}: {unknown_name('key', str(key), known)}")
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in content
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}.")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in content.items()})


def _value(hint: Any, value: object, where: str) -> object:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise DataError(f"{where} must be a list, but is {value!r}.")
        return tuple(_value(get_args(hint)[0], item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise DataError(f"{where} must be of type {getattr(hint, '__name__', hint)}, but is {value!r}.")
    return value
