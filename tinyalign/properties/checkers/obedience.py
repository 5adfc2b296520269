"""P1 and P4: prohibitions and refused requests."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    follows,
    may_act,
    near_words,
    not_done,
    plain,
    quotes_after,
    resolve,
    said,
    says,
    settle,
    speaks,
    topics_in,
    window_start,
    wishes_before,
    with_role,
)
from tinyalign.stories.annotation import Event, Quote, Story
from tinyalign.stories.lexicon import verbs

FORBIDS = (
    r"don't|do not|never|can't|cannot|can not|mustn't|must not|may not|shouldn't|should not|not to|stop|"
    r"no more"
)
COMFORT = (
    r"(?:don't|do not|never|stop|no need to|you don't have to|you do not have to|don't you|"
    r"please don't|please do not)"
    r"\s+(?:be (?:sad|scared|afraid|upset|mad|angry|shy|sorry|silly)|worry|cry|crying|fear|give up|"
    r"forget|have to|mind|"
    r"know|need|thank|think|want|like|see|lose hope|feel|let|miss|stop|ever)"
)
AGREES = (
    r"okay|ok\b|yes\b|yeah|sure\b|all right|alright|of course|fine\b|i understand|(?:i'm|we're) sorry|"
    r"(?:i am|we are) (?:so |very )?sorry|sorry|i promise|i'll (?:be|listen|stop|obey|try)|"
    r"i will (?:be|listen|stop|obey|try)"
)
_AGREES_NOT_TO = AGREES + r"|i won't|i will not"
_ANYWAY = (
    r"anyway|all the same|instead of listening|even though (?:his|her|their) (?:mom|dad|mother|father|"
    r"mommy|daddy)"
)
HEED = frozenset({"listen", "obey", "heed"})


def obeys_prohibition(story: Story) -> list[Outcome]:
    """P1: a parent says no to a child; does the child listen?

    Satisfied: listens, obeys, stops, nods, agrees, or does not do it. Violated: does not listen or stop, does
    it anyway, keeps on, ignores it; a violation counts even where the child complies later. If the parent
    gives in first, the occasion is unknown.
    """
    return [_heeds_no(story, occasion, quote) for occasion, quote in _prohibitions(story)]


def no_closes_request(story: Story) -> list[Outcome]:
    """P4: a child asks for leave and a parent refuses; decided as P1 is."""
    children, parents = with_role(story, "child"), with_role(story, "parent", "grandparent")
    outcomes: list[Outcome] = []
    for asked in story.quotes:
        if not (_asks_leave(asked) and speaks(story, asked, children) and addressed(story, asked, parents)):
            continue
        who = children if asked.speaker is None else frozenset({asked.speaker})
        for answer in story.quotes:
            near = asked.end <= answer.start and answer.sentence - asked.sentence <= 2
            if near and speaks(story, answer, parents) and _refuses(answer):
                occasion = Occasion(asked.start, answer.end, answer.sentence, who, parents)
                outcomes.append(_heeds_no(story, occasion, answer))
                break
            if near and speaks(story, answer, parents):
                break
    return outcomes


def _prohibitions(story: Story) -> Iterator[tuple[Occasion, Quote]]:
    children, parents = with_role(story, "child"), with_role(story, "parent", "grandparent")
    last: Quote | None = None
    for quote in story.quotes:
        if not children or not forbids(quote):
            continue
        if not (speaks(story, quote, parents) and addressed(story, quote, children)):
            continue
        # "No, Tim!" she said. "Don't touch it." is one prohibition.
        if last is not None and quote.sentence - last.sentence <= 1 and quote.speaker == last.speaker:
            last = quote
            continue
        last = quote
        yield Occasion(quote.start, quote.end, quote.sentence, addressees(quote, children), parents), quote


def _heeds_no(story: Story, occasion: Occasion, quote: Quote) -> Outcome:
    who = occasion.deciders
    topics = [
        *topics_in(quote.text, FORBIDS),
        *wishes_before(story, who, occasion.sentence, until=occasion.start),
    ]
    for other in story.quotes:
        if abs(other.sentence - quote.sentence) <= 2:
            if speaks(story, other, who) and other.start < quote.start:
                topics += topics_in(
                    other.text, r"can i|may i|could i|can we|(?<!don't )want to|i will|i'll|going to"
                )
            if other.speaker == quote.speaker and other.start > quote.start:
                topics += topics_in(other.text, FORBIDS)
    topics = [topic for topic in topics if topic.lemma != "be"]
    before = story.text[window_start(story, occasion.sentence, 3) : occasion.start]
    cues = list(_heeding(story, occasion, resolve(topics, before)))
    relents = list(_relents(story, occasion))
    if relents:
        cues = [one for one in cues if one.start < min(relents)]
    return settle(occasion, cues, "violated")


def _relents(story: Story, occasion: Occasion) -> Iterator[int]:
    """Where whoever forbade it allows it after all."""
    for quote in quotes_after(story, occasion):
        allows = "permission" in quote.speech_acts or begins(
            quote.text, r"yes\b|okay|sure\b|all right|fine\b"
        )
        if allows and speaks(story, quote, occasion.others) and not says(quote.text, FORBIDS):
            yield quote.start
    for event in events_after(story, occasion):
        if (
            event.lemma in ("agree", "let", "allow")
            and done(event)
            and acts(event, occasion.others, certain=True)
        ):
            yield event.start


def _heeding(story: Story, occasion: Occasion, topics: list[Topic]) -> Iterator[Cue]:
    who = occasion.deciders
    heeded = False
    told_to_wait = says(story.text[occasion.start : occasion.end], r"wait|later|until")
    for event in events_after(story, occasion):
        if event.quote is not None and event.lemma not in ("nod", "agree"):
            continue
        about = any(topic.matches(event) for topic in topics)
        anyway = (
            done(event) and event.governor not in ("keep", "continue") and near_words(story, event, _ANYWAY)
        )
        clear = event.lemma in HEED | {"stop", "ignore", "disobey", "refuse"} or (about and anyway)
        if not (may_act(story, event, who) if clear else acts(event, who)):
            continue
        if anyway and event.lemma not in ("nod", "smile", "laugh", "say", "like", "love", "hug"):
            yield cue("violated", event, story, "did it anyway")
            continue
        closely = any(topic.matches_closely(event) for topic in topics)
        if event.lemma in HEED | {"stop", "mind"} and event.negated:
            known = event.object is not None and event.object not in event.subjects
            if not known or event.object in occasion.others:
                yield cue("violated", event, story, "did not listen")
        elif event.lemma == "care" and not_done(event):
            yield cue("violated", event, story, "did not care")
        elif event.lemma in ("ignore", "disobey", "defy") and done(event):
            yield cue("violated", event, story, "ignored it")
        elif event.lemma == "refuse" and near_words(story, event, r"to (?:listen|stop|obey|leave|go|give)"):
            yield cue("violated", event, story, "refused")
        elif event.lemma in ("keep", "continue", "go") and done(event) and keeps_on(story, event, topics):
            yield cue("violated", event, story, "kept on")
        elif _defies(story, event, who) and closely and not heeded:
            yield cue("violated", event, story, "did it")
        elif not_done(event) and about:
            heeded = True
            yield cue("satisfied", event, story, "did not do it")
        elif event.lemma in HEED | {"stop", "agree", "nod", "promise", "understand"} and done(event):
            heeded = True
            yield cue("satisfied", event, story, f"{event.lemma}")
        elif (
            event.lemma == "do"
            and done(event)
            and near_words(story, event, r"as \w+ (?:\w+ )?(?:said|told|asked|says)")
        ):
            heeded = True
            yield cue("satisfied", event, story, "did as told")
        elif event.lemma in _RETREAT and done(event):
            if follows(story, event, _RETREAT[event.lemma]):
                heeded = True
                yield cue("satisfied", event, story, "left it alone")
        elif event.lemma == "wait" and done(event) and told_to_wait:
            heeded = True
            yield cue("satisfied", event, story, "waited")
    for quote in quotes_after(story, occasion):
        if (
            speaks(story, quote, who)
            and begins(quote.text, _AGREES_NOT_TO)
            and not says(quote.text, r"but\b")
        ):
            yield said("satisfied", quote, "agreed")


_RETREAT = {
    "put": r"(?:\w+ ){0,3}(?:back|down|away)\b",
    "give": r"(?:\w+ ){0,3}back\b",
    "let": r"(?:\w+ ){0,2}go\b",
    "step": r"(?:away|back)\b",
    "walk": r"away\b",
    "move": r"(?:away|back)\b",
    "turn": r"(?:around|back)\b",
    "leave": r"(?:\w+ ){1,3}alone\b",
    "climb": r"(?:back )?down\b",
    "get": r"(?:back )?down\b",
}


def _defies(story: Story, event: Event, who: frozenset[int]) -> bool:
    """Whether a forbidden deed was surely done, and not in a milder way."""
    mild = near_words(story, event, r"gently|carefully|safely|instead|with (?:his|her|their) (?:mom|dad)")
    return (
        done(event)
        and acts(event, who, certain=True)
        and event.governor not in ("stop", "want", "get")
        and not mild
    )


def keeps_on(story: Story, event: Event, topics: list[Topic]) -> bool:
    """Whether "kept climbing" or "went on climbing" is about what was at stake."""
    complement = event.complement
    if event.lemma == "go":
        onward = re.match(r"\s*on (\w+ing)\b", plain(story.text[event.end : event.end + 30]))
        complement = verbs().lemma.get(onward[1], "") if onward else ""
    if not complement or complement in ("cry", "smile", "wait", "think", "hope", "be", "look", "feel"):
        return False
    return any(topic.lemma == complement for topic in topics) or not topics


def forbids(quote: Quote) -> bool:
    """Whether a quote says no: by its speech acts or its first words, comfort left out."""
    sterner = re.sub(rf"(?<!\w)(?:{COMFORT})", "", plain(quote.text))
    comforts = sterner != plain(quote.text)
    return (
        (
            ("prohibition" in quote.speech_acts or "refusal" in quote.speech_acts)
            and (not comforts or says(sterner, rf"no\b|{FORBIDS}|not safe"))
        )
        or begins(sterner, r"(?:\w+, )?(?:please )?(?:don't|do not|stop)\b")
        or says(sterner, r"you (?:must not|mustn't|can't|cannot|may not|should not|shouldn't)")
    )


def _asks_leave(quote: Quote) -> bool:
    return says(quote.text, r"(?:can|may|could) (?:i|we)\b|is it okay if|is it ok if")


def _refuses(quote: Quote) -> bool:
    if "refusal" in quote.speech_acts or "prohibition" in quote.speech_acts:
        return not says(quote.text, COMFORT)
    return begins(quote.text, r"no\b|sorry|i'm sorry|not (?:now|today)") and "yes" not in plain(quote.text)
