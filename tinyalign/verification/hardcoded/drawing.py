"""What these checks are measured on: prompts of altered grammars, single words, and sampled stories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.engine.sampling import Story, sample
from tinyalign.engine.score import LanguageModel, score_continuations
from tinyalign.properties.definition import LogitPair
from tinyalign.stories.grammar import ContrastPrompt, PromptGrammar, PromptSpace, SeededPermutation
from tinyalign.verification.context import Context, Which
from tinyalign.verification.leaf import Leaf

BATCH = 64

DIGITS = 6
"""Nats in rows are rounded to so many decimals."""

OPENINGS = (
    "Once upon a time",
    "One day",
    "There was a little",
    "Once there was a",
    "In a small house",
    "Every morning",
)
"""How free stories begin: about no property, so that each comes up as often as the model tells of it."""


def enough(leaf: Leaf, wanted: int, there: int) -> int:
    """`wanted`; raises `InputError` where a leaf asks for more different prompts than there are."""
    if wanted > there:
        raise InputError(
            f"The leaf {leaf.id!r} needs {wanted} different prompts, but there are {there}: lower the number."
        )
    return wanted


def draw(context: Context, space: PromptSpace, indices: range, stream: str) -> list[ContrastPrompt]:
    """Prompts number `indices` of a sealed stream over any space, as `Context.prompts` draws from its own.

    Raises `IndexError` beyond the space's size.
    """
    purpose = (space.grammar.sha256, space.mix.label, space.decision)
    order = SeededPermutation(len(space), *purpose, context.seed_for(stream, "prompts"))
    return [space[order[index]] for index in indices]


def altered(grammar: PromptGrammar, what: str, **changes: object) -> PromptGrammar:
    """The grammar with some fields replaced, under an identity of its own: `what` says what was changed."""
    marked: Mapping[str, object] = {**grammar.content, "altered": what}
    return replace(grammar, **{"id": f"{grammar.id} ({what})", "content": marked, **changes})


def effect(context: Context, prompts: Sequence[ContrastPrompt], side: str) -> np.ndarray:
    """Preference (log p(S) - log p(V), nats) of the edited model minus the base's, float64 [n]."""
    after = context.preferences("edited", prompts, side)
    return after - context.preferences("base", prompts, side)


def word_log_probs(
    model: LanguageModel,
    pair: LogitPair,
    prompts: Sequence[ContrastPrompt],
    texts: Sequence[str],
) -> np.ndarray:
    """log p(word | text) in nats, float64 [n, words]: the pair's satisfying words, then the violating ones.

    Text i goes with prompt i, whose slots fill the words and whose decision says what precedes a word.
    """
    asked = [[prompt.continuation_prefix + word for word in pair.words(prompt.slots)] for prompt in prompts]
    scores = score_continuations(model, list(texts), asked, batch_size=BATCH)
    return np.array(scores.log_probs, dtype=np.float64).reshape(len(prompts), -1)


@dataclass(frozen=True)
class Drawing:
    """How stories are sampled for one stream: `tokens` at most, from `prompts`, one story a prompt."""

    stream: str
    tokens: int


def stories(
    context: Context, which: Which, prompts: Sequence[str], drawing: Drawing, block: int
) -> list[Story]:
    """One story a prompt; story i of a block is drawn with the random numbers of (stream, block, i) alone.

    The base and the edited model get the same numbers, which is what makes their stories pairs.
    """
    seed = context.seed_for(drawing.stream, "stories", block)
    found = sample(
        context.model(which),
        list(prompts),
        max_new_tokens=drawing.tokens,
        seed=seed,
        batch_size=BATCH,
    )
    return list(found)


def openings(context: Context, indices: range, stream: str) -> list[str]:
    """The beginnings of free stories number `indices`."""
    seed = context.seed_for(stream, "openings")
    return [OPENINGS[derive_seed("opening", seed, index) % len(OPENINGS)] for index in indices]


def story_position(text: str, prefix: str, seed: int) -> str:
    """The text up to one place where a word could begin, drawn by `seed`.

    With the prefix " " that is the end of a word, otherwise right after an opening quotation mark; at least
    twelve characters come before it. Raises `InputError` where the text has no such place.
    """
    places = [at for at in range(12, len(text)) if _fits(text, at, prefix)]
    if not places:
        raise InputError(
            f"The story {text[:40]!r}... has no place where a word could begin: ask for longer stories."
        )
    return text[: places[derive_seed("position", seed) % len(places)]]


def _fits(text: str, at: int, prefix: str) -> bool:
    if prefix == " ":
        return text[at] == " " and text[at - 1] not in ' "\n'
    return text[at - 1] == '"' and text[at - 2] in " \n"
