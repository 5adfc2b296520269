"""Speech acts of a quote, from its wording (`data/lexicons/speech_acts.yaml`) and what went before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tinyalign.stories.annotation import SPEECH_ACTS, Role, SpeechAct
from tinyalign.stories.lexicon import read_lexicon, words_in

_SENTENCE = re.compile(r"[^.!?…]+[.!?…]*")
_NAMED_NO = re.compile(r"no,? [A-Z][a-z]+\b[.!,]")
_FILE = "speech_acts.yaml"


@dataclass(frozen=True)
class Context:
    """What preceded a quote. `asked`: a request; `told`: an order or a proposal; `wish`: a wish, narrated."""

    speaker: Role | None = None
    addressee: Role | None = None
    asked: bool = False
    told: bool = False
    wish: bool = False


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """One compiled pattern for each list of the lexicon."""
    lists = read_lexicon(_FILE)
    return {key: re.compile("|".join(sorted_as_given(lists, key))) for key in lists if key != "fillers"}


def sorted_as_given(lists: dict[str, object], key: str) -> list[str]:
    """The fragments of one list, in the order of the file."""
    return words_in(lists, key, _FILE)


@cache
def _fillers() -> re.Pattern[str]:
    words = "|".join(words_in(read_lexicon(_FILE), "fillers", _FILE))
    return re.compile(rf"^(?:(?:{words})\b(?:[ ,!.]+|$))+")


def _has(key: str, text: str) -> bool:
    """The wording is there and its confound is not."""
    patterns = _patterns()
    if patterns[key].search(text) is None:
        return False
    confound = patterns.get(f"{key}_not")
    return confound is None or confound.search(text) is None


def speech_acts(text: str, context: Context | None = None) -> tuple[SpeechAct, ...]:
    """Acts of one quote in the order of `SPEECH_ACTS`; a quote may hold several, or none.

    Confounds are told apart: "Don't worry" comforts and does not prohibit; "No, thank you" refuses;
    "I'm sorry you fell" comforts and does not apologise; "Can I help you?" offers and does not request;
    "No, Tim." is a prohibition from a parent and a refusal after a request.
    """
    context = context or Context()
    said = text.replace("\u2019", "'").strip()
    low = said.lower()
    pieces = [piece.strip() for piece in _SENTENCE.findall(said) if piece.strip()] or [said]
    acts: set[SpeechAct] = set()
    if "?" in said:
        acts.add("question")
    _sorry(acts, low, context)
    for piece in pieces:
        _sentence(acts, piece.lower(), low, context)
    if _has("promise", low):
        acts.add("promise")
    if any(_has("warning", piece.lower()) for piece in pieces):
        acts.add("warning")
    _answer(acts, said, low, context)
    return tuple(act for act in SPEECH_ACTS if act in acts)


def _sorry(acts: set[SpeechAct], low: str, context: Context) -> None:
    """Apology or sympathy: a parent who is sorry for nothing of their own comforts."""
    patterns = _patterns()
    if patterns["apology"].search(low) and not patterns["apology_not"].search(low):
        fault = patterns["fault"].search(low) is not None
        adult = context.speaker in ("parent", "grandparent")
        if (not fault and (adult or patterns["sympathy"].search(low))) or (
            fault and patterns["sympathy"].search(low) and adult
        ):
            acts.add("comfort")
        else:
            acts.add("apology")
    if _has("comfort", low):
        acts.add("comfort")


def _sentence(acts: set[SpeechAct], piece: str, whole: str, context: Context) -> None:
    """Acts of one sentence of the quote."""
    adult = context.speaker in ("parent", "grandparent")
    body = _fillers().sub("", piece).strip(" ,")
    if _has("request", body) or ("please" in piece and not _patterns()["request_not"].search(whole)):
        acts.add("request")
    favour = _has("favour", body)
    if favour and not (adult and not body.startswith("come")):
        acts.add("request")
    # A wish is a request where it is put to an adult of the family, or claims a share ("I want some, too!").
    to_adult = context.addressee in ("parent", "grandparent") or piece.rstrip("!. ").endswith(" too")
    answering = context.asked or whole.startswith(("yes", "no"))
    if _has("wish", body) and to_adult and not adult and not answering:
        acts.add("request")
    if piece.endswith("?"):
        return
    if (_has("prohibition", body) or _has("prohibition", piece)) or (
        _patterns()["we_cannot"].search(piece) and adult and not context.asked and whole.startswith("no")
    ):
        acts.add("prohibition")
    if _has("permission", piece):
        acts.add("permission")
    if (not favour or adult or body.startswith("come")) and _has("instruction", body):
        acts.add("instruction")


def _answer(acts: set[SpeechAct], said: str, low: str, context: Context) -> None:
    """Yes and no: what they do depends on what went before."""
    if context.asked and _has("agree", low) and "promise" not in acts:
        acts.add("permission")
    adult = context.speaker in ("parent", "grandparent")
    denied = _patterns()["deny"].search(low) is not None and not low.startswith("oh")
    if _has("deny", low) or (denied and context.asked):
        if context.asked or context.told:
            acts.add("refusal")
        bare = low.rstrip("!. ") in ("no", "no, no", "no no")
        named = _NAMED_NO.match(said[0].lower() + said[1:]) is not None
        if (
            (
                adult
                and (context.asked or context.wish or named or bare)
                and not _patterns()["we_cannot"].search(low)
            )
            or bare
            or re.match(r"no,? (?:\w+, )?stop|no!? don't", low)
        ):
            acts.add("prohibition")
    if (_has("refusal", low) and (context.asked or context.told or denied)) or (
        context.asked and _patterns()["regret"].search(low)
    ):
        acts.add("refusal")
