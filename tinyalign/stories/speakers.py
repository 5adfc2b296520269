"""Who says each quote, and to whom: tags, pronouns, beats, alternation; else abstain."""

from __future__ import annotations

from tinyalign.stories.addressees import Addressees
from tinyalign.stories.tags import Tags
from tinyalign.stories.turns import Scene, Turn
from tinyalign.stories.untagged import Untagged


def attribute(scene: Scene) -> list[Turn]:
    """Fill in the turns of the scene, surest rules first."""
    tags, untagged, addressees = Tags(scene), Untagged(scene), Addressees(scene)
    for number, turn in enumerate(scene.turns):
        if tags.introduced(turn.token):
            tags.before(number)
        if turn.tag is None:
            tags.after(number)
        if turn.tag is None and not turn.silent:
            tags.before(number)
    for number in range(len(scene.turns)):
        untagged.same_turn(number)
        untagged.revealed(number)
        untagged.beat(number)
        untagged.calls_parent(number)
    untagged.replies()
    for number in range(len(scene.turns)):
        addressees.address(number)
    untagged.answers()
    for turn in scene.turns:
        _roles(scene, turn)
    return scene.turns


def _roles(scene: Scene, turn: Turn) -> None:
    """A role where all the speakers, or all the addressees, share one."""
    if turn.speakers:
        turn.role = scene.shared_role(turn.speakers)
    if turn.addressees:
        turn.addressee_role = scene.shared_role(turn.addressees)
