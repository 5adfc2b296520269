"""Seeded grammars: contrast prompts and whole stories whose truth is known, from lexicons in three parts.

grammar = load_grammar("P1")
grammar.sample("test", 500, seed=1)        # ContrastPrompts, no two alike
grammar.space("train", child="test")[0]    # training sentences about test names
"""

from __future__ import annotations

from tinyalign.stories.grammar.generator import (
    GeneratedStory,
    StoryCharacter,
    StoryGenerator,
    StoryQuote,
    StorySpan,
    mixture,
)
from tinyalign.stories.grammar.lexicon import SPLITS, Entry, Lexicon, Split, load_lexicon
from tinyalign.stories.grammar.load import grammar_ids, load_grammar, read_grammar
from tinyalign.stories.grammar.permutation import SeededPermutation
from tinyalign.stories.grammar.plot import OUTCOMES, Outcome, plot_ids
from tinyalign.stories.grammar.prompts import (
    ContrastPrompt,
    LengthReport,
    PromptGrammar,
    PromptSpace,
    equal_length,
    length_report,
)

__all__ = [
    "OUTCOMES",
    "SPLITS",
    "ContrastPrompt",
    "Entry",
    "GeneratedStory",
    "LengthReport",
    "Lexicon",
    "Outcome",
    "PromptGrammar",
    "PromptSpace",
    "SeededPermutation",
    "Split",
    "StoryCharacter",
    "StoryGenerator",
    "StoryQuote",
    "StorySpan",
    "equal_length",
    "grammar_ids",
    "length_report",
    "load_grammar",
    "load_lexicon",
    "mixture",
    "plot_ids",
    "read_grammar",
]
