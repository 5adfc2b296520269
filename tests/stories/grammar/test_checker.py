"""The checker passes what ships and refuses what is broken, saying where and why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tinyalign.common.errors import DataError
from tinyalign.stories.grammar import check_folder, check_grammar, check_lexicon, read_grammar, read_lexicon
from tinyalign.stories.grammar.check_sentence import check_sentence, expand
from tinyalign.stories.grammar.english import article_for, ing_forms, past_forms, stem, wrong_article
from tinyalign.stories.grammar.lexicon import grammars_folder, load_lexicon


@pytest.mark.slow
def test_everything_that_ships_is_fine() -> None:
    files = [path for path in grammars_folder().rglob("*.yaml") if path.parent.name != "frames"]
    shared = [path for path in files if path.parent.name == "stories" and not path.name.startswith("p")]
    assert check_folder() == len(files) - len(shared)


def lexicon_file(folder: Path, name: str, kind: str, train: str, development: str, test: str) -> Path:
    path = folder / f"{name}.yaml"
    body = f"kind: {kind}\ntrain: [{train}]\ndevelopment: [{development}]\ntest: [{test}]\n"
    path.write_text(body, encoding="utf-8")
    return path


def thing(word: str, article: str = "a") -> str:
    return f"{{word: {word}, article: {article}}}"


def activity(base: str, ing: str, past: str, it: str, extra: str = "") -> str:
    return f"{{base: {base}, ing: {ing}, past: {past}, it: {it}{extra}}}"


RUN = activity("run", "running", "ran", "run", ", irregular: true")
JUMP = activity("jump", "jumping", "jumped", "jump")
SING = activity("sing", "singing", "sang", "sing", ", irregular: true")


@pytest.mark.parametrize(
    ("kind", "train", "reason"),
    [
        ("thing", thing("Ball") + ", " + thing("ball"), "twice"),
        ("thing", thing("DRUM"), "stands in train too"),
        ("thing", thing("drums"), "'drum' is in 'drums' of train too"),
        ("thing", thing("apple"), "article should be 'an'"),
        ("thing", "{word: ball}", "lacks the form 'article'"),
        ("thing", "{word: ball, article: a, colour: red}", "'colour'"),
        ("activity", "{base: climb, past: climbed, it: climb}", "lacks the form 'ing'"),
        ("activity", activity("climb", "climbbing", "climbed", "climb"), "-ing form of 'climb'"),
        ("activity", activity("climb", "climbing", "clomb", "climb"), "add irregular: true"),
        (
            "activity",
            activity("climb", "climbing", "climbed", "climb", ", irregular: true"),
            "drop irregular",
        ),
        (
            "activity",
            activity("climb the tree", "climbing the hill", "climbed the tree", "climb it"),
            "go on like",
        ),
        ("activity", activity("climb", "climbing", "climbed", "scale it"), "begin with 'climb'"),
        (
            "activity",
            activity("sing a song", "singing a song", "sang a song", "sing", ", irregular: true"),
            "too",
        ),
        (
            "mischief",
            "{base: rip it, ing: ripping it, past: ripped it, innocent: saw, thing: it}",
            "as many words",
        ),
    ],
)
def test_refuses_broken_entries(tmp_path: Path, kind: str, train: str, reason: str) -> None:
    rest = {
        "thing": (thing("drum"), thing("egg", "an")),
        "activity": (JUMP, SING),
        "mischief": (
            "{base: tear a, ing: tearing a, past: teared a, innocent: saw a, thing: a}",
            "{base: bend b, ing: bending b, past: bended b, innocent: had b, thing: b}",
        ),
    }[kind]
    with pytest.raises(DataError, match=reason) as caught:
        check_lexicon(read_lexicon(lexicon_file(tmp_path, "broken", kind, train, *rest)))
    assert "broken.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("train", "development", "reason"),
    [
        ("f: [Lily]\n  m: [Tim]", "f: [Mia]\n  m: [Timmy]", "too near to 'Tim'"),
        ("f: [lily]\n  m: [Tim]", "f: [Mia]\n  m: [Bob]", "capital"),
        ("f: [Lily]\n  m: [Lily]", "f: [Mia]\n  m: [Bob]", "twice"),
        ("f: [Lily]\n  x: [Tim]", "f: [Mia]\n  m: [Bob]", "gender 'x'"),
    ],
)
def test_refuses_broken_names(tmp_path: Path, train: str, development: str, reason: str) -> None:
    path = tmp_path / "names.yaml"
    test = "f: [Sue]\n  m: [Max]"
    path.write_text(f"kind: name\ntrain:\n  {train}\ndevelopment:\n  {development}\ntest:\n  {test}\n")
    with pytest.raises(DataError, match=reason):
        check_lexicon(read_lexicon(path))


def test_a_sound_lexicon_passes(tmp_path: Path) -> None:
    check_lexicon(read_lexicon(lexicon_file(tmp_path, "sound", "activity", RUN, JUMP, SING)))


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("{Child} wanted to {act.past}.", "past tense does not fit after 'to'"),
        ("{Child} {act}.", "base form"),
        ("{Child} was {act}.", "base form does not fit after 'was'"),
        ("{Child} wanted {act.ing}.", "-ing form does not fit"),
        ("{Child} want to {act}.", "'want' does not agree"),
        ("{Child} and {friend} was there to {act}.", "'was' does not agree"),
        ("{Child.He} were there.", "'were' does not agree"),
        ("{Child} lost her {thing}.", "'her' as a slot"),
        ("{Child} saw the mom.", "'mom' as a slot"),
        ("{Child} saw a {thing}.", "write {thing.a}"),
        ("{Child} saw a owl.", "'a owl' has the wrong article"),
        ("{Child} ate (an apple|an pear).", "'an pear'"),
        ("{Child} said he is.", "'he' as a slot"),
        ("{Stranger} came.", "'stranger' is none of"),
        ("{Child} has {act.wings}.", "no form 'wings'"),
        ("{Child}  ran.", "double spaces"),
        ("{Child ran.", "stray bracket"),
    ],
)
def test_refuses_broken_sentences(sentence: str, reason: str) -> None:
    people = {"child": "child", "friend": "friend", "parent": "parent"}
    slots = {"act": load_lexicon("activities"), "thing": load_lexicon("things")}
    with pytest.raises(DataError, match=reason):
        check_sentence("here", sentence, people, slots)


@pytest.mark.parametrize(
    "sentence",
    [
        "{Child} and {friend} were there. {Child} {act.past}.",
        "{Child} kept {act.ing} and saw {thing.a} and an owl.",
        '{Child} said, "I do not want to {act}." Did {child} want it?',
    ],
)
def test_sound_sentences_pass(sentence: str) -> None:
    slots = {"act": load_lexicon("activities"), "thing": load_lexicon("things")}
    check_sentence("here", sentence, {"child": "child", "friend": "friend"}, slots)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"{Doer} tried to {act}."', '"{Doer} wanted to {act}."', "in train and in development"),
        ('"Yes, {doer.call}. You can {act.it}."', '"Yes. You can {act.it}."', "words"),
        ('{Other} said, "Yes, {doer.call}. You', 'Nobody said, "Yes, {doer.call}. You', "words"),
        ("swapped: {doer: parent, other: child}", "swapped: {doer: parent}", "same roles"),
        ("decider: doer", "decider: nobody", "decider is 'nobody'"),
        ('train: ["{Doer} was", "{Doer} felt"]', 'train: ["{Other} was"]', "name the decider"),
        ('continuation: " "', 'continuation: ""', "continuation is"),
        ("act: activities", "act: activity", "no such file"),
        ('"{Doer} wanted to {act}."', '"{Doer} wanted it."', "several would read the same"),
        ("id: P1\n", "", "'id' is missing"),
    ],
)
def test_refuses_broken_grammars(tmp_path: Path, old: str, new: str, reason: str) -> None:
    for part in ("lexicons", "frames"):
        shutil.copytree(grammars_folder() / part, tmp_path / part)
    text = (grammars_folder() / "prompts" / "p01-obeys-prohibition.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "p01.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    if reason.startswith("several"):  # the reply names the activity as well, mostly
        path.write_text(
            path.read_text().replace("{act.it}", "do it").replace("{act}", "go"), encoding="utf-8"
        )
    with pytest.raises(DataError, match=reason):
        check_grammar(read_grammar(path, tmp_path / "lexicons"))


def test_refuses_a_quote_without_a_speaker(tmp_path: Path) -> None:
    for part in ("lexicons", "frames", "prompts", "stories"):
        shutil.copytree(grammars_folder() / part, tmp_path / part)
    for path in (tmp_path / "prompts").glob("p*.yaml"):
        if not path.name.startswith("p01"):
            path.unlink()
    path = tmp_path / "stories" / "p01-obeys-prohibition.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('[parent>child] "No, {child}.', '"No, {child}.'), encoding="utf-8")
    with pytest.raises(DataError, match="speaker>addressee"):
        check_folder(tmp_path)


def test_little_english() -> None:
    assert [article_for(word) for word in ("apple", "hour", "unicorn", "ball", "umbrella")] == [
        "an", "an", "a", "a", "an",
    ]  # fmt: skip
    assert wrong_article("She had an egg and a hour") == "a hour"
    assert (
        "running" in ing_forms("run") and ing_forms("tie") == {"tying"} and ing_forms("dance") == {"dancing"}
    )
    assert (
        past_forms("carry") == {"carried"}
        and past_forms("play") == {"played"}
        and "hugged" in past_forms("hug")
    )
    assert {stem("climbing"), stem("climbed"), stem("climbs")} == {"climb"}
    assert stem("running") == stem("run") and stem("carried") == stem("carry")
    assert expand("(a|b) c(d|)") == ["a cd", "a c", "b cd", "b c"]
