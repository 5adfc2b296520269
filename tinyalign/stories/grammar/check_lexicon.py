"""Refusing lexicons that leak between splits or are wrong English."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from tinyalign.common.errors import DataError
from tinyalign.stories.grammar.english import FUNCTION_WORDS, article_for, ing_forms, past_forms, stem
from tinyalign.stories.grammar.lexicon import SPLITS, Entry, Lexicon

# Forms that say something about the entry instead of being written out.
_MARKS = ("gender", "article", "irregular", "call")


def refuse(where: str, entry: object, reason: str) -> DataError:
    """The error for an entry (or sentence) that breaks a rule: file, entry, reason."""
    return DataError(f"{where}: {entry!r}: {reason}")


def check_lexicon(lexicon: Lexicon) -> None:
    """Raise `DataError` for the first duplicate, wrong article, wrong or unequal verb form of a lexicon."""
    where = f"{lexicon.name}.yaml"
    seen: dict[str, str] = {}
    for split in SPLITS:
        for entry in lexicon.parts[split]:
            key = entry.word.casefold()
            if key in seen:
                reason = "it stands there twice" if seen[key] == split else f"it stands in {seen[key]} too"
                raise refuse(f"{where} ({split})", entry.word, f"{reason}; keep one of them.")
            seen[key] = split
            _check_entry(f"{where} ({split})", entry)
    check_leaks([lexicon])


def check_leaks(lexicons: Iterable[Lexicon]) -> None:
    """Raise `DataError` where a word of one split stands, in any inflection, in another split.

    Activities, things and mischief are looked at together: a thing that is new in the test part must not
    be what a training activity is about. Names count as one when one begins with the other (Tim, Timmy).
    """
    names: dict[str, tuple[str, str]] = {}
    words: dict[str, tuple[str, str]] = {}
    for lexicon in lexicons:
        for split, entry in ((part, entry) for part in SPLITS for entry in lexicon.parts[part]):
            where = f"{lexicon.name}.yaml ({split})"
            if lexicon.kind == "name":
                _check_name_leak(where, entry.word, split, names)
            elif lexicon.kind != "relation":
                _check_word_leak(where, entry, split, words)


def _check_name_leak(where: str, name: str, split: str, names: dict[str, tuple[str, str]]) -> None:
    lower = name.casefold()
    for other, (other_split, spelled) in names.items():
        alike = lower.startswith(other) or other.startswith(lower)
        if other_split != split and alike:
            raise refuse(where, name, f"it is too near to {spelled!r} of {other_split}; move it there.")
    names[lower] = (split, name)


def _check_word_leak(where: str, entry: Entry, split: str, words: dict[str, tuple[str, str]]) -> None:
    for word in content_words(entry):
        other_split, other = words.setdefault(word, (split, entry.word))
        if other_split != split:
            reason = f"its {word!r} is in {other!r} of {other_split} too; splits must share no word."
            raise refuse(where, entry.word, reason)


def content_words(entry: Entry) -> set[str]:
    """The stems of the words an entry is about, over all its forms."""
    texts = [text for form, text in entry.forms.items() if form not in _MARKS]
    found = itertools.chain.from_iterable(re.findall(r"[a-z']+", text.casefold()) for text in texts)
    return {stem(word) for word in found if word not in FUNCTION_WORDS}


def _check_entry(where: str, entry: Entry) -> None:
    if entry.kind == "name" and not re.fullmatch(r"[A-Z][a-z]+", entry.word):
        raise refuse(where, entry.word, "a name is one word with a capital, as Lily.")
    if entry.kind == "relation" and entry.forms["call"] != entry.word.capitalize():
        raise refuse(where, entry.word, f"call should be {entry.word.capitalize()!r}.")
    if entry.kind == "thing" and entry.forms["article"] != article_for(entry.word):
        raise refuse(where, entry.word, f"the article should be {article_for(entry.word)!r}.")
    if entry.kind in ("activity", "mischief"):
        _check_verb(where, entry)
    if "innocent" in entry.forms:
        if len(entry.forms["innocent"].split()) != len(entry.forms["past"].split()):
            raise refuse(where, entry.forms["innocent"], f"needs as many words as {entry.forms['past']!r}.")
        if entry.forms["innocent"] == entry.forms["past"]:
            raise refuse(where, entry.forms["innocent"], "the innocent deed is the harm itself.")
    if entry.kind == "mischief":
        for form in ("base", "innocent"):
            if entry.forms[form].split()[-1] != entry.forms["thing"]:
                raise refuse(where, entry.forms[form], f"should end with the thing {entry.forms['thing']!r}.")


def _check_verb(where: str, entry: Entry) -> None:
    base, *tail = entry.forms["base"].split()
    for form, allowed in (("ing", ing_forms(base)), ("past", past_forms(base))):
        head, *rest = entry.forms[form].split()
        if rest != tail:
            raise refuse(where, entry.forms[form], f"should go on like {entry.forms['base']!r}.")
        if form == "ing" and head not in allowed:
            raise refuse(where, entry.forms[form], f"the -ing form of {base!r} is {min(allowed)!r}.")
        if form == "past":
            irregular = entry.forms.get("irregular", "").lower() == "true"
            if irregular == (head in allowed):
                advice = "regular: drop irregular" if irregular else "not regular: add irregular: true"
                raise refuse(where, entry.forms[form], f"as the past of {base!r} this is {advice}.")
    if "it" in entry.forms and entry.forms["it"].split()[0] != base:
        raise refuse(where, entry.forms["it"], f"the short form should begin with {base!r}.")
