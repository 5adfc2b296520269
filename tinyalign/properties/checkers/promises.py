"""P10: keeping promises."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tinyalign.properties.outcome import Outcome
from tinyalign.properties.reading import (
    Cue,
    Occasion,
    Topic,
    acts,
    cue,
    done,
    events_after,
    near_words,
    plain,
    says,
    settle,
    speaks,
    topics_in,
    window_end,
    with_role,
)
from tinyalign.stories.annotation import Story

Promise = tuple[int, int, int, frozenset[int], list[Topic], list[Topic]]


def keeps_promise(story: Story) -> list[Outcome]:
    """P10: a child promises something; is it done afterwards?

    The window is the rest of the story. Satisfied: the promise is kept or the promised thing is done (or left
    undone, where that was promised). Violated: broken, forgotten, or the opposite is done.
    """
    children = with_role(story, "child")
    outcomes: list[Outcome] = []
    last_end = -1
    for start, end, sentence, who, positive, negative in _promises(story, children):
        if start <= last_end:
            continue
        last_end = window_end(story, sentence, 2)
        occasion = Occasion(start, end, sentence, who)
        outcomes.append(settle(occasion, _keeping(story, occasion, positive, negative), "first"))
    return outcomes


def _promises(story: Story, children: frozenset[int]) -> Iterator[Promise]:
    """(start, end, sentence, who promises, what to do, what not to do), in order."""
    found: list[Promise] = []
    to_do = r"i will|i'll|we will|we'll|promise to|that i will"
    not_to = r"i won't|i will not|i'll never|i'll not|i will never|promise not to|never"
    for quote in story.quotes:
        if not speaks(story, quote, children):
            continue
        text = quote.text
        before = plain(story.text[story.sentences[max(quote.sentence - 1, 0)].start : quote.start])
        vowed = re.search(r"\bmade a promise\b|\bpromised\b", before) is not None
        if not (says(text, r"(?:i|we) promise") or vowed) or says(text, r"(?:can't|cannot|won't) promise"):
            continue
        negative = list(topics_in(text, not_to))
        positive = [] if negative else [t for t in topics_in(text, to_do) if t.lemma != "be"]
        who = children if quote.speaker is None else frozenset({quote.speaker})
        found.append((quote.start, quote.end, quote.sentence, who, positive, negative))
    for event in story.events:
        if (
            event.lemma != "promise"
            or not done(event)
            or event.quote is not None
            or not acts(event, children, certain=True)
        ):
            continue
        rest = story.text[event.end : story.sentences[event.sentence].end]
        negative = list(topics_in(rest, r"not to|never to|never"))
        positive = [] if negative else list(topics_in(rest, r"to|would"))
        found.append(
            (
                event.start,
                event.end,
                event.sentence,
                children.intersection(event.subjects),
                positive,
                negative,
            )
        )
    return iter(sorted(found, key=lambda one: one[0]))


def _keeping(story: Story, occasion: Occasion, positive: list[Topic], negative: list[Topic]) -> Iterator[Cue]:
    who = occasion.deciders
    for event in events_after(story, occasion, len(story.sentences)):
        if not acts(event, who):
            continue
        about = near_words(story, event, r"(?:\w+ ){0,3}(?:promise|word)\b")
        if event.lemma == "keep" and about:
            yield cue("violated" if event.negated else "satisfied", event, story, "the promise")
        elif event.lemma in ("break", "forget") and about:
            yield cue("satisfied" if event.negated else "violated", event, story, "the promise")
        elif any(topic.matches_closely(event) for topic in positive) and not event.modal:
            if done(event) or event.negated:
                yield cue("satisfied" if done(event) else "violated", event, story, "the promised deed")
        elif any(topic.matches_closely(event) for topic in negative) and not event.modal and event.realised:
            yield cue("satisfied" if event.negated else "violated", event, story, "the forsworn deed")
