"""The little English the checker knows: articles, regular verb forms, who may stand before which form."""

from __future__ import annotations

import re

# Written with a vowel but spoken with a consonant, and the other way round (by their beginnings).
_A_AFTER_ALL = ("uni", "use", "usu", "eu", "one", "once", "ukulele")
_AN_AFTER_ALL = ("hour", "honest", "honor", "heir")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words too common to be what an activity is about.
FUNCTION_WORDS = _words(
    "a an the on in to at of off into over up down with and from there here it away near by along "
    "his her my your is was down"
)

PRONOUNS_AND_RELATIONS = re.compile(
    r"\b(he|she|him|her|his|hers|himself|herself|boy|girl|mom|dad|mommy|daddy|mother|father)\b", re.IGNORECASE
)

# What may stand right before the base form, and what may not stand before the past tense.
BEFORE_BASE_ONLY = _words(
    "to not can can't cannot could must will won't would wouldn't should don't didn't did do may let's i'll"
)
BEFORE_BASE = BEFORE_BASE_ONLY | _words("please never now just i you on, do,")
BEFORE_ING = _words(
    "on kept stop start was were is started stopped began by from of without loved liked enjoyed about love "
    "like"
)
PLURAL_VERBS = _words(
    "are were have do don't am want like love go come see say run play take get make know think feel look "
    "cry need hug walk listen share keep ask"
)
# After these a bare verb follows a person ("did Lily want", "saw Lily run").
BEFORE_BARE = _words("did does do can could will would let make made see saw hear heard help helped")
WRONG_BE = re.compile(
    r"\b(I (is|are)|you (is|was|has)|(he|she|it) (are|were|have|am)|(they|we) (was|is|has))\b", re.IGNORECASE
)
_ARTICLE = re.compile(r"\b(an?) ([a-z]+)", re.IGNORECASE)


def article_for(word: str) -> str:
    """`a` or `an`, by the sound the word begins with."""
    lower = word.lower()
    if lower.startswith(_AN_AFTER_ALL):
        return "an"
    return "an" if lower[0] in "aeiou" and not lower.startswith(_A_AFTER_ALL) else "a"


def wrong_article(text: str) -> str | None:
    """The first wrong "a" or "an" in a text with the word after it, or None."""
    for found in _ARTICLE.finditer(text):
        if article_for(found[2]) != found[1].lower():
            return found[0]
    return None


def _doubled(verb: str) -> bool:
    return bool(re.fullmatch(r".*[^aeiou][aeiou][bdgklmnprt]", verb))


def ing_forms(verb: str) -> set[str]:
    """The spellings that the -ing form of a verb may have."""
    forms = {verb + "ing"}
    if verb.endswith("ie"):
        forms = {verb[:-2] + "ying"}
    elif verb.endswith("e") and not verb.endswith("ee"):
        forms = {verb[:-1] + "ing"}
    elif _doubled(verb):
        forms.add(verb + verb[-1] + "ing")
    return forms


def past_forms(verb: str) -> set[str]:
    """The spellings that the regular past tense of a verb may have."""
    if verb.endswith("e"):
        return {verb + "d"}
    if re.fullmatch(r".*[^aeiou]y", verb):
        return {verb[:-1] + "ied"}
    return {verb + "ed", verb + verb[-1] + "ed"} if _doubled(verb) else {verb + "ed"}


def stem(word: str) -> str:
    """A word without its inflection, roughly: enough to see that "climbing" and "climbed" are one verb."""
    word = word.lower()
    for ending in ("ing", "ied", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word[: -len(ending)] + ("y" if ending == "ied" else "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
