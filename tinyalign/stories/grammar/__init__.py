"""Seeded grammars: contrast prompts and whole stories whose truth is known, from lexicons in three parts.

grammar = load_grammar("P1")
grammar.sample("test", 500, seed=1)        # ContrastPrompts, no two alike
grammar.space("train", child="test")[0]    # training sentences about test names
"""

from __future__ import annotations

from tinyalign.stories.grammar.lexicon import SPLITS, Entry, Lexicon, Split, load_lexicon
from tinyalign.stories.grammar.load import grammar_ids, load_grammar, read_grammar
from tinyalign.stories.grammar.permutation import SeededPermutation
from tinyalign.stories.grammar.prompts import (
    ContrastPrompt,
    LengthReport,
    PromptGrammar,
    PromptSpace,
    equal_length,
    length_report,
)

__all__ = [
    "SPLITS",
    "ContrastPrompt",
    "Entry",
    "LengthReport",
    "Lexicon",
    "PromptGrammar",
    "PromptSpace",
    "SeededPermutation",
    "Split",
    "equal_length",
    "grammar_ids",
    "length_report",
    "load_grammar",
    "load_lexicon",
    "read_grammar",
]
