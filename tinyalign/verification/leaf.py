"""`Leaf`: one claim with its margin, how to measure it and what follows; the registry of leaf kinds."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from tinyalign.common.errors import DataError
from tinyalign.verification.context import Context
from tinyalign.verification.results import Counterexample, LeafResult, Row, Status

__all__ = [
    "Context",
    "Counterexample",
    "Leaf",
    "LeafResult",
    "Row",
    "Status",
    "leaf_from_mapping",
    "leaf_kinds",
    "register_leaf",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf(ABC):
    """One testable claim. Subclasses are frozen, keyword-only dataclasses with the template's keys.

    `id` is unique in its argument, `claim` the sentence it stands for. `kind` is the name in templates.
    A leaf's null hypothesis is "the claim is false by the margin"; a margin is a field without default.

    Rows are measured in blocks: the runner calls `measure` with `range(b * block, (b + 1) * block)`, the
    last one cut at `planned`, and never otherwise, so that floating-point sums have the same company each
    time. Row i must depend on the leaf, the sealed seed and i alone. `sequential` says that `conclude` is
    valid for any number of rows (e-values); other leaves that the budget cuts short are "not established".
    """

    id: str
    claim: str

    kind: ClassVar[str]
    block: ClassVar[int] = 64
    sequential: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Validation; raises `DataError` with one sentence. Overriding classes call super's first."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.id) or not self.claim:
            raise DataError(
                f"A leaf of kind {self.kind!r} needs a claim and an id of letters, digits, dots and dashes "
                f"(its results are filed under it), found {self.id!r}."
            )

    @abstractmethod
    def planned(self, context: Context) -> int:
        """How many rows it takes at `context.alpha`; raises `InputError` where the claim cannot be tested."""

    @abstractmethod
    def measure(self, context: Context, indices: range) -> list[Row]:
        """One JSON-able row a sample, in the order of `indices`."""

    @abstractmethod
    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """The result: a pure function of `rows` (all of them, in order) and the leaf, run again by recheck.

        Of `context` it may read identities and definitions, but must not run a model.
        """

    def power(self, context: Context) -> float | None:
        """P(established) if the truth is as planned for; None where nothing is sampled or it isn't known."""
        return None

    def to_json(self) -> dict[str, Any]:
        """Kind and fields as JSON values: the leaf's part of the specification."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


LeafType = TypeVar("LeafType", bound=type[Leaf])

_KINDS: dict[str, type[Leaf]] = {}


def register_leaf(cls: LeafType) -> LeafType:
    """Class decorator: make a leaf's kind known to templates; raises `DataError` when the name is taken."""
    known = _KINDS.get(cls.kind)
    if known is not None and known is not cls:
        raise DataError(f"The leaf kind {cls.kind!r} is taken by {known.__name__}: name yours otherwise.")
    _KINDS[cls.kind] = cls
    return cls


def leaf_kinds() -> dict[str, type[Leaf]]:
    """Every registered kind by name."""
    return dict(sorted(_KINDS.items()))


def leaf_from_mapping(content: Mapping[str, Any], where: str) -> Leaf:
    """The leaf of a template's mapping (`kind`, `id`, `claim` and the kind's own keys).

    `where` begins every message. Raises `DataError` in one sentence for an unknown kind, an unknown or
    missing key, or a value of another type.
    """
    kind = content.get("kind")
    if kind not in _KINDS:
        raise DataError(f"{where}: unknown leaf kind {kind!r}; known are {', '.join(sorted(_KINDS))}.")
    cls = _KINDS[kind]
    name = f"{where}: the leaf {content.get('id', '?')!r} of kind {kind!r}"
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in content:
        if key not in fields and key != "kind":
            raise DataError(f"{name} has an unknown key {key!r}; it takes {', '.join(fields)}.")
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in content:
            raise DataError(f"{name} lacks {key!r}: add it.")
    hints = typing.get_type_hints(cls)
    values = {
        key: _converted(content[key], hints[key], f"{name}: {key!r}") for key in fields if key in content
    }
    try:
        return cls(**values)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _converted(value: Any, hint: Any, where: str) -> Any:
    """`value` as the field's type; raises `DataError` where it is none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        hint = next(one for one in arguments if one is not type(None))
        return _converted(value, hint, where)
    if origin is Literal:
        if value not in arguments:
            raise DataError(f"{where} is {value!r}; expected one of {', '.join(map(repr, arguments))}.")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise DataError(f"{where} is {value!r}; expected a list.")
        return tuple(_converted(one, arguments[0], where) for one in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    if expected is Any:
        return value
    # bool is an int to Python, never to a reader of a template.
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise DataError(f"{where} is {value!r}; expected {getattr(expected, '__name__', expected)}.")
    return value
