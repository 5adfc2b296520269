"""The checker: refuses lexicons, prompts and plots that leak between splits or are wrong English."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tinyalign.common.errors import DataError
from tinyalign.stories.grammar.check_lexicon import check_leaks, check_lexicon, refuse
from tinyalign.stories.grammar.check_sentence import check_sentence, expand
from tinyalign.stories.grammar.lexicon import SPLITS, Lexicon, Split, grammars_folder, read_lexicon
from tinyalign.stories.grammar.load import read_grammar
from tinyalign.stories.grammar.plot import Plot, read_plot
from tinyalign.stories.grammar.prompts import SIDES, Alternative, Parts, PromptGrammar
from tinyalign.stories.grammar.template import Voice, parse, render, slots_of

# Forms that do not tell who is meant (a pronoun does: before the first mention it is written as one).
_NO_MENTION = ("himself", "kid", "gender")


def check_grammar(grammar: PromptGrammar) -> None:
    """Raise `DataError` (file, entry, reason) for the first rule that a prompt grammar breaks.

    Beyond `check_lexicon` and `check_sentence`: no sentence stands in two splits, clean and corrupted have
    as many words, every slot is written in every prompt (so that no two prompts are alike), and a prompt
    ends with the decider's words and opens a quotation exactly where nothing is to precede what follows.
    """
    lexicons = {lexicon.name: lexicon for lexicon in grammar.slots.values()}.values()
    for lexicon in lexicons:
        check_lexicon(lexicon)
    check_leaks(lexicons)
    decisions = {f"decision {name}": decision.parts for name, decision in grammar.decisions.items()}
    people = {**grammar.people, **dict.fromkeys(grammar.roles, "person")}
    slots = {slot: lexicon for slot, lexicon in grammar.slots.items() if slot not in grammar.people}
    for part, parts in {**grammar.parts, **decisions}.items():
        _check_no_leak(f"{grammar.name} ({part})", parts)
        for split in SPLITS:
            for alternative in parts[split]:
                where = f"{grammar.name} ({part}, {split})"
                for side in SIDES:
                    check_sentence(where, alternative.side(side), people, slots)
                _check_words(where, alternative, grammar, split)
    for decision in grammar.decisions.values():
        _check_decision(grammar, decision.parts, decision.continuation_prefix, decision.name)
    for slot in grammar.slots:
        _check_written(grammar, slot)


def _check_no_leak(where: str, parts: Parts) -> None:
    seen: dict[str, Split] = {}
    for split in SPLITS:
        for alternative in parts[split]:
            key = " / ".join(alternative.side(side) for side in SIDES).casefold()
            if key in seen:
                reason = (
                    f"stands in {seen[key]} and in {split}" if seen[key] != split else "stands there twice"
                )
                raise refuse(where, alternative.clean, f"the sentence {reason}; splits must differ.")
            seen[key] = split


def _check_words(where: str, alternative: Alternative, grammar: PromptGrammar, split: Split) -> None:
    # Mentions differ in length ("her mom", "Lily"): count what is written, at first mention and later.
    chosen = {
        slot: lexicon.parts[split][grammar.people.get(slot) == "friend"]
        for slot, lexicon in grammar.slots.items()
    }
    for roles in (grammar.roles, grammar.swapped):
        bindings = grammar.bind(chosen, roles)
        everybody = " ".join(f"{{{slot}}}" for slot in grammar.people)
        for before in ("", everybody):
            clean = render([before, alternative.clean], bindings).text
            corrupted = render([before, alternative.corrupted], bindings).text
            words, others = len(clean.split()), len(corrupted.split())
            if words != others:
                reason = f"{clean!r} has {words} words, {corrupted!r} has {others}."
                raise refuse(where, alternative.clean, reason)


def _check_decision(grammar: PromptGrammar, parts: Parts, prefix: str, name: str) -> None:
    for split in SPLITS:
        for alternative in parts[split]:
            where = f"{grammar.name} (decision {name}, {split})"
            text = alternative.clean
            if not alternative.clean == alternative.corrupted == alternative.neutral:
                raise refuse(where, text, "a decision must read the same on every side.")
            roles = {slot.role for slot in slots_of(text) if slot.form in ("", "call")}
            if grammar.decider not in roles:
                raise refuse(where, text, f"it must name the decider {grammar.decider!r}.")
            if (prefix == "") != text.endswith('"'):
                raise refuse(
                    where, text, 'continuation is "" just where the prompt ends with a quotation mark.'
                )


def _check_written(grammar: PromptGrammar, slot: str) -> None:
    roles = {slot, *(role for role, filled in grammar.roles.items() if filled == slot)}

    def written(sentence: str) -> bool:
        return any(one.role in roles and one.form not in _NO_MENTION for one in slots_of(sentence))

    groups = [*grammar.parts.values()]
    decisions = [decision.parts for decision in grammar.decisions.values()]
    for split in SPLITS:
        in_part = any(all(written(one.clean) for one in parts[split]) for parts in groups)
        if not in_part and not all(written(one.clean) for parts in decisions for one in parts[split]):
            reason = f"some {split} prompts do not write it, so that several would read the same."
            raise refuse(grammar.name, slot, reason)


def check_plot(plot: Plot) -> None:
    """Raise `DataError` for the first rule a plot breaks: sentences, and a speaker for every quote."""
    for lexicon in plot.slots.values():
        check_lexicon(lexicon)
    slots = {slot: lexicon for slot, lexicon in plot.slots.items() if slot not in plot.people}
    for step in plot.steps:
        where = f"story of {plot.id} ({step.name})"
        for sentence in dict.fromkeys(line for lines in step.lines.values() for line in lines):
            check_sentence(where, sentence, plot.people, slots)
            _check_voices(where, sentence, plot.people)


def _check_voices(where: str, sentence: str, people: Mapping[str, str]) -> None:
    for text in expand(sentence):
        pieces = parse(text)
        voices = [piece for piece in pieces if isinstance(piece, Voice)]
        marks = sum(piece.count('"') for piece in pieces if isinstance(piece, str))
        if marks != 2 * len(voices):
            raise refuse(where, sentence, "every quotation needs its [speaker>addressee], and an end.")
        for role in (role for voice in voices for role in (voice.speaker, voice.addressee)):
            if role not in people:
                raise refuse(where, sentence, f"{role!r} is none of the people {', '.join(people)}.")


def check_folder(folder: Path | None = None) -> int:
    """Check every file of a folder laid out like data/grammars; gives their number.

    Lexicons are checked against each other too. Raises `DataError` for the first that breaks a rule.
    """
    folder = folder or grammars_folder()
    lexicons = [read_lexicon(path) for path in _files(folder / "lexicons", "*.yaml")]
    for lexicon in lexicons:
        check_lexicon(lexicon)
    check_leaks(lexicons)
    grammars = [read_grammar(path, folder / "lexicons") for path in _files(folder / "prompts", "*.yaml")]
    for grammar in grammars:
        check_grammar(grammar)
    plots = [read_plot(path, folder / "lexicons") for path in _files(folder / "stories", "p*-*.yaml")]
    for plot in plots:
        check_plot(plot)
    counted: Iterable[Sequence[Lexicon | PromptGrammar | Plot]] = (lexicons, grammars, plots)
    return sum(map(len, counted))


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise DataError(f"{folder}: no {pattern} there; a grammar folder has lexicons, prompts and stories.")
    return found
