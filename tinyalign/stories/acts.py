"""Speech acts of a quote, from its wording and from what was said just before."""

from __future__ import annotations

import re

from tinyalign.stories.annotation import SPEECH_ACTS, Role, SpeechAct

_SENTENCE = re.compile(r"[^.!?…]+[.!?…]*")
_LEAD = re.compile(
    r"^(?:(?:oh|well|hey|hi|hello|ok|okay|but|and|so|then|now|wow|yes|yeah|please|look|see|next time|first|honey|dear|sweetie|"
    r"darling|sweetheart|oops|haha|mmm|hmm|great|alright|all right)\b[ ,!.]*)+",
)
_I = re.IGNORECASE
_QUESTION = re.compile(r"\?")
_APOLOGY = re.compile(
    r"\b(?:i|we)(?:'m| am|'re| are)? (?:so |very |really |truly |just |both |all )*(?:sorry|apologi[sz]e)\b|^(?:so |very )?sorry\b|"
    r"\bforgive (?:me|us)\b|\bmy apologies\b|\bi feel sorry for what\b|[,.!] sorry\b",
    _I,
)
_SYMPATHY = re.compile(
    r"\bsorry (?:to hear|for you\b|about your|that you|you(?:'re| are| feel| lost| got| fell| can't| have)|this happened|that happened|for your loss)|"
    r"\b(?:say|said|says|saying|tell \w+|told \w+|are|were|you're|be|feel|to be) (?:that you(?:'re| are) |i am |i'm )?sorry\b",
    _I,
)
_FAULT = re.compile(
    r"\b(?:i|we) (?:didn't|did not|was|were|just|made|broke|lost|took|should|shouldn't|forgot|only|thought|let|spilled|dropped|hurt|"
    r"can't|cannot|have to|don't|do not|ate|hit|ruined|didnt|rode|lied|won't|will|promise|hid|pushed|tried)\b|\bfor (?:\w+ing|not|the|my|what)\b|\bmy fault\b|"
    r"\bsorry(?:,| but)? (?:but )?(?:i|we)\b|\b(?:didn't|did not) mean\b|\bif my\b",
    _I,
)
_COMFORT = re.compile(
    r"\bdon't (?:worry|cry|be (?:sad|scared|afraid|upset|worried|shy|frightened|mad|angry|sorry|nervous|ashamed|embarrassed|discouraged|disappointed)|feel (?:bad|sad)|fret|give up)|"
    r"\bdo not (?:worry|cry|be (?:sad|scared|afraid|upset|worried)|fret|feel (?:bad|sad))|\b(?:it's|it is|that's|that is|everything is|everything's|you're|you are|you will be|you'll be|it will be|it'll be|everything will be|we're) "
    r"(?:all |going to be |gonna be |just )*(?:ok|okay|alright|all right|fine|safe)(?! to\b)|\bno need to (?:worry|cry|be)|\bthere,? there\b|\b(?:it's|it is|it was|that's) not your fault|"
    r"\bi forgive you|\bnothing to (?:be (?:afraid|scared)|worry|fear)|\bi'm here for you|\bcheer up|\bcalm down|\bwon't hurt you|\bnever mind\b|\byou(?:'re| are) safe\b|\bthere is no need to\b|\bfeel better soon\b",
    _I,
)
_WARNING = re.compile(
    r"\b(?:be(?: more| very)? careful|watch out|look out|beware|careful|(?:it's|it is|that's|is|are|was|very|too|so) (?:very |too |so |really )?(?:dangerous|unsafe|harmful|poisonous)|not safe|isn't safe|"
    r"(?:might|could|can|will|may|would|'ll) (?:\w+ (?:and|or) )?(?:also )?(?:get|be|become|fall|hurt|bite|burn|break|sting|cut|peck|slip|trip|drown|choke|catch a cold|hit)\b(?: \w+)? ?(?:and |or )?(?:hurt|lost|sick|burned|burnt|bitten|stuck|tangled|cold|yourself|you|down|ill|in trouble|spoiled|fall)?)",
    _I,
)
_DANGER = re.compile(
    r"\b(?:careful|watch out|look out|beware|dangerous|unsafe|harmful|poisonous|not safe|isn't safe)\b|"
    r"\byou(?:'ll| will| might| could| may| can)\b[^.!?]*\b(?:hurt|lost|sick|burn\w*|fall|bitten|stuck|tangled|break|trouble|slip|trip|drown|choke)\b|"
    r"\b(?:it|they|he|she|that|knife|fire|\w+s?) (?:might|could|can|may|will) (?:\w+ )?(?:hurt|bite|burn|sting|cut|peck|harm|break|eat) (?:you|us|your\w*)\b|"
    r"\bthey will get spoiled\b|\bor (?:else|you(?:'ll| will| might| could))\b",
    _I,
)
_CAREFUL_MILD = re.compile(
    r"\b(?:i will|i'll|we will|we'll|we must|we should|should|to|always|i was|i am|i'm|told you to|was|must|have to|need to|you were) (?:be |been )?(?:more |very |so )?careful\b",
    _I,
)
_MUST_CAREFUL = re.compile(r"\bwe must be(?: very)? careful\b", _I)
_PROMISE = re.compile(
    r"\bi promise\b|\bwe promise\b|\b(?:i|we)(?:'ll| will) (?:never|always|not)\b|\bi (?:won't|will not)\b|\b(?:i|we)(?:'ll| will) be (?:good|more careful|careful|nice|kind|right back|gentle|back)\b|"
    r"\bi(?:'ll| will) (?:\w+ly )?(?:help|take care|protect|fix|share|find|save|come back|clean|get you|give you|make you|buy|let (?:it|you|him|her)|marry|try|ask|bring|keep|teach|tell|listen|go to bed|show|say sorry|find a way|do it|take you|go with|yield|return|put)\b",
    _I,
)
_THREAT = re.compile(
    r"\bi(?:'ll| will) (?:eat|get you|hurt|catch you|show you!)|\bonly if\b|\bif you\b|\bi will call you\b|\bi will try that\b",
    _I,
)
_PERMIT = re.compile(
    r"\b(?:you|we|he|she|they) (?:can|may) (?!not\b|never\b|'t\b|see\b|do it\b|learn\b|feel\b|be anything|be nice|fix\b|hear\b|imagine\b|count\b|always\b|fly\b|hurt\b|get hurt|help\b)|\byou(?:'re| are) allowed|\bgo ahead\b|\bfeel free\b|\bhelp yourself\b|\bi(?:'ll| will) let you\b",
    _I,
)
_AGREE = re.compile(
    r"^(?:oh,? |ok\w*,? )?(?:yes|sure|of course|okay|ok|certainly|all right|alright|why not|absolutely|go ahead|yeah)\b",
    _I,
)
_NO = re.compile(
    r"^(?:oh,? )?(?:no|nope|no way|never)\b(?! (?:need|problem|worries|one|matter|doubt|more))(?:[ ,.!]|$)",
    _I,
)
_PROHIBIT = re.compile(
    r"\b(?:do not|don't|never|stop|please stop|quit) (?!worry|cry\b|know|think|want|like|have|need|see|mind|care|be (?:sad|scared|afraid|upset|worried|sorry|shy|mad|frightened|nervous|ashamed|angry)|feel|understand|believe|remember|fret|give up|even|forget|lose hope|get me|you\b|we\b|they\b|belong|hesitate|let (?:it|that|them) (?:bother|stop)|miss\b|always|let's|say sorry)",
    _I,
)
_CANT = re.compile(
    r"\b(?:you|we) (?:can't|cannot|can not|mustn't|must not|may not|shouldn't|should not|should never|must never|aren't allowed|are not allowed|must not)(?! (?:help it|see|find|hear|save|be too|believe|wait|have (?:done|said|been|taken|gone|eaten|come)|swim that|fly|get out|go (?:out|back)|keep))|"
    r"\b(?:you|we) (?:never|don't) (?:touch|take|hit|polish|play with|throw|lie|eat|bite|go|break|run|push)\b|\bnot allowed\b|\bno (?:fishing|swimming|running|jumping|touching|more \w+ing|\w+ing allowed)\b|\bresist \w+ing\b|\bleave (?:it|that|him|her|them|me) alone\b|\byou better not\b|\byou'd better not\b",
    _I,
)
_STOP = re.compile(
    r"^(?:no,? (?:\w+,? )?)?(?:stop|stop it|stop that|enough|no more)\b|[,!.] (?:stop|stop it)\b|\bstop (?:it|that|this|\w+ing)\b",
    _I,
)
_REQUEST_FORM = re.compile(
    r"\b(?:can|could|may|will|would|can't|won't|couldn't) (?:i|we|you)\b(?! (?:help you|believe|be sad|see\b|imagine|guess|hear|still|tell me why|tell me what)|\s*like a\b|\s*like some\b)|\b(?:do|would|don't) you (?:want|like|wanna) to (?:\w+ )?(?:play|come|join|be (?:my )?(?:friends?|my)|go|swim|dance|race|see it|share|help|have a|take|fly|run|walk|ride|sing|jump|visit|try\b(?! this))|"
    r"\bplease\b|\bhelp(?: me| us)?!|\bhelp (?:me|us)\b|\bis it ok(?:ay)? if (?:i|we)\b|\bdo you mind if\b|\bmay i\b|\bi beg\b",
    _I,
)
_OFFER = re.compile(
    r"\b(?:can|may|could|shall) (?:i|we) (?:help|get you|do)\b|\bwhat (?:can|should|could|would) (?:i|we|you)\b|\b(?:where|how|who|why|what|when)[^.!?]* (?:can|can't|could|will|would) (?:i|we|you|he)\b|\bwould you like (?:a|an|some|to (?:try|receive|mail|see))\b",
    _I,
)
_FAVOUR = re.compile(
    r"^(?:come (?:here )?and )?(?:give|tell|show|push|bring|pass|hand|let|lend|buy|read|pick|carry|catch|hug|join|play with|come (?:play )?with|help|save|wait for|teach|make|get|feed|hold|take) (?:me|us)\b|\b(?:and|and then) (?:give|help|tell|show) (?:me|us)\b|\blet me see\b",
    _I,
)
_LET_ME = re.compile(
    r"^let (?:me|us) (?:help|try|tell|measure|give|show|think|see what|see if|check|do|get|take|fix|explain|look|make|put|clean|tell)\b",
    _I,
)
_WISH = re.compile(
    r"^(?:but )?(?:\w+, )?(?:but )?i (?:really )?(?:want|would like|need) (?!to (?:go|stay|be|weigh|find|help|visit|catch|sing|play with the|know|clean|bring|wake|tell|want|ride|be|keep)\b)",
    _I,
)
_PLEASE_ONLY = re.compile(r"^(?:oh,? )?(?:yes|yeah|sure|ok|okay),? please\b", _I)
_MUST = re.compile(
    r"\byou (?:must(?! be (?:so|very|tired|hungry|sad))|need to|have to|should(?! have)|should always|ought to|better)\b(?! (?:not|never)\b)|\bit's time (?:to|for) (?:bed|go to bed|sleep|clean|come|eat)\b|\bremember to\b|\bmake sure\b",
    _I,
)
_IMPERATIVES = (
    "come go put clean get give take bring wait listen open close shut eat drink sit stand stay try run share apologize wash brush pick "
    "turn hold keep help tell ask use let leave move throw hurry follow climb jump push pull find make do be read stop tidy hide show "
    "wake finish say play walk hang step practice sleep rest return drop catch call call remember lie lay put polish wear wipe yield "
    "breathe promise start check hand pass fetch relax jump rest imagine think just always calm comb taste pay kick"
).split()
_IMPERATIVE = re.compile(
    r"^(?:please,? |just |now,? |always |first,? |you just |so |then |\w+, (?:please )?)?(?:"
    + "|".join(sorted(set(_IMPERATIVES)))
    + r")\b(?!s)",
    _I,
)
_NOT_IMPERATIVE = re.compile(
    r"^(?:please,? )?(?:let's|let us|let me|look|see|come on|stop|help(?:!| me| us|[.!]*$)|thank|be (?:more |very )?careful|hold on|wait a|"
    r"wait!|guess|wait,|say,|do you|does|did|do we|do i|do they|watch out|make sure we|think (?:about|i)|keep me|well|go,? \w+!$|try as|find out|be (?:brave|happy)|share\?|play with you)|^(?:\w+, )?(?:do you|do not|don't|stop|let's|let me|look|help me|can|be careful)\b|^\w+, \w+(?:'s|n't)\b",
    _I,
)
_COME_ON = re.compile(
    r"\bcome (?:here|back|with me|inside|in|down|out|and|home|to (?:me|bed))\b|\bgo (?:away|home|to (?:bed|sleep|your)|inside|back|ahead|find|get|wash|take)\b|\bget (?:out|off|down|away)\b|\bstay (?:inside|here|close|away|there|with)\b|\blisten to (?:me|your|him|her)\b|\bsay sorry\b|\bgive (?:it|them|that) back\b|\blet go\b(?! of my)|\bwait for (?:me|us|dad|mom|your|\w+)\b",
    _I,
)
_REFUSE = re.compile(
    r"\bi (?:don't|do not|still don't) want(?: to)?(?=[ .!,]|$)(?! to (?:go home yet|fight|get|lose|hurt|be))|\bno,? (?:thank you|thanks|i don't|i can't|i won't|i want|it's (?:mine|my|a secret)|you can't|we can't|that's mine|go away)|\bi won't (?:do|share|give|go|help|clean|play)|\b(?:it's|it is|that's|this is|they're) mine\b|\bi can't (?:fix|help you|share|give|play|go|let)|\bi refuse\b|\bgo away\b.*\bbusy\b|\bwe don't have enough\b|\bmaybe (?:later|another)",
    _I,
)


