"""Seeded grammars: contrast prompts and whole stories whose truth is known, from lexicons in three parts.

grammar = load_grammar("P1")
grammar.sample("test", 500, seed=1)        # ContrastPrompts, no two alike
grammar.space("train", child="test")[0]    # training sentences about test names
StoryGenerator(("P1",)).story(seed=1, index=0).outcome
mixture(seed=1, n=1000, violation_rate=0.1)  # texts for a training mixture
"""

from __future__ import annotations

from tinyalign.stories.grammar.bigram import BigramModel, fit_bigram, plant
from tinyalign.stories.grammar.bigram_events import (
    Event,
    PlantedEvent,
    event_probability,
    follows_within,
    happens,
    hazards,
    occurs,
    plant_rare,
)
from tinyalign.stories.grammar.check import check_folder, check_grammar, check_plot
from tinyalign.stories.grammar.check_lexicon import check_leaks, check_lexicon
from tinyalign.stories.grammar.generator import (
    GeneratedStory,
    StoryCharacter,
    StoryGenerator,
    StoryQuote,
    StorySpan,
    mixture,
)
from tinyalign.stories.grammar.lengths import LengthReport, equal_length, length_report, sample_equal_length
from tinyalign.stories.grammar.lexicon import SPLITS, Entry, Lexicon, Split, load_lexicon, read_lexicon
from tinyalign.stories.grammar.load import grammar_ids, load_grammar, read_grammar
from tinyalign.stories.grammar.permutation import SeededPermutation
from tinyalign.stories.grammar.plot import OUTCOMES, Outcome, Plot, load_plot, plot_ids, read_plot
from tinyalign.stories.grammar.prompts import (
    ContrastPrompt,
    PromptGrammar,
    PromptSpace,
)

__all__ = [
    "OUTCOMES",
    "SPLITS",
    "BigramModel",
    "ContrastPrompt",
    "Entry",
    "Event",
    "GeneratedStory",
    "LengthReport",
    "Lexicon",
    "Outcome",
    "PlantedEvent",
    "Plot",
    "PromptGrammar",
    "PromptSpace",
    "SeededPermutation",
    "Split",
    "StoryCharacter",
    "StoryGenerator",
    "StoryQuote",
    "StorySpan",
    "check_folder",
    "check_grammar",
    "check_leaks",
    "check_lexicon",
    "check_plot",
    "equal_length",
    "event_probability",
    "fit_bigram",
    "follows_within",
    "grammar_ids",
    "happens",
    "hazards",
    "length_report",
    "load_grammar",
    "load_lexicon",
    "load_plot",
    "mixture",
    "occurs",
    "plant",
    "plant_rare",
    "plot_ids",
    "read_grammar",
    "read_lexicon",
    "read_plot",
    "sample_equal_length",
]
