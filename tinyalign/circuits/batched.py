"""Many interventions on one run, batched: the same prompts under many sets of patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64

from tinyalign.circuits.components import Site
from tinyalign.circuits.forward import (
    Layers,
    Patch,
    packs,
    patched,
    run_packed,
    run_prefix,
    run_tail,
    select_rows,
)
from tinyalign.circuits.reading import (
    PromptGroup,
    Reading,
    add_word_scores,
    check_finite,
    chunks_of_sets,
    preferences_of,
)

Place = Literal["tail", "prefix"]
# (which sets, tails or prefixes, their row or prompt numbers, whether sets lie along positions) -> patches
PatchMaker = Callable[[slice, Place, Sequence[int], bool], Mapping[Site, Patch]]


@torch.no_grad()
def run_sets(run: Reading, sets: int, patches: PatchMaker) -> np.ndarray:
    """Preferences [set prompt], in nats, of the run's model on its decisions under each set of patches.

    Prefixes are run anew only where the reading is for "all" positions; at the "decision" their keys and
    values are those of the plain run. Raises `CheckpointError` where a result is no number.
    """
    if not sets:
        return np.empty((0, len(run.decisions)))
    shape = (sets, len(run.decisions), len(run.decisions[0].words))
    scores = torch.zeros(shape, dtype=torch.float64, device=run.model.device)
    for group in run.groups:
        tokens = group.tokens
        if run.positions == "all":
            tokens += sum(map(len, group.prefixes))
        for part in chunks_of_sets(tokens, sets, run.model.config.d_vocab):
            scores[part] = _run_part(run, group, part, patches, scores[part])
    results = preferences_of(scores, run.decisions[0].satisfying).cpu().numpy()
    check_finite(run.model, results)
    return results


def _run_part(
    run: Reading,
    group: PromptGroup,
    part: slice,
    patches: PatchMaker,
    scores: Float64[torch.Tensor, "set prompt word"],
) -> Float64[torch.Tensor, "set prompt word"]:
    """`scores` of one chunk of sets with one group's prompts filled in."""
    network, device = run.model.network, run.model.device
    sets = scores.shape[0]
    at = {prompt: i for i, prompt in enumerate(group.prompts)}
    everywhere = run.positions == "all"
    layers: Layers
    if everywhere:
        with patched(network, patches(part, "prefix", group.prompts, False)):
            layers = run_prefix(network, torch.tensor(group.prefixes, device=device).repeat(sets, 1))
    else:
        layers = run.layers(group.prompts)
    packed = packs(network) and not everywhere
    for tails in group.tails:
        ids = torch.tensor(tails.ids, device=device)
        with patched(network, patches(part, "tail", tails.rows, packed)):
            if packed:
                rows = [at[prompt] for prompt in tails.prompts]
                logits = run_packed(network, ids, sets, select_rows(layers, rows))
            else:
                each = len(group.prompts) if everywhere else 0
                rows = [number * each + at[prompt] for number in range(sets) for prompt in tails.prompts]
                logits = run_tail(network, ids.repeat(sets, 1), select_rows(layers, rows))
                logits = logits.view(sets, len(tails.rows), *logits.shape[1:])
        scores = add_word_scores(scores, logits, tails, run.decisions, run.first_row)
    return scores
