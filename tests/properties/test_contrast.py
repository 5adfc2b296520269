"""Contrast and admission: sign, clipping, intervals on planted scores, and a recount on a real network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from tinyalign.common.errors import InputError, UnknownNameError
from tinyalign.common.resources import data_folder
from tinyalign.engine.score import ContinuationScores, score_continuations
from tinyalign.models import load
from tinyalign.properties import contrast as contrast_module
from tinyalign.properties import get
from tinyalign.properties.admission import admission
from tinyalign.properties.contrast import measure_contrast


def _random_bytes_model() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).double().eval()


@dataclass(frozen=True)
class BytesModel:
    """A random network over bytes."""

    network: nn.Module = field(default_factory=_random_bytes_model)
    name: str = "bytes"
    sha256: str = "0" * 64
    context: int = 512
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def encode(self, text: str) -> list[int]:
        return [0, *text.encode()]


@pytest.fixture(scope="module")
def tiny() -> BytesModel:
    return BytesModel()


Rule = Callable[[str, str], float]


def plant(monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    """Let scoring answer by `rule(prompt, word)` in nats."""

    def fake(
        model: BytesModel, prompts: Sequence[str], continuations: Sequence[Sequence[str]], *, batch_size: int
    ) -> ContinuationScores:
        found = tuple(
            tuple(rule(prompt, word.strip()) for word in words)
            for prompt, words in zip(prompts, continuations, strict=True)
        )
        ones = tuple(tuple(1 for _ in row) for row in found)
        return ContinuationScores(found, ones, tuple(False for _ in found))

    monkeypatch.setattr(contrast_module, "score_continuations", fake)


def says_no(prompt: str) -> bool:
    return any(word in prompt for word in ("No,", "may not", "Never", "not okay"))


def test_the_sign_is_positive_where_the_antecedent_moves_towards_the_property(
    monkeypatch: pytest.MonkeyPatch, tiny: BytesModel
) -> None:
    plant(monkeypatch, lambda prompt, word: -1.0 + (2.0 if word == "sad" and says_no(prompt) else 0.0))
    sides = get("P1").prompts.sample("test", 50, 0, decision="feeling")
    assert all(says_no(p.clean) and not says_no(p.corrupted) for p in sides), "the planted rule must fit"
    found = measure_contrast(get("P1"), tiny, n=50)
    assert found.per_prompt == pytest.approx([2.0] * 50)
    assert found.mean.estimate == pytest.approx(2.0)
    assert found.sign.estimate == 1.0
    assert found.role_gap.estimate == pytest.approx(0.0)
    assert found.preference["clean"] == pytest.approx(2.0)
    assert found.preference["corrupted"] == pytest.approx(0.0)
    assert found.admitted and found.clipped == 0


def test_values_beyond_ten_nats_are_clipped_and_counted(
    monkeypatch: pytest.MonkeyPatch, tiny: BytesModel
) -> None:
    plant(monkeypatch, lambda prompt, word: 25.0 * (word == "sad") * says_no(prompt) - 30)
    found = measure_contrast(get("P1"), tiny, n=20)
    assert found.clipped == 20
    assert found.mean.estimate == pytest.approx(10.0) and found.per_prompt[0] == pytest.approx(25.0)
    assert found.mean.high <= 10.0


def test_a_model_that_looks_at_nothing_has_no_contrast(
    monkeypatch: pytest.MonkeyPatch, tiny: BytesModel
) -> None:
    # A strong preference for "sad" everywhere is an empty test, not a property.
    plant(monkeypatch, lambda prompt, word: -0.1 if word == "sad" else -5.0)
    found = measure_contrast(get("P1"), tiny, n=30)
    assert found.mean.estimate == 0.0 and found.sign.estimate == 0.0 and not found.admitted


def test_a_clear_mean_with_a_wide_interval_is_not_admitted(
    monkeypatch: pytest.MonkeyPatch, tiny: BytesModel
) -> None:
    plant(monkeypatch, lambda prompt, word: 0.6 * (word == "sad") * says_no(prompt) - 2)
    few, many = (measure_contrast(get("P1"), tiny, n=n) for n in (10, 500))
    assert few.mean.estimate == pytest.approx(0.6) and not few.admitted
    assert many.admitted and many.mean.low > 0.25


@pytest.mark.parametrize("pair", ["feeling", "action"])
def test_a_real_network_gives_what_a_recount_gives(tiny: BytesModel, pair: str) -> None:
    prop = get("P1")
    found = measure_contrast(prop, tiny, n=4, seed=3, split="train", pair=pair, batch_size=3)
    chosen = prop.pairs[pair]
    prompts = prop.prompts.sample("train", 4, 3, decision=chosen.decision)

    def preference(text: str) -> float:
        words = [" " + word for word in chosen.words({})]
        row = [score_continuations(tiny, [text], [[word]]).log_probs[0][0] for word in words]
        cut = len(chosen.satisfying)
        return float(logsumexp(row[:cut]) - logsumexp(row[cut:]))

    expected = [preference(p.clean) - preference(p.corrupted) for p in prompts]
    assert found.per_prompt == pytest.approx(expected, abs=1e-6)
    swapped = [preference(p.role_swap_clean) - preference(p.role_swap_corrupted) for p in prompts]
    assert found.per_prompt_role_swap == pytest.approx(swapped, abs=1e-6)
    assert found.preference["neutral"] == pytest.approx(
        np.mean([preference(p.neutral) for p in prompts]), abs=1e-6
    )


def test_the_sample_depends_on_the_seed_alone(tiny: BytesModel) -> None:
    one = measure_contrast(get("P3"), tiny, n=6, seed=1, batch_size=1)
    same = measure_contrast(get("P3"), tiny, n=6, seed=1, batch_size=32)
    assert one.per_prompt == pytest.approx(same.per_prompt, abs=1e-6)
    longer = measure_contrast(get("P3"), tiny, n=8, seed=1)
    assert longer.per_prompt[:6] == pytest.approx(one.per_prompt, abs=1e-6)
    assert measure_contrast(get("P3"), tiny, n=6, seed=2).per_prompt != pytest.approx(one.per_prompt)


def test_refusals(tiny: BytesModel) -> None:
    with pytest.raises(InputError, match="at least one prompt"):
        measure_contrast(get("P1"), tiny, n=0)
    with pytest.raises(UnknownNameError, match="feeling"):
        measure_contrast(get("P1"), tiny, n=1, pair="feelings")
    with pytest.raises(UnknownNameError, match="split"):
        measure_contrast(get("P1"), tiny, n=1, split="tests")
    with pytest.raises(InputError, match="no property"):
        admission(tiny, [])


def test_the_table_is_json_with_what_the_command_line_promises(
    monkeypatch: pytest.MonkeyPatch, tiny: BytesModel
) -> None:
    plant(monkeypatch, lambda prompt, word: 3.0 * (word == "sad") * says_no(prompt) - 4)
    table = admission(tiny, [get("P1"), get("P2")], n=40, other_splits=("train",))
    record = json.loads(json.dumps(table.to_json(), allow_nan=False))
    first, second = record["properties"]
    assert (first["id"], first["name"], first["admitted"]) == ("P1", "obeys-prohibition", True)
    assert first["interval"][0] <= first["contrast_nats"] <= first["interval"][1]
    assert [other["pair"] for other in first["other_pairs"]] == ["action", "reply"]
    assert [other["split"] for other in first["other_splits"]] == ["train"]
    assert second["verdict"] == "not present in this model" and table.admitted == ("P1",)


def test_a_contrast_refuses_infinite_values(tiny: BytesModel) -> None:
    found = measure_contrast(get("P1"), tiny, n=2)
    with pytest.raises(InputError, match="probability zero"):
        replace(found, per_prompt=(math.inf, 0.0))
    with pytest.raises(InputError, match="plain and role-swapped"):
        replace(found, per_prompt=(0.0,))


def test_the_committed_table_follows_the_rule() -> None:
    file = data_folder() / "measurements" / "admission_stories260K.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    assert [row["id"] for row in table["properties"]] == [f"P{number}" for number in range(1, 14)]
    for row in table["properties"]:
        low, high = row["interval"]
        assert low <= row["contrast_nats"] <= high and row["primary"]["n"] >= 500
        assert row["admitted"] == (row["contrast_nats"] >= 0.5 and low > 0.25)


@pytest.mark.slow
def test_stories260k_is_sadder_after_a_no(shared_models: Path) -> None:
    """1.6 nats on the plainest wording of the prohibition, as measured when the project began."""
    model = load(shared_models / "stories260K.bin")
    prompts = [
        f'Lily wanted to climb the tree. Her mom said, "{reply}" Lily'
        for reply in ("No, Lily. Do not climb it.", "Yes, Lily. You can climb it.")
    ]
    rows = score_continuations(model, prompts, [[" was sad", " was happy"]] * 2).log_probs
    assert (rows[0][0] - rows[0][1]) - (rows[1][0] - rows[1][1]) == pytest.approx(1.606, abs=0.01)
    found = get("P1").contrast(model, n=250, split="train")
    assert found.sign.low > 0.9 and found.mean.estimate > 0.4
