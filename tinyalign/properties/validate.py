"""Checking a user's property file before anything is measured with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tinyalign.common.errors import DataError, UnknownNameError
from tinyalign.properties.definition import Property
from tinyalign.properties.outcome import Outcome
from tinyalign.properties.registry import load_property
from tinyalign.stories.annotating import annotate


@dataclass(frozen=True)
class PropertyReport:
    """What a check of a property file found: `problems` is empty exactly for a usable file."""

    path: str
    id: str
    name: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the file can be used."""
        return not self.problems

    def to_json(self) -> dict[str, object]:
        """The fields and `ok` as JSON values."""
        return {**asdict(self), "ok": self.ok}


def check_property_file(path: str | Path, examples: Sequence[str] = ()) -> PropertyReport:
    """Check a property's YAML: schema, words, grammar and decisions, and the checker's signature and answers.

    The checker (its Python file is run, see `load_property`) is tried on prompts of the grammar as stories,
    on an empty text and on `examples`; whatever it raises, or returns that is no sequence of `Outcome`s with
    spans inside the text, is a problem. Never raises for a bad file: the report says what is wrong with it.
    """
    try:
        prop = load_property(path)
    except (DataError, UnknownNameError) as error:
        return PropertyReport(str(path), "", "", (str(error),), ())
    problems: list[str] = []
    first = prop.prompts.prompt("train", 0)
    texts = ["", *first.texts().values(), *examples]
    verdicts: list[str] = []
    for text in texts:
        problem, found = _try_checker(prop, text)
        if problem and problem not in problems:
            problems.append(problem)
        verdicts.extend(found)
    notes = [
        f"{len(prop.prompts)} distinct contrast prompts in the grammar {prop.grammar}",
        f"{len(prop.pairs)} logit pair(s); {prop.primary} decides admission",
        f"the checker answered {', '.join(sorted(set(verdicts))) or 'not applicable'} on {len(texts)} texts",
    ]
    return PropertyReport(str(path), prop.id, prop.name, tuple(problems), tuple(notes))


def _try_checker(prop: Property, text: str) -> tuple[str, list[str]]:
    """(a problem or "", the verdicts) of the checker on one text."""
    story = annotate(text)
    try:
        found = prop.checker(story)
    except (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError) as error:
        return f"{prop.checker_name} raises {type(error).__name__} ({error}) on the text {text[:60]!r}.", []
    if not isinstance(found, Sequence) or not all(isinstance(one, Outcome) for one in found):
        return f"{prop.checker_name} should return a sequence of Outcome, but returned {found!r:.80}.", []
    for one in found:
        for span in (one.antecedent, one.decided):
            if span is not None and span[1] > len(text):
                return f"{prop.checker_name} gives the span {span} for a text of {len(text)} characters.", []
    return "", [one.verdict for one in found]
