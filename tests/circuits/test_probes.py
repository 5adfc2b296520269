"""Probes find what is there, find nothing in noise, and read where a token differs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.circuits.tiny import pairs
from tests.models.tiny import story_model
from tinyalign.circuits.components import Component, all_components
from tinyalign.circuits.probes import fit_probe, read_inputs, reads
from tinyalign.circuits.reading import read
from tinyalign.circuits.sensitivity import Steps
from tinyalign.common.errors import InputError

SIDES = ("clean", "corrupted", "role_swap_clean", "role_swap_corrupted")


def sample(rng: np.random.Generator, n: int, signal: float) -> dict[str, np.ndarray]:
    found = {side: rng.normal(size=(n, 20)) for side in SIDES}
    found["clean"][:, 3] += signal
    return found


def test_a_planted_direction_is_read_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    seen = reads(fit_probe(sample(rng, 200, 6.0)), sample(rng, 300, 6.0))
    assert seen.low > 0.95
    noise = reads(fit_probe(sample(rng, 200, 0.0)), sample(rng, 300, 0.0))
    assert noise.contains(0.25)


def test_more_features_than_samples_do_not_break_it() -> None:
    rng = np.random.default_rng(1)
    wide = {side: rng.normal(size=(4, 200)) for side in SIDES}
    wide["clean"] += 0.8
    probe = fit_probe(wide)
    assert (probe(wide["clean"]) > probe(wide["corrupted"])).all()
    with pytest.raises(InputError, match="two prompts"):
        fit_probe({"clean": wide["clean"]})
    with pytest.raises(InputError, match="not finite"):
        fit_probe({side: np.full((3, 2), np.nan) for side in SIDES})


@pytest.mark.parametrize("kind", ["neo", "llama-ternary"])
def test_inputs_have_a_row_a_prompt_and_neurons_are_what_the_writers_read(kind: str) -> None:
    model = story_model(kind)
    clean, _ = pairs()
    found = read_inputs(model, clean)
    reading = read(model, clean)
    assert [table.shape for table in found.attention] == [(5, 32)] * 2
    assert [table.shape for table in found.mlp] == [(5, 32)] * 2
    for site, rows in reading.tail_inputs.items():
        if site.kind == "mlp":
            expected = np.stack([rows[row][0].double().numpy() for row in reading.first_row])
            np.testing.assert_allclose(found.neurons[site.layer], expected, atol=2e-2)


def test_steps_raise_the_preference_and_are_a_tenth_of_the_write() -> None:
    model = story_model("llama")
    clean, corrupted = pairs(8)
    reading = read(model, clean)
    steps = Steps.fit(reading)
    components = all_components(model.config)
    gains = steps.gains(reading, [(c,) for c in components]).mean(-1)
    assert (gains[np.abs(gains) > 1e-4] > 0).mean() > 0.8
    whole = steps.of(Component("mlp", 1))
    written = [
        float(reading.tail_outputs[site][row][0].norm())
        for site in reading.tail_outputs
        for row in reading.first_row
        if site.layer == 1 and site.kind == "mlp"
    ]
    assert float(whole.norm()) == pytest.approx(0.1 * np.sqrt(np.mean(np.square(written))), rel=1e-4)
    both = steps.gains(read(model, corrupted), [(components[0], components[5]), (), (components[0],)])
    np.testing.assert_allclose(both[1], 0.0, atol=1e-4)
    assert np.abs(both[0] - both[2]).max() > 1e-3
