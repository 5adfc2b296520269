"""The artifact: applied, undone, refused, saved, told; and its description length against a count by hand."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edits.models import tiny_float, tiny_ternary
from tinyalign.common.errors import EditError
from tinyalign.edits import Edit, MatrixChange, as_edit, difference, load_edit
from tinyalign.edits.edit import log2_choose
from tinyalign.models import StoryModel
from tinyalign.ternary import ternary_layers

DOWN = "model.layers.1.mlp.down_proj"


def flipped(model: StoryModel, places: dict[tuple[int, int], int]) -> Edit:
    network = copy.deepcopy(model.network)
    layer = ternary_layers(network)[DOWN]
    trits = layer.trits
    for (row, column), value in places.items():
        trits[row, column] = value
    layer.set_trits(trits)
    return as_edit(model, network, method="by hand", property_id="P1", pair="reply")


def some_flips(model: StoryModel, count: int, seed: int = 0) -> Edit:
    trits = ternary_layers(model.network)[DOWN].trits
    rng = np.random.default_rng(seed)
    places: dict[tuple[int, int], int] = {}
    for index in rng.choice(trits.numel(), count, replace=False):
        row, column = divmod(int(index), trits.shape[1])
        places[row, column] = (int(trits[row, column]) + 2) % 3 - 1
    return flipped(model, places)


def logits(model: StoryModel) -> torch.Tensor:
    with torch.no_grad():
        return model.network(torch.arange(3, 20)[None]).logits


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 60), seed=st.integers(0, 5))
def test_apply_and_revert_are_inverse_and_the_base_stays(count: int, seed: int) -> None:
    base = tiny_ternary()
    before = logits(base)
    edit = some_flips(base, count, seed)
    edited = edit.apply(base)
    assert edit.trits_flipped == count and edited.sha256 == edit.edited_sha256 != base.sha256
    assert not torch.equal(logits(edited), before)
    assert torch.equal(logits(base), before)
    assert edit.revert(edited).sha256 == base.sha256


def test_applied_edits_in_place_and_is_undone_even_after_an_error() -> None:
    base = tiny_ternary()
    before = logits(base)
    edit = some_flips(base, 9)
    with edit.applied(base):
        inside = logits(base)
    assert torch.equal(logits(base), before) and not torch.equal(inside, before)
    assert torch.equal(inside, logits(edit.apply(base)))
    with pytest.raises(RuntimeError, match="on purpose"), edit.applied(base):
        raise RuntimeError("on purpose")
    assert torch.equal(logits(base), before)


def test_applied_refuses_a_base_that_is_edited_already() -> None:
    base = tiny_ternary()
    edit = some_flips(base, 5)
    with edit.applied(base), pytest.raises(EditError, match="own base"), edit.applied(base):
        pass


def test_another_base_is_refused_in_one_sentence() -> None:
    edit = some_flips(tiny_ternary(), 4)
    with pytest.raises(EditError, match=r"was made for the model base.*apply it to its own base"):
        edit.apply(tiny_float())
    with pytest.raises(EditError, match="not the model"):
        edit.revert(tiny_ternary())


def test_a_float_edit_round_trips(tmp_path: Path) -> None:
    base = tiny_float()
    network = copy.deepcopy(base.network)
    weight = network.get_parameter(f"{DOWN}.weight")
    with torch.no_grad():
        weight += torch.outer(torch.linspace(-1, 1, weight.shape[0]), torch.linspace(1, 2, weight.shape[1]))
    edit = as_edit(base, network, method="rank_one", property_id="P1", pair="feeling", rank=1)
    assert edit.description_bits == 16 * (weight.shape[0] + weight.shape[1])
    edit.save(tmp_path / "edit")
    again = load_edit(tmp_path / "edit")
    assert again.apply(base).sha256 == edit.apply(base).sha256
    assert again.to_json() == edit.to_json()


def test_saved_edits_come_back_and_tampering_is_named(tmp_path: Path) -> None:
    edit = some_flips(tiny_ternary(), 12)
    folder = tmp_path / "edit"
    edit.save(folder)
    assert load_edit(folder).apply(tiny_ternary()).sha256 == edit.edited_sha256
    entries = folder / "edit.safetensors"
    good = entries.read_bytes()
    entries.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(EditError, match="not the file"):
        load_edit(folder)
    entries.unlink()
    with pytest.raises(EditError, match=r"no edit\.safetensors"):
        load_edit(folder)
    entries.write_bytes(good)
    record = json.loads((folder / "edit.json").read_text())
    (folder / "edit.json").write_text(json.dumps({**record, "format": "other"}))
    with pytest.raises(EditError, match="format 'other'"):
        load_edit(folder)
    (folder / "edit.json").write_text("{")
    with pytest.raises(EditError, match="not JSON"):
        load_edit(folder)
    del record["seed"]
    (folder / "edit.json").write_text(json.dumps(record))
    with pytest.raises(EditError, match="no complete edit"):
        load_edit(folder)
    with pytest.raises(EditError, match=r"no readable edit\.json"):
        load_edit(tmp_path / "nothing")


def test_an_edit_that_gives_another_model_than_it_says_is_refused() -> None:
    edit = some_flips(tiny_ternary(), 3)
    lying = Edit(**{**{f: getattr(edit, f) for f in edit.__dataclass_fields__}, "edited_sha256": "0" * 64})
    with pytest.raises(EditError, match="its file was changed"):
        lying.apply(tiny_ternary())


@given(n=st.integers(1, 60), k=st.integers(0, 60))
def test_log2_choose_is_exact(n: int, k: int) -> None:
    if k <= n:
        assert log2_choose(n, k) == pytest.approx(math.log2(math.comb(n, k)), abs=1e-9)


def test_description_length_of_trits_is_the_formula() -> None:
    edit = some_flips(tiny_ternary(), 7)
    size = ternary_layers(tiny_ternary().network)[DOWN].trits.numel()
    assert edit.description_bits == pytest.approx(math.log2(math.comb(size, 7)) + 7)


def test_words_say_where_and_what() -> None:
    base = tiny_ternary()
    trits = ternary_layers(base.network)[DOWN].trits
    row, column = (int(x) for x in (trits == 0).nonzero()[0])
    edit = flipped(base, {(row, column): 1})
    assert edit.diff() == f"{DOWN}: 1 of {trits.numel():,} trits in 1 rows (1 from 0 to +1)"
    assert "1 of 2,048 trits flipped in 1 tensors" in edit.describe()
    assert edit.sites == (DOWN,)


def test_no_difference_is_an_edit_that_does_nothing() -> None:
    base = tiny_ternary()
    edit = as_edit(base, base.network, method="none", property_id="P1", pair="reply")
    assert edit.changes == () and edit.apply(base).sha256 == base.sha256
    assert edit.diff() == "Nothing is changed." and edit.description_bits == 0


def test_changes_that_make_no_sense_are_refused() -> None:
    at, old, new = np.array([1, 3]), np.array([0, 0], np.int8), np.array([1, -1], np.int8)
    change = MatrixChange("x", "trits", (2, 2), at, old, new)
    assert change.count == 2 and change.size == 4
    for bad in (
        {"indices": np.array([3, 1])},
        {"indices": np.array([1, 4])},
        {"new": np.array([1, 2], np.int8)},
        {"new": np.array([1, 0], np.int8)},
        {"indices": at[:0], "old": old[:0], "new": new[:0]},
    ):
        with pytest.raises(EditError, match="change of x"):
            MatrixChange(**{**change.__dict__, **bad})
    with pytest.raises(EditError, match="twice"):
        Edit("m", "b", "0", "1", "P1", "reply", 0, {}, {}, (), (change, change))


def test_difference_refuses_networks_of_another_kind() -> None:
    with pytest.raises(EditError, match="same tensors"):
        difference(tiny_float().network, tiny_ternary().network)