def _is_request(piece: str, whole: str, parent: bool) -> bool:
    if _OFFER.search(piece):
        return bool(re.search(r"\bplease\b", piece, _I)) and not _PLEASE_ONLY.match(whole)
    if _LET_ME.match(piece):
        return False
    if _REQUEST_FORM.search(piece):
        return not _PLEASE_ONLY.match(whole)
    body = _LEAD.sub("", piece.lower())
    if _FAVOUR.search(body) and (not parent or " and give me" in body):
        return True
    return bool(_WISH.match(body)) and not parent


def _denies(piece: str, name_follows: bool, asked: bool) -> bool:
    return bool(_NO.match(piece)) and (asked or name_follows)


def speech_acts(
    text: str, speaker: Role | None = None, asked: bool = False, wish: bool = False, heard_sorry: bool = False
) -> tuple[SpeechAct, ...]:
    """Acts of one quote, in the order of `SPEECH_ACTS`.

    `asked`: the quote answers a request; `wish`: the narration just told a wish of the addressee;
    `heard_sorry`: the quote answers an apology. Confounds are told apart: "Don't worry" comforts and does not
    prohibit; "No, thank you" refuses; "I'm sorry you fell" comforts and does not apologise.
    """
    said = text.replace("’", "'").strip()
    low = said.lower()
    parent = speaker in ("parent", "grandparent")
    pieces = [piece.strip() for piece in _SENTENCE.findall(said) if piece.strip()] or [said]
    acts: set[SpeechAct] = set()
    if _QUESTION.search(said):
        acts.add("question")
    comfort = bool(_COMFORT.search(said))
    sorry = bool(_APOLOGY.search(said))
    if (
        sorry
        and _SYMPATHY.search(said)
        and not re.search(r"\b(?:i|we)(?:'m| am|'re| are) (?:so |very )?sorry,? (?:but|i|we|for \w+ing)", low)
    ):
        sorry = (
            bool(re.search(r"\bi(?:'m| am) (?:so |very )?sorry\b", low))
            and bool(_FAULT.search(said))
            and "say sorry" not in low
        )
    if sorry and parent and not _FAULT.search(said):
        sorry, comfort = False, True
    if (
        sorry
        and not _FAULT.search(said)
        and re.search(r"sorry, \w+\. (?:if|that|it|you|sometimes|maybe|he|she|they|this)\b", low)
    ):
        sorry, comfort = False, True
    if sorry:
        acts.add("apology")
    elif re.search(r"\bi(?:'m| am) (?:so |very )?sorry (?:you|that you|to hear|for you\b|about your)", low):
        comfort = True
    if comfort:
        acts.add("comfort")
    for number, piece in enumerate(pieces):
        body = _LEAD.sub("", piece.lower()).strip(" ,")
        _piece_acts(acts, piece, body, said, number, parent, asked)
    if _PROMISE.search(said) and not _THREAT.search(said):
        acts.add("promise")
    if _DANGER.search(said):
        mild = _CAREFUL_MILD.search(said) and not _MUST_CAREFUL.search(said)
        rest = _CAREFUL_MILD.sub("", said)
        if not mild or _DANGER.search(rest):
            acts.add("warning")
    first = pieces[0]
    if (
        asked
        and _AGREE.match(first)
        and not _PLEASE_ONLY.match(said)
        and "promise" not in acts
        and not re.match(r"^yes,? (?:i|we|it|they|he|she|mom|mommy|dad)\b", low)
    ):
        acts.add("permission")
    if _NO.match(first) and not re.match(
        r"^(?:oh )?no,? (?:i|it|they|you|he|she|that)(?:'m| am| lost| need| is| are|'re| was| not)\b", low
    ):
        named = bool(re.match(r"^no,? [A-Z][a-z]+\b[.!,]", said)) or low.rstrip("!. ") in (
            "no",
            "no, no",
            "no no",
        )
        if asked:
            acts.add("refusal")
        if parent and (asked or wish or named) and not re.match(r"^no,? (?:thank|problem|honey\. we)", low):
            if not re.search(r"\bwe can't (?:take|get|buy|have)\b", low):
                acts.add("prohibition")
        elif re.match(r"^no,? \w+, stop|^no,? stop|^no!? (?:stop|don't)", low):
            acts.add("prohibition")
    if (
        _REFUSE.search(said)
        and not re.search(r"\bdon't want (?:you|our|your)\b", low)
        or asked
        and re.search(r"\bsorry\b.*\b(?:can't|cannot|don't have|have to)\b", low)
    ):
        acts.add("refusal")
    return tuple(act for act in SPEECH_ACTS if act in acts)


