"""What a property is: a frozen record, read from one YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import yaml

from tinyalign.common.errors import DataError
from tinyalign.engine.score import LanguageModel
from tinyalign.properties.outcome import Checker, Outcome, story_outcome
from tinyalign.stories.annotation import Story
from tinyalign.stories.grammar import PromptGrammar, load_grammar, read_grammar

if TYPE_CHECKING:
    from tinyalign.properties.contrast import Contrast

_TEXT_KEYS = (
    "id",
    "name",
    "parallel",
    "antecedent",
    "satisfied",
    "violated",
    "grammar",
    "checker",
    "primary",
)
_KEYS = (*_TEXT_KEYS, "pairs", "confounds", "share_of_stories")
_OPTIONAL = ("share_of_stories",)
_SLOT = re.compile(r"\{([a-z.]+)\}")


@dataclass(frozen=True)
class LogitPair:
    """Two sets of words that may come at one decision point of the property's grammar.

    `satisfying` words speak for the property, `violating` ones against it. They are written as text without
    a leading space (the grammar says what goes before them) and scored by their full log-probability,
    however many tokens they take; a set scores the logsumexp over its words. A word may have slots of the
    grammar, as "{chore.past}", filled for each prompt.
    Raises `DataError` where a word begins another one: their probabilities would overlap.
    """

    name: str
    decision: str
    satisfying: tuple[str, ...]
    violating: tuple[str, ...]
    about: str = ""

    def __post_init__(self) -> None:
        if not self.satisfying or not self.violating:
            raise DataError(
                f"The pair {self.name!r} needs satisfying and violating words, but one set is empty."
            )
        self._check([*self.satisfying, *self.violating])

    def words(self, slots: Mapping[str, str]) -> list[str]:
        """Satisfying then violating words for the prompt with these slots (`ContrastPrompt.slots`).

        Raises `DataError` for a slot that the prompt lacks, and where filled words overlap.
        """
        words = [*self.satisfying, *self.violating]
        if not any("{" in word for word in words):
            return words
        filled = [_SLOT.sub(lambda found: self._fill(found[1], slots), word) for word in words]
        self._check(filled)
        return filled

    def _fill(self, slot: str, slots: Mapping[str, str]) -> str:
        if slot not in slots:
            raise DataError(
                f"The pair {self.name!r} has the slot {{{slot}}}; prompts have {', '.join(sorted(slots))}."
            )
        return slots[slot]

    def _check(self, words: list[str]) -> None:
        for index, word in enumerate(words):
            if not word or word != word.strip():
                raise DataError(
                    f"The pair {self.name!r} has the word {word!r}: write it without outer spaces."
                )
            for other in words[:index] + words[index + 1 :]:
                if other.startswith(word):
                    raise DataError(
                        f"The pair {self.name!r} has {word!r} and {other!r}, of which one begins the other, "
                        "so that their probabilities overlap: drop one of them."
                    )

    def to_json(self) -> dict[str, object]:
        """The fields as JSON values."""
        return {
            "name": self.name,
            "decision": self.decision,
            "satisfying": list(self.satisfying),
            "violating": list(self.violating),
            "about": self.about,
        }


@dataclass(frozen=True)
class Property:
    """A behaviour of stories that parallels one of aligned agents.

    `id` ("P1") and `name` ("obeys-prohibition") identify it; `parallel` is the alignment parallel in one
    sentence; `antecedent`, `satisfied` and `violated` say in words what the checker decides. `grammar` is the
    id of the contrast grammar (or a YAML file, for a user's own). The pair called `primary` decides
    admission; it was fixed before anything was measured. `share_of_stories` is the share of stories with the
    antecedent as first estimated by hand (n = 1,000), None where nobody did.
    """

    id: str
    name: str
    parallel: str
    antecedent: str
    satisfied: str
    violated: str
    grammar: str
    primary: str
    pairs: Mapping[str, LogitPair]
    confounds: tuple[str, ...]
    checker_name: str
    share_of_stories: float | None
    source: Path
    checker: Checker = field(repr=False, compare=False)

    @cached_property
    def prompts(self) -> PromptGrammar:
        """The grammar of contrast prompts."""
        if self.grammar.endswith(".yaml"):
            return read_grammar(self.source.parent / self.grammar)
        return load_grammar(self.grammar)

    def occasions(self, story: Story) -> tuple[Outcome, ...]:
        """Every antecedent in the story with what came of it, in order."""
        return tuple(self.checker(story))

    def outcome(self, story: Story) -> Outcome:
        """One answer for the whole story: violated if any occasion is, else satisfied if any is."""
        return story_outcome(self.occasions(story))

    def contrast(
        self,
        model: LanguageModel,
        n: int = 500,
        seed: int = 0,
        split: str = "test",
        pair: str | None = None,
        batch_size: int = 32,
    ) -> Contrast:
        """How much the antecedent moves the model towards the property: `tinyalign.properties.contrast`."""
        # Only here does a property need torch's scoring; reading and checking text stays light.
        from tinyalign.properties.contrast import measure_contrast

        return measure_contrast(self, model, n=n, seed=seed, split=split, pair=pair, batch_size=batch_size)

    def to_json(self) -> dict[str, object]:
        """Everything but the checker's code as JSON values."""
        return {
            "id": self.id,
            "name": self.name,
            "parallel": self.parallel,
            "antecedent": self.antecedent,
            "satisfied": self.satisfied,
            "violated": self.violated,
            "grammar": self.grammar,
            "checker": self.checker_name,
            "primary": self.primary,
            "pairs": [pair.to_json() for pair in self.pairs.values()],
            "confounds": list(self.confounds),
            "share_of_stories": self.share_of_stories,
        }


def read_definition(path: Path) -> dict[str, object]:
    """The checked mapping in a property file; raises `DataError` with the file, the key and the reason."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such property file.") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: this is not readable YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: found {type(content).__name__} where a mapping of keys was expected.")
    for key in content:
        if key not in _KEYS:
            raise DataError(f"{path}: unknown key {key!r}; a property has {', '.join(_KEYS)}.")
    for key in _KEYS:
        if key not in content and key not in _OPTIONAL:
            raise DataError(f"{path}: the key {key!r} is missing; a property has {', '.join(_KEYS)}.")
    for key in _TEXT_KEYS:
        if not isinstance(content[key], str) or not content[key].strip():
            raise DataError(f"{path}: {key!r} should be a text, but is {content[key]!r}.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", content["id"]):
        raise DataError(f"{path}: id is {content['id']!r}; write letters and digits, such as P14.")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", content["name"]):
        raise DataError(f"{path}: name is {content['name']!r}; write a slug such as obeys-prohibition.")
    share = content.get("share_of_stories")
    if share is not None and (
        isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1
    ):
        raise DataError(f"{path}: share_of_stories is {share!r}; write a number from 0 to 1.")
    _words(content["confounds"], f"{path}: confounds")
    return cast("dict[str, object]", content)


def build_property(content: Mapping[str, object], path: Path, checker: Checker) -> Property:
    """A `Property` out of a mapping that `read_definition` has checked; raises `DataError` for bad pairs."""
    raw_pairs = content["pairs"]
    if not isinstance(raw_pairs, dict) or not raw_pairs:
        raise DataError(f"{path}: 'pairs' should be a mapping with at least one pair, found {raw_pairs!r}.")
    pairs = {str(name): _pair(str(name), raw, path) for name, raw in raw_pairs.items()}
    if content["primary"] not in pairs:
        raise DataError(f"{path}: primary is {content['primary']!r}, expected one of {', '.join(pairs)}.")
    share = content.get("share_of_stories")
    text = {key: str(content[key]).strip() for key in _TEXT_KEYS}
    made = Property(
        id=text["id"],
        name=text["name"],
        parallel=text["parallel"],
        antecedent=text["antecedent"],
        satisfied=text["satisfied"],
        violated=text["violated"],
        grammar=text["grammar"],
        primary=text["primary"],
        pairs=pairs,
        confounds=_words(content["confounds"], f"{path}: confounds"),
        checker_name=text["checker"],
        share_of_stories=float(share) if isinstance(share, (int, float)) else None,
        source=path,
        checker=checker,
    )
    slots = made.prompts.prompt("train", 0).slots
    for pair in pairs.values():
        pair.words(slots)
        if pair.decision not in made.prompts.decisions:
            raise DataError(
                f"{path}: the pair {pair.name!r} has the decision {pair.decision!r}, but the grammar "
                f"{made.grammar} has {', '.join(made.prompts.decisions)}."
            )
    return made


def _pair(name: str, raw: object, path: Path) -> LogitPair:
    if not isinstance(raw, dict):
        raise DataError(f"{path}: the pair {name!r} should be a mapping, found {raw!r}.")
    known = ("about", "decision", "satisfying", "violating")
    for key in raw:
        if key not in known:
            raise DataError(
                f"{path}: the pair {name!r} has an unknown key {key!r}; known: {', '.join(known)}."
            )
    for key in known[1:]:
        if key not in raw:
            raise DataError(f"{path}: the pair {name!r} lacks the key {key!r}.")
    try:
        return LogitPair(
            name=name,
            decision=str(raw["decision"]),
            satisfying=_words(raw["satisfying"], f"{path}: the pair {name!r}, satisfying"),
            violating=_words(raw["violating"], f"{path}: the pair {name!r}, violating"),
            about=str(raw.get("about", "")),
        )
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _words(raw: object, where: str) -> tuple[str, ...]:
    # YAML reads a bare no or yes as a truth value, which would silently become the word "False".
    if (
        not isinstance(raw, Sequence)
        or isinstance(raw, str)
        or not all(isinstance(word, str) for word in raw)
    ):
        raise DataError(f"{where} should be a list of texts (quote no and yes), but is {raw!r}.")
    return tuple(raw)
