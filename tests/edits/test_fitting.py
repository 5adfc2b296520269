"""Every method on tiny models: what it may touch, that its loss falls, that it repeats, what it refuses."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.edits.models import embedded, tiny_float, tiny_ternary
from tinyalign import properties
from tinyalign.common.errors import EditError, UnknownNameError
from tinyalign.edits import Edit, FitSettings, FitWords, fit_edit
from tinyalign.edits.batches import OtherPrompts, TrainingPrompts, alike, default_words, encode, neutral_text
from tinyalign.edits.graft import GraftSettings
from tinyalign.edits.objective import Material, Terms, loss, preference
from tinyalign.edits.rank_one import RankOneSettings
from tinyalign.edits.sites import sites_of
from tinyalign.edits.tail import tail_of
from tinyalign.edits.trits import SearchSettings
from tinyalign.engine.score import score_continuations
from tinyalign.models import StoryModel
from tinyalign.properties.contrast import SIDES
from tinyalign.ternary import ternary_layers

P1 = properties.get("P1")
REPLY = P1.pairs["reply"]
QUICK = FitSettings(
    terms=Terms(still=0.1, words=1.0, keep=0.5),
    trits=SearchSettings(
        rounds=3,
        flips_a_round=8,
        most=20,
        prompts=12,
        stories=2,
        prune_prompts=12,
        prune_tolerance=0.0,
        free=0.9,
        fine_rounds=0,
    ),
    graft=GraftSettings(neurons=3, key_trits=(32, 64), value_trits=(4, 12), prompts=24, stories=3),
    rank_one=RankOneSettings(steps=10, rate=0.02, prompts=16, stories=2, key_prompts=32, key_stories=4),
    neutral_stories=8,
)


def base_of(method: str) -> StoryModel:
    return embedded() if method in ("trits", "graft") else tiny_float()


def fit(method: str) -> Edit:
    components = ["L3.mlp"] if method in ("trits", "graft") else None
    return fit_edit(base_of(method), P1, method=method, pair="reply", components=components, settings=QUICK)


fitted = cache(fit)


def material(model: StoryModel, start: int) -> Material:
    return Material(
        model.network,
        TrainingPrompts(model, P1, REPLY, default_words(REPLY), 7),
        OtherPrompts(model, alike(P1), 7),
        neutral_text(model, 7, stories=8),
        start,
    )


@pytest.mark.parametrize("method", ["trits", "graft", "rank_one", "logit_bias", "token_ban"])
def test_the_same_arguments_give_the_same_edit(method: str) -> None:
    again = fit(method)
    assert again.edited_sha256 == fitted(method).edited_sha256
    assert again.fit_words == {"satisfying": ["Okay"], "violating": ["No"]}


@pytest.mark.parametrize("method", ["trits", "graft", "rank_one"])
def test_the_loss_of_fresh_prompts_falls(method: str) -> None:
    base = base_of(method)
    seen = material(base, 0).occasion(50, 24, 3)
    edited = fitted(method).apply(base)
    with torch.no_grad():
        before = loss(base.network, seen, QUICK.terms).total
        after = loss(edited.network, seen, QUICK.terms).total
    assert after < before


def test_a_search_keeps_its_limits_and_its_sites() -> None:
    edit = fitted("trits")
    assert 0 < edit.trits_flipped <= 20 + 8
    assert all(site.startswith("model.layers.3.mlp.") for site in edit.sites)
    assert edit.components == ("L3.mlp",) and all(change.kind == "trits" for change in edit.changes)
    rounds = edit.record["rounds"]
    assert [row["round"] for row in rounds] == [0, 1, 2, 3]


def test_grafted_neurons_are_ternary_and_only_they_change() -> None:
    edit = fitted("graft")
    neurons = set(edit.record["neurons"])
    assert neurons
    layers = ternary_layers(embedded().network)
    for change in edit.changes:
        rows, columns = np.divmod(change.indices, change.shape[1])
        along = columns if change.tensor.endswith("down_proj") else rows
        assert set(along.tolist()) <= neurons and change.tensor in layers


def test_a_float_rank_one_change_has_rank_one_and_one_site() -> None:
    edit = fitted("rank_one")
    assert edit.sites == ("model.layers.1.mlp.down_proj.weight",) and edit.rank == 1
    change = edit.changes[0]
    dense = np.zeros(change.size, np.float64)
    dense[change.indices] = change.new.astype(np.float64) - change.old
    values = np.linalg.svd(dense.reshape(change.shape), compute_uv=False)
    assert values[1] < 1e-4 * values[0]


def test_a_rank_one_change_of_a_ternary_model_stays_on_the_lattice() -> None:
    strong = replace(QUICK, rank_one=replace(QUICK.rank_one, rate=20.0))
    edit = fit_edit(tiny_ternary(), P1, method="rank_one", pair="reply", settings=strong)
    assert edit.trits_flipped > 0 and edit.rank is None
    old = ternary_layers(tiny_ternary().network)["model.layers.1.mlp.down_proj"]
    new = ternary_layers(edit.apply(tiny_ternary()).network)["model.layers.1.mlp.down_proj"]
    assert torch.equal(old.scale, new.scale)


@pytest.mark.parametrize(("method", "word", "up"), [("logit_bias", "Okay", True), ("token_ban", "No", False)])
def test_the_cheats_move_their_words_everywhere(method: str, word: str, up: bool) -> None:
    base = tiny_float()
    edited = fitted(method).apply(base)
    prompts = P1.prompts.sample("test", 12, 0, decision="reply")
    texts = [prompt.neutral for prompt in prompts]
    change = [
        np.array(score_continuations(model, texts, [[word]] * 12).log_probs).mean()
        for model in (base, edited)
    ]
    assert (change[1] - change[0] > 0.5) if up else (change[1] - change[0] < -2)
    assert all("embed" in site or "lm_head" in site for site in fitted(method).sites)


def test_training_prompts_can_be_cut_to_two_names() -> None:
    prompts = TrainingPrompts(tiny_ternary(), P1, REPLY, default_words(REPLY), 0, names=2)
    drawn = {prompt.slots["child"] for prompt in prompts.prompts(0, 60)}
    allowed = [entry.word for entry in P1.prompts.space("train").grammar.slots["child"].parts["train"][:2]]
    assert drawn == set(allowed)
    first, second = prompts.prompts(0, 10), prompts.prompts(5, 5)
    assert first[5:] == second


def test_batches_score_the_decision_that_the_words_begin() -> None:
    model = tiny_ternary()
    prompts = P1.prompts.sample("train", 6, 1, decision="reply")
    words = FitWords(("Okay",), ("No",))
    batch = encode(model, prompts, REPLY, words)
    with torch.no_grad():
        found = preference(tail_of(model.network, batch.ids, 0, batch.last).log_probs(model.network), batch)
    for number, side in enumerate(SIDES):
        texts = [prompt.texts()[side] for prompt in prompts]
        scores = np.array(score_continuations(model, texts, [["Okay", "No"]] * 6).log_probs)
        assert np.allclose(found[number * 6 : number * 6 + 6], scores[:, 0] - scores[:, 1], atol=1e-4)


@pytest.mark.parametrize("start", [0, 1])
def test_the_tail_gives_the_logits_of_the_whole(start: int) -> None:
    model = tiny_ternary()
    ids = torch.randint(0, 2048, (3, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model.network(ids).logits.log_softmax(-1)
        assert torch.equal(tail_of(model.network, ids, start).log_probs(model.network), whole)
        last = torch.tensor([16, 3, 9])
        picked = tail_of(model.network, ids, start, last).log_probs(model.network)
    assert torch.allclose(picked, whole[torch.arange(3), last], atol=1e-5)


@pytest.mark.gpu
def test_a_model_on_a_gpu_gets_the_edit_that_it_gets_on_the_cpu() -> None:
    network: Any = copy.deepcopy(tiny_ternary().network)
    there = replace(tiny_ternary(), network=network.to("cuda"))
    edits = [
        fit_edit(model, P1, method="rank_one", pair="reply", settings=QUICK).to_json()
        for model in (tiny_ternary(), there)
    ]
    assert edits[0] == edits[1]
    assert there.device.type == "cuda"


def test_words_that_begin_alike_are_left_out_or_refused() -> None:
    prompts = P1.prompts.sample("train", 2, 1, decision="reply")
    batch = encode(tiny_ternary(), prompts, REPLY, FitWords(("Okay", "I'm sorry"), ("No", "I want")))
    assert (batch.satisfying[:, 1] == -1).all() and (batch.violating[:, 1] == -1).all()
    with pytest.raises(EditError, match="begin with the same token"):
        encode(tiny_ternary(), prompts, REPLY, FitWords(("I'm sorry",), ("I want",)))


def test_what_cannot_be_fitted_is_refused_in_one_sentence() -> None:
    with pytest.raises(UnknownNameError, match=r"edit method 'trit'.*trits"):
        fit_edit(tiny_ternary(), P1, method="trit")
    with pytest.raises(UnknownNameError, match="logit pair"):
        fit_edit(tiny_ternary(), P1, pair="nonsense")
    with pytest.raises(EditError, match="no ternary layer"):
        fit_edit(tiny_float(), P1, method="trits", pair="reply", settings=QUICK)
    with pytest.raises(EditError, match="use rank_one"):
        fit_edit(tiny_float(), P1, method="graft", pair="reply", settings=QUICK)
    for name in ("L9.mlp", "mlp", "L0.mlp.x"):
        with pytest.raises(EditError, match="names no component"):
            sites_of(tiny_ternary(), [name])
    with pytest.raises(EditError, match="at least one component"):
        sites_of(tiny_ternary(), [])
