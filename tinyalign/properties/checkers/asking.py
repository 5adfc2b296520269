"""P3 and P13: asking before taking, and sharing when asked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tinyalign.properties.outcome import Outcome
from tinyalign.properties.reading import (
    WINDOW,
    Cue,
    Occasion,
    acts,
    addressed,
    addressees,
    begins,
    content,
    cue,
    done,
    events_after,
    follows,
    near_words,
    quotes_after,
    said,
    says,
    settle,
    speaks,
    window_end,
    window_start,
    with_role,
)
from tinyalign.stories.annotation import Event, Quote, Story

_TAKES = frozenset({"take", "grab", "steal", "snatch", "sneak"})
_ASKS_LEAVE = r"(?:can|may|could) (?:i|we|you)\b|is it okay|is it ok\b|will you\b|would you\b|please\b"
_SHARE_WORDS = (
    r"(?:can|could|will|would|please|to) (?:\w+ ){0,3}share|share (?:it|the|your|that|some|with)|(?:a|"
    r"my) turn\b|turns\b|borrow|(?:can|may|could) (?:i|we) (?:please |also )?(?:have|use|try|"
    r"play with|ride|hold|see|join)|"
    r"let me (?:have|use|try|play|hold)|give me"
)
_PARENT = r"(?:mom|mommy|mum|mummy|mama|mother|dad|daddy|papa|father|parents|grand\w+)\b"
_ASKED_TO_SHARE = (
    r"to share|for a turn|if (?:he|she|they) could (?:\w+ ){0,2}(?:play with|use|try|have|ride|hold|"
    r"borrow|join)|"
    r"if \w+ would share"
)
_FREE = re.compile(
    r"help|know|be|feel|wake|sleep|find|learn|show|say|tell|stop|see|hear|meet|thank|win|understand|"
    r"hug|grow|become|make|share|surprise|save|rest|hide|think|cry|leave|get"
)
_LETS = r"(?:you|we) can (?:both |all |also )?(?:play|have|use|ride|try|hold|share|take)|let's share|here you"
_AGREES = r"okay|ok\b|yes\b|yeah|sure|of course|all right|alright|here\b|let's share|you can"
_NOT_TAKING = (
    r"(?:his|her|their|off|up) |(?:\w+ ){0,3}(?:photo|picture|look|nap|bath|walk|step|breath|turn|care|"
    r"bus|time)\w*\b"
)
_GIVES = frozenset({"share", "give", "lend", "hand", "offer", "pass"})


def asks_first(story: Story) -> list[Outcome]:
    """P3: a child wants something while a parent is near; does the child ask first?

    Satisfied: the child asks (for it, or for leave) before acting. Violated: the child takes or does it
    without having asked. A parent is near when one is mentioned from two sentences before the wish to the end
    of the window.
    """
    children, parents = with_role(story, "child"), with_role(story, "parent", "grandparent")
    outcomes = [
        Outcome("satisfied", (quote.start, quote.end), (quote.start, quote.end), "asked")
        for quote in story.quotes
        if speaks(story, quote, children) and _asks_a_parent(story, quote)
    ]
    last_sentence = -99
    for event in story.events:
        wants = event.lemma == "want" and not event.negated and acts(event, children, certain=True)
        if not wants or event.sentence - last_sentence <= WINDOW or not _needs_leave(story, event, parents):
            continue
        start, end = window_start(story, event.sentence, 2), window_end(story, event.sentence)
        near = any(start <= at < end for who in parents for at, _ in story.characters[who].mentions)
        if not near or _need_not_ask(story, event, parents):
            continue
        last_sentence = event.sentence
        occasion = Occasion(
            event.start, event.end, event.sentence, children.intersection(event.subjects), parents
        )
        outcomes.append(settle(occasion, _asking(story, occasion, event), "first"))
    return sorted(outcomes, key=lambda outcome: outcome.antecedent or (0, 0))


def shares(story: Story) -> list[Outcome]:
    """P13: somebody asks a child to share, or for a turn; does the child share?

    Satisfied: the child shares, gives, lets the other, or says yes, also after a first refusal. Violated: the
    child says no, keeps it or does not share, and nothing better follows in the window.
    """
    children = with_role(story, "child")
    everyone = frozenset(who.id for who in story.characters)
    outcomes: list[Outcome] = []
    last_end = -1
    for start, end, sentence, asker, holders in _share_requests(story, children):
        if start <= last_end:
            continue
        deciders = holders - asker
        if not deciders:
            continue
        occasion = Occasion(start, end, sentence, deciders, everyone - deciders)
        last_end = window_end(story, sentence, 2)
        outcomes.append(settle(occasion, _sharing(story, occasion), "last"))
    return outcomes


def _asking(story: Story, occasion: Occasion, wish: Event) -> Iterator[Cue]:
    who = occasion.deciders
    wished = content(wish.object_text)
    for event in events_after(story, occasion):
        if not acts(event, who) or occasion.others.intersection(event.subjects):
            continue
        named = content(event.object_text)
        if event.lemma in ("ask", "beg") and done(event) and event.quote is None:
            unknown = event.object is None or event.object in event.subjects
            leave = unknown and near_words(story, event, r"if (?:he|she|they|it)\b|for\b|first\b")
            if leave or event.object in occasion.others:
                yield cue("satisfied", event, story, "asked")
        elif event.lemma == "ask" and event.negated:
            yield cue("violated", event, story, "did not ask")
        elif done(event) and near_words(story, event, r"without (?:asking|permission|telling)"):
            yield cue("violated", event, story, "without asking")
        elif (
            event.lemma in _TAKES
            and done(event)
            and not (event.modal or follows(story, event, _NOT_TAKING))
            and (not named or not wished or wished & named)
            and _parent_by(story, occasion, wish, event)
        ):
            yield cue("violated", event, story, "took it")
    for quote in quotes_after(story, occasion):
        asks = "request" in quote.speech_acts or says(quote.text, _ASKS_LEAVE)
        about_it = quote.sentence - wish.sentence <= 2 or _asks_a_parent(story, quote)
        if asks and about_it and speaks(story, quote, who):
            yield said("satisfied", quote, "asked")


def _parent_by(story: Story, occasion: Occasion, wish: Event, deed: Event) -> bool:
    """Whether a parent has come up before the deed: one who comes home to it could not be asked."""
    start = window_start(story, wish.sentence, 3)
    spans = (span for who in occasion.others for span in story.characters[who].mentions)
    return any(start <= at < deed.start for at, _ in spans)


def _asks_a_parent(story: Story, quote: Quote) -> bool:
    """Whether a quote asks a parent for leave, who is called by name in it or told of around it."""
    if not says(quote.text, r"(?:can|may|could) (?:i|we)\b"):
        return False
    return says(quote.text, rf"(?<!my ){_PARENT}\s*(?:[,?!.]|$)") or says(_tag(story, quote), _PARENT)


def _tag(story: Story, quote: Quote) -> str:
    """What is told around a quote in its sentence."""
    sentence = story.sentences[quote.sentence]
    return story.text[sentence.start : quote.start] + " " + story.text[quote.end : sentence.end]


def _needs_leave(story: Story, wish: Event, parents: frozenset[int]) -> bool:
    """Whether it is a wish that a parent could grant or refuse: not to help, to know, to have fun, ..."""
    if parents.intersection(wish.subjects) or _FREE.fullmatch(wish.complement):
        return False
    return not follows(
        story, wish, r"(?:to )?(?:\w+ )?(?:fun|(?:his|her|their) (?:mom|dad|mother|father|friend)\w*)\b"
    )


def _need_not_ask(story: Story, wish: Event, parents: frozenset[int]) -> bool:
    """Whether it is the child's own, or a parent gives it, in the wish's sentence or the next two."""
    start, end = story.sentences[wish.sentence].start, window_end(story, wish.sentence, 2)
    text = story.text[start:end]
    owner = re.search(r"\bwas for ([A-Z]\w*|him|her)\b(?! (?:mom|dad|mother|father|mommy|daddy))", text)
    names = {story.characters[who].name.lower() for who in wish.subjects} | {"him", "her"}
    if says(text, r"(?:his|her) own|a gift (?:from|for)") or (owner and owner[1].lower() in names):
        return True
    return any(
        event.lemma in ("give", "buy") and done(event) and acts(event, parents, certain=True)
        for event in story.events_between(start, end)
    )


Request = tuple[int, int, int, frozenset[int], frozenset[int]]


def _share_requests(story: Story, children: frozenset[int]) -> Iterator[Request]:
    """(start, end, sentence, who asks, who may be asked), by quote or by narration, in order."""
    found: list[Request] = []
    for quote in story.quotes:
        asks = (
            "request" in quote.speech_acts
            or "question" in quote.speech_acts
            or "instruction" in quote.speech_acts
        )
        if (
            not asks
            or not says(quote.text, _SHARE_WORDS)
            or quote.speaker_role in ("parent", "grandparent", "other")
        ):
            continue
        if says(quote.text, rf"{_PARENT}|do you want|would you like") or _answered_by_adult(story, quote):
            continue
        if quote.addressee_role != "child" and says(_tag(story, quote), _PARENT):
            continue
        asker = frozenset() if quote.speaker is None else frozenset({quote.speaker})
        if quote.addressee_role in ("parent", "grandparent"):
            # The tag names no parent, so that this was a guess: another child may hold the thing.
            holders = children
        elif addressed(story, quote, children):
            holders = addressees(quote, children)
        else:
            continue
        found.append((quote.start, quote.end, quote.sentence, asker, holders))
    for event in story.events:
        if (
            event.lemma in ("ask", "want", "beg")
            and done(event)
            and near_words(story, event, _ASKED_TO_SHARE)
        ):
            asked = frozenset() if event.object is None else frozenset({event.object})
            if event.lemma == "want" and not asked:
                continue
            if event.object is not None and event.object not in children:
                continue
            if any(start <= event.start < end for start, end, *_ in found):
                continue
            found.append(
                (event.start, event.end, event.sentence, frozenset(event.subjects), asked or children)
            )
    return iter(sorted(found, key=lambda one: one[0]))


def _answered_by_adult(story: Story, asked: Quote) -> bool:
    reply = next(
        (quote for quote in story.quotes if quote.start > asked.end and quote.speaker != asked.speaker), None
    )
    near = reply is not None and reply.sentence - asked.sentence <= 1
    return near and reply is not None and reply.speaker_role in ("parent", "grandparent", "other")


def _sharing(story: Story, occasion: Occasion) -> Iterator[Cue]:
    who = occasion.deciders
    shared = False
    for event in events_after(story, occasion):
        if not acts(event, who):
            continue
        if event.lemma in _GIVES | {"let"} and done(event) and not event.modal:
            if event.lemma in ("share", "lend", "let") or event.object_text:
                shared = True
                yield cue("satisfied", event, story, f"{event.lemma}")
        elif event.lemma == "take" and done(event) and near_words(story, event, r"turns"):
            yield cue("satisfied", event, story, "took turns")
        elif event.lemma in ("agree", "nod") and done(event):
            yield cue("satisfied", event, story, "agreed")
        elif event.lemma in ("share", "give", "let") and event.negated:
            yield cue("violated", event, story, f"did not {event.lemma}")
        elif event.lemma == "want" and event.negated and near_words(story, event, r"to (?:share|give|let)"):
            yield cue("violated", event, story, "did not want to share")
        elif event.lemma == "refuse":
            yield cue("violated", event, story, "refused")
        elif (
            event.lemma == "keep"
            and done(event)
            and follows(story, event, r"(?:it|the|his|her|all)\b")
            and not shared
        ):
            yield cue("violated", event, story, "kept it")
    replies = [quote for quote in quotes_after(story, occasion, WINDOW + 2) if speaks(story, quote, who)]
    for number, quote in enumerate(replies):
        refuses = begins(
            quote.text,
            r"no\b(?! problem)|go away|it is mine|it's mine|mine\b|i (?:don't|do not) want to share",
        )
        if refuses and number == 0 and not says(quote.text, r"oh,? no\b"):
            yield said("violated", quote, "refused")
        elif begins(quote.text, _AGREES) and (
            number == 0 or says(quote.text, r"you can|we can|share|turn|here\b")
        ):
            yield said("satisfied", quote, "agreed")
