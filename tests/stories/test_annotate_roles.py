"""Characters: roles, names, gender, families."""

from __future__ import annotations

import pytest

from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import Character


def cast(text: str) -> dict[str, Character]:
    return {character.name: character for character in annotate(text).characters}


@pytest.mark.parametrize(
    ("text", "name", "role"),
    [
        ("A girl named Zia ran.", "Zia", "child"),
        ("His mommy came. ", "mommy", "parent"),
        ("Kim hugged her grandpa.", "grandpa", "grandparent"),
        ("A small owl named Dot sat there.", "Dot", "animal"),
        ("Rex was a big dog. Rex ran.", "Rex", "animal"),
        ("Kim had a cat. Her cat, Dot, ran.", "Dot", "animal"),
        ("Fip the frog sang.", "Fip", "animal"),
        ("There was a bus named Bo.", "Bo", "other"),
        ("Kim had a toy bear named Bo.", "Bo", "other"),
        ("A kind teacher came.", "teacher", "other"),
        ("Mrs. Plum came in.", "Plum", "other"),
        ("There was a boy. His name was Zim. Zim ran.", "Zim", "child"),
        ("Kim had a brother. Her brother, Tom, ran.", "Tom", "child"),
        ("Tom was a nice person. Tom ran.", "Tom", "child"),
        ("The king had a daughter. The king loved his daughter.", "king", "parent"),
        ("Fin and Bo are fish. They swim.", "Bo", "animal"),
    ],
)
def test_roles(text: str, name: str, role: str) -> None:
    assert cast(text)[name].role == role


def test_family_outranks_species() -> None:
    found = cast('A little fish named Fin swam out. His mom said, "Come back." A crab named Al saw it.')
    assert (found["Fin"].role, found["mom"].role, found["Al"].role) == ("child", "parent", "animal")
    assert found["mom"].parent_of == (found["Fin"].id,)


def test_an_animal_parent_is_a_parent() -> None:
    found = cast("A mother bear slept. The mother bear woke up.")
    assert found["bear"].role == "parent"


def test_the_noun_and_the_name_are_one_character() -> None:
    story = annotate("A little girl named Zia ran. The girl fell. Zia cried.")
    assert len(story.characters) == 1
    (zia,) = story.characters
    assert [story.text[start:end] for start, end in zia.mentions] == [
        "A little girl",
        "Zia",
        "The girl",
        "Zia",
    ]
    assert zia.gender == "female"


def test_gender_is_stated_or_unknown() -> None:
    found = cast("A dog named Dot met a boy named Zed.")
    assert found["Dot"].gender is None
    assert found["Zed"].gender == "male"


def test_a_second_animal_is_a_second_character() -> None:
    story = annotate("A dog named Dot ran. Then a dog barked at Dot.")
    assert [character.species for character in story.characters] == ["dog", "dog"]


def test_names_inside_quotes_are_mentions() -> None:
    story = annotate('Kim ran. Mom said, "Kim, stop."')
    kim = story.characters[0]
    assert [story.text[start:end] for start, end in kim.mentions] == ["Kim", "Kim"]
