"""The fit's own names and parent words: unlike every held-out one, and put in everywhere at once."""

from __future__ import annotations

import re

from tinyalign import properties
from tinyalign.edits.people import fit_people, with_other_people
from tinyalign.stories.grammar import load_lexicon

P1 = properties.get("P1")
KNOWN = {word for kind in fit_people().values() for words in kind.values() for word in words}


def test_no_fit_word_is_or_begins_a_held_out_one() -> None:
    for name in ("names", "relations"):
        parts = load_lexicon(name).parts
        held_out = [entry.word.casefold() for split in ("development", "test") for entry in parts[split]]
        for word in (one.casefold() for one in KNOWN):
            assert not any(word.startswith(other) or other.startswith(word) for other in held_out), word


def test_people_are_exchanged_on_every_side_and_nobody_else_stays_behind() -> None:
    space = P1.prompts.space("train", "reply")
    changed = 0
    for index in range(0, 4000, 37):
        prompt = space[index]
        other = with_other_people(prompt, P1.prompts.slots, 5, index)
        if other == prompt:
            continue
        changed += 1
        for side, text in other.texts().items():
            before = prompt.texts()[side]
            assert len(text.split()) == len(before.split())
            left = [
                word
                for word in (prompt.slots["child"], prompt.slots["parent"])
                if re.search(rf"\b{word}\b", text) and word not in KNOWN
            ]
            # What one exchange leaves, it leaves everywhere: the two never mix.
            for word in left:
                assert len(re.findall(rf"\b{word}\b", text)) == len(re.findall(rf"\b{word}\b", before))
        assert other == with_other_people(prompt, P1.prompts.slots, 5, index)
    assert changed > 80


def test_friends_of_other_grammars_keep_their_names() -> None:
    prompts = properties.get("P13").prompts
    prompt = prompts.space("train")[7]
    other = with_other_people(prompt, prompts.slots, 1)
    assert prompt.slots["friend"] in other.clean
