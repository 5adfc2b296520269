"""More names and parent words for the prompts of a fit: the grammars' training part has few."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import yaml

from tinyalign.common.errors import DataError
from tinyalign.common.resources import data_folder
from tinyalign.common.seeds import derive_seed
from tinyalign.properties.contrast import SIDES
from tinyalign.stories.grammar import ContrastPrompt, Lexicon

_KEPT = 3
"""One prompt in so many keeps its name, and one in so many its parent word."""


@lru_cache(maxsize=1)
def fit_people() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """{"names": {"f": ..., "m": ...}, "parents": ...}; raises `DataError` for data of another form."""
    path = data_folder() / "edits" / "fit-people.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or set(content) != {"names", "parents"}:
        raise DataError(f"{path.name} must have the keys names and parents.")
    return {
        kind: {gender: tuple(words) for gender, words in genders.items()} for kind, genders in content.items()
    }


def with_other_people(
    prompt: ContrastPrompt, slots: Mapping[str, Lexicon], *seed: str | int
) -> ContrastPrompt:
    """The prompt with its child's name and its parent's word exchanged for others of the same gender.

    Drawn by `seed`; now and then one of them stays. Other people of the prompt (a friend) keep their names.
    """
    exchanges: dict[str, str] = {}
    for slot, kind in (("child", "names"), ("parent", "parents")):
        if slot not in prompt.slots:
            continue
        entry = next(one for one in slots[slot].parts["train"] if one.word == prompt.slots[slot])
        draw = derive_seed("fit people", *seed, slot)
        words = fit_people()[kind][entry.forms["gender"]]
        if draw % _KEPT:
            word = words[draw // _KEPT % len(words)]
            exchanges[entry.word] = word
            if kind == "parents":
                exchanges[entry.word.capitalize()] = word.capitalize()
    if not exchanges:
        return prompt
    found = re.compile(r"\b(" + "|".join(map(re.escape, exchanges)) + r")\b")

    def told(text: str) -> str:
        return found.sub(lambda match: exchanges[match[1]], text)

    return replace(prompt, **{side: told(text) for side, text in prompt.texts().items() if side in SIDES})
