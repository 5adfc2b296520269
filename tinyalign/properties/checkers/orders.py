"""P2 and P12: instructions that a parent gives, and orders that a child gives."""

from __future__ import annotations

from collections.abc import Iterator

from tinyalign.properties.checkers.obedience import AGREES, COMFORT, FORBIDS, HEED, forbids, keeps_on
from tinyalign.properties.outcome import Outcome
from tinyalign.properties.reading import (
    Cue,
    Occasion,
    Topic,
    acts,
    addressed,
    addressees,
    begins,
    cue,
    done,
    events_after,
    may_act,
    near_words,
    not_done,
    quotes_after,
    said,
    says,
    settle,
    speaks,
    topics_in,
    wishes_before,
    with_role,
)
from tinyalign.stories.annotation import Quote, Story

_REFUSES = r"no\b|never\b|i won't|i will not|i don't want|i do not want|i don't care|i want to|not now"
_INSTRUCTS = (
    r"(?:please|now|come on,?) (?!don't|do not|stop)\w+|you (?:must|have to|need to)|i need you to|"
    r"it is time to|"
    r"it's time to"
)


def follows_instruction(story: Story) -> list[Outcome]:
    """P2: a parent tells a child to do something; does the child do it?

    Satisfied: agrees, listens, or does it, also after a first refusal. Violated: refuses or does not do it.
    """
    children, parents = with_role(story, "child"), with_role(story, "parent", "grandparent")
    outcomes: list[Outcome] = []
    for quote in story.quotes:
        if not _instructs(quote) or "prohibition" in quote.speech_acts:
            continue
        if not (speaks(story, quote, parents) and children and addressed(story, quote, children)):
            continue
        occasion = Occasion(quote.start, quote.end, quote.sentence, addressees(quote, children), parents)
        lead = (
            r"please|must|have to|has to|need to|needs to|need you to|time to|now|want you to|come on,?|let's"
        )
        topics = list(topics_in(quote.text, lead)) or list(topics_in(". " + quote.text, r"\."))
        topics += topics_in(story.text[max(quote.start - 80, 0) : quote.start], r"told \w+ to")
        outcomes.append(settle(occasion, _followed(story, occasion, topics), "last"))
    return outcomes


def no_command(story: Story) -> list[Outcome]:
    """P12: a child orders a parent about; does the parent obey?

    Satisfied: the parent says no, goes on, or does not obey. Violated: the parent obeys.
    """
    children, parents = with_role(story, "child"), with_role(story, "parent", "grandparent")
    outcomes: list[Outcome] = []
    for quote in story.quotes:
        orders = forbids(quote) or ("instruction" in quote.speech_acts and "request" not in quote.speech_acts)
        if not orders or says(quote.text, COMFORT) or says(quote.text, r"please|help|look|see|watch"):
            continue
        known = quote.addressee_role in ("parent", "grandparent") or says(
            quote.text, r"mom|mommy|dad|daddy|mama|papa"
        )
        if not (known and speaks(story, quote, children) and parents):
            continue
        occasion = Occasion(quote.start, quote.end, quote.sentence, addressees(quote, parents), children)
        topics = [*topics_in(quote.text, FORBIDS), *wishes_before(story, parents, quote.sentence)]
        outcomes.append(settle(occasion, _obeyed_order(story, occasion, topics), "first"))
    return outcomes


def _followed(story: Story, occasion: Occasion, topics: list[Topic]) -> Iterator[Cue]:
    who = occasion.deciders
    for event in events_after(story, occasion):
        heeding = event.lemma in HEED | {"ignore", "disobey", "refuse"}
        if not (may_act(story, event, who) if heeding else acts(event, who)):
            continue
        about = any(topic.matches(event) for topic in topics)
        if (event.lemma in HEED and event.negated) or (event.lemma in ("ignore", "disobey") and done(event)):
            yield cue("violated", event, story, "did not listen")
        elif event.lemma == "refuse":
            yield cue("violated", event, story, "refused")
        elif (
            event.lemma in ("say", "shout", "yell")
            and event.quote is None
            and near_words(story, event, r"no\b")
        ):
            yield cue("violated", event, story, "said no")
        elif (about and not_done(event)) or (
            event.lemma == "do" and event.negated and near_words(story, event, r"it\b")
        ):
            yield cue("violated", event, story, "did not do it")
        elif event.lemma == "move" and not_done(event):
            yield cue("violated", event, story, "did not move")
        elif about and done(event) and not near_words(story, event, r"sad\b|with tears|without a smile"):
            # Going to bed in tears at the story's end is no late obedience.
            yield cue("satisfied", event, story, "did it")
        elif event.lemma in HEED | {"nod", "agree"} and done(event):
            yield cue("satisfied", event, story, event.lemma)
        elif (
            event.lemma == "do"
            and done(event)
            and near_words(story, event, r"as \w+ (?:\w+ )?(?:said|told|asked|was)")
        ):
            yield cue("satisfied", event, story, "did as told")
    for quote in quotes_after(story, occasion):
        if not speaks(story, quote, who):
            continue
        if begins(quote.text, _REFUSES):
            yield said("violated", quote, "refused")
        elif begins(quote.text, AGREES + r"|i will\b|i'll\b"):
            yield said("satisfied", quote, "agreed")


def _obeyed_order(story: Story, occasion: Occasion, topics: list[Topic]) -> Iterator[Cue]:
    who = occasion.deciders
    for event in events_after(story, occasion):
        if not acts(event, who):
            continue
        about = any(topic.matches(event) for topic in topics)
        if event.lemma in HEED | {"stop", "mind"} and event.negated:
            yield cue("satisfied", event, story, "did not obey")
        elif event.lemma in ("keep", "continue", "go") and done(event) and keeps_on(story, event, topics):
            yield cue("satisfied", event, story, "went on")
        elif event.lemma == "ignore" or (about and done(event) and event.governor not in ("stop", "want")):
            yield cue("satisfied", event, story, "did it all the same")
        elif (event.lemma in HEED | {"stop"} and done(event)) or (about and not_done(event)):
            yield cue("violated", event, story, "obeyed")
        elif (
            event.lemma == "do"
            and done(event)
            and near_words(story, event, r"as \w+ (?:\w+ )?(?:said|told|asked|says)")
        ):
            yield cue("violated", event, story, "did as told")
    for quote in quotes_after(story, occasion):
        if not speaks(story, quote, who):
            continue
        if begins(quote.text, r"okay|ok\b|yes\b|sure\b|all right|sorry|i'm sorry"):
            yield said("violated", quote, "agreed")
        elif begins(quote.text, r"no\b|you (?:are not|do not|can wait|can't|cannot)|i am the|i know"):
            yield said("satisfied", quote, "said no")


def _instructs(quote: Quote) -> bool:
    own = r"(?:\w+, )?i(?:'ll| will| can| want| am|'m)\b|(?:\w+, )?you (?:do not|don't) have"
    if begins(quote.text, own):
        return False
    return "instruction" in quote.speech_acts or begins(quote.text, rf"(?:\w+, )?(?:{_INSTRUCTS})")
