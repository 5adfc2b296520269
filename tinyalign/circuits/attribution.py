"""First-order and direct effects of components, from one forward and one backward pass.

Direct logit attribution is done here and not by TransformerLens's tool of that name, which asks for the final
norm to be folded into the unembedding: that would leave the ternary lattice. On float models the two agree
(`tests/circuits/test_transformer_lens.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from tinyalign.circuits.components import Component, Site, site_of, writers
from tinyalign.circuits.forward import final_norm, run_tail, select_rows, write_hooks
from tinyalign.circuits.reading import Reading, add_word_scores, preferences_of


def write_gradients(reading: Reading) -> dict[Site, dict[int, torch.Tensor]]:
    """d preference / d write, in nats a unit, at every site: by row, [pos d_model].

    Only writes at the tails count; the prefix is held as it was. Through int8 quantisation the gradient is
    straight.
    """
    network, decisions = reading.model.network, reading.decisions
    found: dict[Site, dict[int, torch.Tensor]] = {}
    first = reading.first_row
    for group in reading.groups:
        handles: list[tuple[Sequence[int], dict[Site, torch.Tensor]]] = []
        scores = torch.zeros(
            1, len(decisions), len(decisions[0].words), dtype=torch.float64, device=reading.model.device
        )
        layers = reading.layers(group.prompts)
        with torch.enable_grad():
            for tails in group.tails:
                handle: dict[Site, torch.Tensor] = {}

                def add_zero(
                    site: Site, x: torch.Tensor, output: torch.Tensor, into: dict[Site, torch.Tensor] = handle
                ) -> torch.Tensor:
                    into[site] = torch.zeros_like(output, requires_grad=True)
                    return output + into[site]

                rows = [group.prompts.index(prompt) for prompt in tails.prompts]
                with write_hooks(network, add_zero):
                    ids = torch.tensor(tails.ids, device=reading.model.device)
                    logits = run_tail(network, ids, select_rows(layers, rows))
                handles.append((tails.rows, handle))
                scores = add_word_scores(scores, logits[None], tails, decisions, first)
            total = preferences_of(scores[:, list(group.prompts)], decisions[0].satisfying).sum()
            leaves = [leaf for _, handle in handles for leaf in handle.values()]
            gradients = iter(torch.autograd.grad(total, leaves))
        for rows_of, handle in handles:
            for site in handle:
                found.setdefault(site, {}).update(zip(rows_of, next(gradients), strict=True))
    return found


def attribution(
    run: Reading, source: Reading, gradients: dict[Site, dict[int, torch.Tensor]]
) -> dict[Site, np.ndarray]:
    """First-order effect [prompt d_in], in nats, of exchanging each input's write at every site at the tails.

    gradient . (write in `source` - write in `run`), where `gradients` are `write_gradients(run)`: what
    `exchange` would give were the network linear. A neuron's is its own column; a head's is the sum over its
    columns, an MLP's over all. Source: attribution patching (Nanda, 2023; Syed, Rager and Conmy, 2023,
    arXiv:2310.10348).
    """
    found: dict[Site, np.ndarray] = {}
    others = writers(source.model.network)
    owners = [prompt for prompt, decision in enumerate(run.decisions) for _ in decision.tails]
    for site, module in writers(run.model.network).items():
        own, other = module.weight.detach(), others[site].weight.detach()
        table = torch.zeros(len(run.decisions), own.shape[1], dtype=torch.float64, device=own.device)
        for row, prompt in enumerate(owners):
            slope = gradients[site][row]
            change = source.tail_inputs[site][row] * (slope @ other) - run.tail_inputs[site][row] * (
                slope @ own
            )
            table[prompt] += change.sum(0).double()
        found[site] = table.cpu().numpy()
    return found


def of_component(table: dict[Site, np.ndarray], component: Component, d_head: int) -> np.ndarray:
    """The values [prompt] of one component, out of a table [prompt d_in] by site."""
    values = table[site_of(component)]
    if component.index is None:
        return values.sum(-1)
    if component.kind == "head":
        return values[:, component.index * d_head : (component.index + 1) * d_head].sum(-1)
    return values[:, component.index]


@torch.no_grad()
def direct_attribution(reading: Reading) -> dict[Site, np.ndarray]:
    """Direct logit attribution [prompt d_in], in logits, of each input's write at the decision token.

    The write goes through the final norm, its scale held at the run's own, on to the mean logit of the
    satisfying words' first tokens minus that of the violating ones' (tokens that both sets begin with
    cancel). A head's is the sum over its columns. Biases and the embedding belong to no component.
    """
    first = reading.first_row
    towards = _readout(reading)
    found = {}
    for site, module in writers(reading.model.network).items():
        inputs = torch.stack([reading.tail_inputs[site][row][0] for row in first])
        found[site] = (inputs * (towards @ module.weight)).double().cpu().numpy()
    return found


def _readout(reading: Reading) -> Float[torch.Tensor, "prompt d_model"]:
    """What a write at the decision token is multiplied with: direction of the words, norm and scale."""
    network, first = reading.model.network, reading.first_row
    norm = final_norm(network)
    unembedding = network.get_submodule("lm_head").get_parameter("weight")
    directions = []
    for decision in reading.decisions:
        sides = []
        for words in (decision.words[: decision.satisfying], decision.words[decision.satisfying :]):
            tokens = sorted({word.tokens[0] for word in words})
            sides.append(unembedding[tokens].mean(0))
        directions.append(sides[0] - sides[1])
    final = torch.stack([reading.finals[row][0] for row in first])
    towards = torch.stack(directions) * norm.get_parameter("weight")
    if isinstance(norm, nn.LayerNorm):
        scale = (final.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
        # A layer norm takes the mean of what is written away: the same as taking it off the direction.
        return (towards - towards.mean(-1, keepdim=True)) / scale
    epsilon = float(getattr(norm, "variance_epsilon", 0.0))
    return towards / (final.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()