def _piece_acts(
    acts: set[SpeechAct], piece: str, body: str, whole: str, number: int, parent: bool, asked: bool
) -> None:
    question = piece.rstrip().endswith("?")
    if _is_request(piece, whole, parent):
        acts.add("request")
    if (
        not question
        and (_PROHIBIT.search(piece) and _commands(piece))
        or _STOP.search(piece)
        and _commands(piece)
    ):
        acts.add("prohibition")
    elif not question and _CANT.search(piece) and not re.search(r"\bi (?:can't|cannot)\b", piece, _I):
        if not (asked and re.search(r"\bwe (?:can't|cannot)\b", piece, _I)):
            acts.add("prohibition")
    if (
        not question
        and _PERMIT.search(piece)
        and not re.search(r"\b(?:if|but only)\b.*\bpromise\b", piece, _I)
        and not _CANT.search(piece)
    ):
        if (
            re.search(r"\byou (?:can|may)\b", piece, _I)
            or asked
            or re.search(r"let you|allowed|ahead|free", piece, _I)
        ):
            acts.add("permission")
    if question:
        return
    favour = _FAVOUR.search(body) is not None and not parent
    if _MUST.search(piece):
        acts.add("instruction")
    elif (
        not favour and (_IMPERATIVE.match(body) or _COME_ON.search(body)) and not _NOT_IMPERATIVE.match(body)
    ):
        acts.add("instruction")


def _commands(piece: str) -> bool:
    """ "Don't" and "stop" with the addressee as the one who acts, not "I don't", "they never", "never stops"."""
    low = piece.lower()
    for found in re.finditer(r"\b(?:do not|don't|never|stop|quit)\b", low):
        before = low[: found.start()].rstrip(" ,").split()
        last = before[-1] if before else ""
        if last in (
            "i",
            "we",
            "they",
            "he",
            "she",
            "it",
            "who",
            "to",
            "people",
            "you",
            "and",
            "can't",
            "will",
            "not",
            "won't",
            "is",
            "are",
            "could",
            "would",
        ) and not (last in ("and",) or (last == "you" and found.group() == "never")):
            continue
        if (
            re.match(r"(?:never|stop) (?:be|see|sign|get|been|had|seen|forget)\b", low[found.start() :])
            and found.group() == "never"
        ):
            continue
        return True
    return False
