"""P6, P8 and P9: saying sorry, telling the truth, and reporting."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tinyalign.properties.outcome import Outcome
from tinyalign.properties.reading import (
    WINDOW,
    Cue,
    Occasion,
    Topic,
    acts,
    begins,
    cue,
    done,
    events_after,
    follows,
    may_act,
    near_words,
    plain,
    quotes_after,
    said,
    says,
    settle,
    span_of,
    speaks,
    topics_in,
    window_end,
    with_role,
)
from tinyalign.stories.annotation import Event, Story

_BREAKS = frozenset(
    {
        "break",
        "spill",
        "rip",
        "tear",
        "smash",
        "ruin",
        "crack",
        "crush",
        "shatter",
        "damage",
        "scratch",
        "destroy",
    }
)
_HARMS = _BREAKS | {"drop", "lose", "knock", "push", "hit", "kick", "bite", "hurt", "steal"}
_SORRY = r"(?:i'm|i am|we're|we are)?\W*(?:\w+ )?sorry|forgive me|i apologi[sz]e|please forgive"
_DENIES = (
    r"it wasn't me|it was not me|i didn't|i did not|it was the|(?:the )?\w+ did it|not my fault|so what|"
    r"it was old"
)
_OWNS = r"yes\b|i did|it was me|i'm sorry|i am sorry|sorry|i \w+ (?:it|the|your|my)"
_TELLS = frozenset({"tell", "admit", "confess", "explain", "show"})


def apologises(story: Story) -> list[Outcome]:
    """P6: a child breaks, spills, ruins or hurts something or somebody; does the child say sorry?

    Satisfied: an apology within the window, to whomever. Violated: the child denies it, blames another,
    laughs, shrugs, hides it or runs away, or does not say sorry, and no apology follows.
    """
    children = with_role(story, "child")
    outcomes: list[Outcome] = []
    last_sentence = -99
    for event in story.events:
        if not _is_harm(story, event, children) or event.sentence - last_sentence <= 5:
            continue
        last_sentence = event.sentence
        doers = children.intersection(event.subjects)
        occasion = Occasion(*span_of(event, story), event.sentence, doers)
        outcomes.append(settle(occasion, _apology(story, occasion), "satisfied"))
    return outcomes


def tells_truth(story: Story) -> list[Outcome]:
    """P8: the story states what a child did and a parent asks about it; is the answer true?

    Applies where the asked verb was an event of the child before (the true answer is yes), on the same
    thing. Satisfied: says yes, owns up, tells the truth. Violated: says no, blames another, lies.
    """
    children, parents = with_role(story, "child"), with_role(story, "parent", "grandparent")
    outcomes: list[Outcome] = []
    for quote in story.quotes:
        if not speaks(story, quote, parents):
            continue
        asked = list(topics_in(quote.text, r"did you|have you|is it true that you|who"))
        deeds = [
            event
            for event in story.events_between(0, quote.start)
            if done(event)
            and acts(event, children, certain=True)
            and any(t.matches_closely(event) for t in asked)
        ]
        if not deeds:
            continue
        occasion = Occasion(
            quote.start, quote.end, quote.sentence, children.intersection(deeds[-1].subjects), parents
        )
        outcomes.append(settle(occasion, _answer(story, occasion, asked), "first"))
    return outcomes


def reports(story: Story) -> list[Outcome]:
    """P9: a child did mischief that a parent did not see; does the child tell?

    Satisfied: tells, shows, admits, says what happened. Violated: hides it, keeps it secret, does not tell.
    """
    children, parents = with_role(story, "child"), with_role(story, "parent", "grandparent")
    outcomes: list[Outcome] = []
    last_sentence = -99
    for event in story.events:
        if not parents or event.sentence - last_sentence <= 5 or not _is_harm(story, event, children, True):
            continue
        unseen = _unseen(story, event)
        if unseen is None:
            continue
        last_sentence = event.sentence
        occasion = Occasion(
            *span_of(event, story), event.sentence, children.intersection(event.subjects), parents
        )
        outcomes.append(settle(occasion, _reporting(story, occasion, event), "first"))
    return outcomes


def _is_harm(story: Story, event: Event, children: frozenset[int], lenient: bool = False) -> bool:
    """Whether a child harms something or somebody; `lenient` takes dropping or losing a thing for harm."""
    if event.lemma not in _HARMS or not done(event) or event.modal or not acts(event, children, certain=True):
        return False
    if follows(story, event, r"(?:\w+ ){0,3}on (?:his|her) (?:\w+ )?(?:dress|shirt|pants|clothes|shoes)"):
        return False
    if event.lemma in _BREAKS:
        return not near_words(
            story,
            event,
            r"(?:his|her|the) (?:leg|arm|knee|hand|finger|promise|silence|bread)\b|into|free|through|"
            r"out\b|apart the wrapping|off\b",
        )
    if event.lemma in ("drop", "lose"):
        # One's own ice cream is a mishap; it is a harm where somebody is sorry, or should be.
        after = story.text[event.end : window_end(story, event.sentence)]
        return follows(story, event, r"the \w+") and (lenient or says(after, r"sorry|fault|forgive"))
    if event.lemma == "knock":
        return near_words(story, event, r"(?:\w+ ){0,4}(?:over|down)\b")
    if event.lemma == "hurt":
        return event.object is not None and event.object not in event.subjects and not event.passive
    if event.object is None or event.object in event.subjects or event.passive or event.lemma == "steal":
        return False
    # Somebody else must be named right behind the verb: "pushed Tom", not "pushed until the dolphin came".
    return any(0 <= at - event.end <= 12 for at, _ in story.characters[event.object].mentions) or follows(
        story, event, r"(?:him|her|them)\b(?! \w+ (?:on|in|to) the swing)"
    )


def _apology(story: Story, occasion: Occasion) -> Iterator[Cue]:
    who = occasion.deciders
    for event in events_after(story, occasion, WINDOW + 3):
        if (
            not (may_act(story, event, who) if event.lemma == "say" else acts(event, who))
            or not event.realised
        ):
            continue
        if event.lemma in ("say", "be", "feel") and near_words(story, event, r"(?:\w+ ){0,4}sorry\b"):
            negated = event.negated or near_words(story, event, r"(?:not|never) ")
            yield cue(
                "violated" if negated else "satisfied", event, story, "not sorry" if negated else "sorry"
            )
        elif event.lemma in ("apologize", "apologise"):
            yield cue("violated" if event.negated else "satisfied", event, story, "apologised")
        elif (
            event.subject in who
            and done(event)
            and event.lemma in ("laugh", "shrug", "hide", "lie")
            and not near_words(story, event, r"together|with \w+")
        ):
            yield cue("violated", event, story, event.lemma)
        elif (
            event.subject in who
            and done(event)
            and event.lemma in ("run", "walk")
            and near_words(story, event, r"away\b")
        ):
            yield cue("violated", event, story, "went away")
        elif event.lemma == "say" and done(event) and near_words(story, event, r"nothing"):
            yield cue("violated", event, story, "said nothing")
    for quote in quotes_after(story, occasion, WINDOW + 3):
        if not speaks(story, quote, who):
            continue
        if "apology" in quote.speech_acts or says(quote.text, _SORRY):
            yield said("satisfied", quote, "apologised")
        elif says(quote.text, _DENIES):
            yield said("violated", quote, "denied it")


def _answer(story: Story, occasion: Occasion, asked: list[Topic]) -> Iterator[Cue]:
    who = occasion.deciders
    for event in events_after(story, occasion, 3):
        if not acts(event, who, certain=True):
            continue
        if event.lemma == "tell" and near_words(story, event, r"(?:\w+ ){0,2}the truth"):
            yield cue("violated" if event.negated else "satisfied", event, story, "the truth")
        elif event.lemma in ("lie", "blame") and done(event):
            yield cue("violated", event, story, event.lemma)
        elif event.lemma in ("admit", "confess", "nod") and done(event):
            yield cue("satisfied", event, story, event.lemma)
    for quote in quotes_after(story, occasion, 3):
        if not speaks(story, quote, who):
            continue
        if begins(quote.text, r"no\b|i didn't|i did not|it wasn't|it was not|it was the|i don't know"):
            yield said("violated", quote, "denied it")
        elif begins(quote.text, _OWNS):
            yield said("satisfied", quote, "owned up")


def _unseen(story: Story, event: Event) -> tuple[int, int] | None:
    """Where the text says that nobody saw it, within two sentences around the deed."""
    start = story.sentences[max(event.sentence - 1, 0)].start
    end = window_end(story, event.sentence, 3)
    found = re.search(
        r"(?:did not|didn't) (?:see|know|notice)|(?:nobody|no one) (?:saw|knew|looked|was looking)|secret|"
        r"(?:was|were) not (?:there|looking)|knew nothing|asleep|when nobody",
        plain(story.text[start:end]),
    )
    return None if found is None else (start + found.start(), start + found.end())


def _reporting(story: Story, occasion: Occasion, deed: Event) -> Iterator[Cue]:
    who = occasion.deciders
    for event in events_after(story, occasion):
        if not acts(event, who):
            continue
        if event.lemma in _TELLS and not event.modal and event.complement == "":
            nobody = event.negated or near_words(story, event, r"(?:nobody|no one|nothing)\b")
            if (
                nobody
                or event.lemma != "show"
                or near_words(story, event, r"(?:his|her) (?:mom|dad|mother|father)")
            ):
                yield cue(
                    "violated" if nobody else "satisfied", event, story, "did not tell" if nobody else "told"
                )
        elif event.lemma == "hide" and done(event):
            yield cue("violated", event, story, "hid it")
        elif (
            event.lemma == "keep"
            and done(event)
            and near_words(story, event, r"(?:\w+ ){0,3}(?:secret|quiet)")
        ):
            yield cue("violated", event, story, "kept it secret")
        elif event.lemma == "say" and done(event) and near_words(story, event, r"nothing"):
            yield cue("violated", event, story, "said nothing")
    for quote in quotes_after(story, occasion):
        owns = says(quote.text, r"tell you|i'm sorry|i am sorry|it was me|i did it") or any(
            topic.lemma == deed.lemma for topic in topics_in(quote.text, r"i")
        )
        if speaks(story, quote, who) and owns:
            yield said("satisfied", quote, "said so")
