"""One run of a model over decisions, with everything that an exchange of activations needs of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64

from tinyalign.circuits.components import Site
from tinyalign.circuits.decisions import Decision, Ids
from tinyalign.circuits.forward import Layers, final_norm, recorded, run_prefix, run_tail, select_rows
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.models.story_model import StoryModel

Positions = Literal["decision", "all"]

# Rows of about this many tokens run at once, with at most so many copies of a prompt side by side; fewer
# where the vocabulary makes logits large (128 MiB).
_TOKENS_AT_ONCE = 1024
_COPIES_AT_ONCE = 64
_LOGITS_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class TailGroup:
    """Tails of one length: `rows[i]` is the number of the i-th tail, `prompts[i]` its prompt's, `ids` [row
    pos]."""

    rows: tuple[int, ...]
    prompts: tuple[int, ...]
    ids: tuple[Ids, ...]


@dataclass(frozen=True)
class PromptGroup:
    """Prompts whose prefixes have one length, by number, and their tails, grouped by length."""

    prompts: tuple[int, ...]
    prefixes: tuple[Ids, ...]
    tails: tuple[TailGroup, ...]

    @property
    def tokens(self) -> int:
        """How many tokens all tails have."""
        return sum(len(ids) for group in self.tails for ids in group.ids)


def groups_of(decisions: Sequence[Decision]) -> list[PromptGroup]:
    """The prompts in groups that can run as one batch without padding; tails are numbered in prompt order."""
    rows = [(prompt, ids) for prompt, decision in enumerate(decisions) for ids in decision.tails]
    by_prompt: dict[int, list[int]] = {}
    for row, (prompt, _) in enumerate(rows):
        by_prompt.setdefault(prompt, []).append(row)
    found = []
    order = sorted(range(len(decisions)), key=lambda prompt: len(decisions[prompt].prefix))
    for _, prompts in groupby(order, key=lambda prompt: len(decisions[prompt].prefix)):
        members = tuple(prompts)
        own = sorted(
            (row for prompt in members for row in by_prompt[prompt]), key=lambda row: len(rows[row][1])
        )
        tails = []
        for _, same in groupby(own, key=lambda row: len(rows[row][1])):
            chosen = tuple(same)
            tails.append(
                TailGroup(chosen, tuple(rows[r][0] for r in chosen), tuple(rows[r][1] for r in chosen))
            )
        found.append(PromptGroup(members, tuple(decisions[p].prefix for p in members), tuple(tails)))
    return found


def chunks_of_sets(group_tokens: int, sets: int, d_vocab: int) -> Iterator[slice]:
    """Slices of the sets, so that a batch of (sets x group's tokens) stays small."""
    tokens = max(1, min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // d_vocab))
    step = min(_COPIES_AT_ONCE, max(1, tokens // max(1, group_tokens)))
    for begin in range(0, sets, step):
        yield slice(begin, min(begin + step, sets))


def add_word_scores(
    scores: Float64[torch.Tensor, "set prompt word"],
    logits: Float[torch.Tensor, "set row pos d_vocab"],
    group: TailGroup,
    decisions: Sequence[Decision],
    first_row: Sequence[int],
) -> Float64[torch.Tensor, "set prompt word"]:
    """`scores` plus log p, in nats, of the words that are read off this group's tails (differentiable)."""
    place = {row: i for i, row in enumerate(group.rows)}
    wanted: list[tuple[int, int, int, int]] = []
    width = scores.shape[-1]
    for prompt in sorted(set(group.prompts)):
        for number, word in enumerate(decisions[prompt].words):
            row = first_row[prompt] + word.tail
            if row in place:
                slot = prompt * width + number
                wanted += [(place[row], pos, token, slot) for pos, token in enumerate(word.tokens)]
    if not wanted:
        return scores
    row, pos, token, slot = torch.tensor(wanted, device=logits.device).T
    wide = logits.double()
    picked = wide[:, row, pos, token] - wide.logsumexp(-1)[:, row, pos]
    return torch.index_add(scores.flatten(1), 1, slot, picked).view_as(scores)


def preferences_of(
    scores: Float64[torch.Tensor, "set prompt word"], satisfying: int
) -> Float64[torch.Tensor, "set prompt"]:
    """log p(S) - log p(V) in nats: logsumexp over the first `satisfying` words minus that over the others."""
    return scores[..., :satisfying].logsumexp(-1) - scores[..., satisfying:].logsumexp(-1)


def first_rows(decisions: Sequence[Decision]) -> list[int]:
    """The number of each prompt's first tail."""
    return [0, *np.cumsum([len(decision.tails) for decision in decisions]).tolist()][:-1]


@dataclass(frozen=True, eq=False)
class Reading:
    """What `read` found. Rows are tails, numbered in prompt order; lists are by row, or by prompt.

    `tail_inputs[site][row]` [pos d_in] and `tail_outputs[site][row]` [pos d_model] are what each site's
    linear module read (after int8 quantisation in a ternary layer) and wrote; `prefix_inputs[site][prompt]`
    and `prefix_outputs` the same for prefixes, kept where `positions` is "all". `caches[prompt]` has every
    layer's keys and values [head pos d_head]; `finals[row]` [pos d_model] is the residual stream before the
    last norm; `preferences` [prompt] is log p(S) - log p(V) in nats.
    """

    model: StoryModel
    decisions: tuple[Decision, ...]
    positions: Positions
    groups: tuple[PromptGroup, ...]
    tail_inputs: dict[Site, dict[int, torch.Tensor]] = field(repr=False)
    tail_outputs: dict[Site, dict[int, torch.Tensor]] = field(repr=False)
    prefix_inputs: dict[Site, dict[int, torch.Tensor]] = field(repr=False)
    prefix_outputs: dict[Site, dict[int, torch.Tensor]] = field(repr=False)
    caches: dict[int, Layers] = field(repr=False)
    finals: dict[int, torch.Tensor] = field(repr=False)
    preferences: np.ndarray = field(repr=False)

    @property
    def first_row(self) -> list[int]:
        """The number of each prompt's first tail, at whose position 0 the decision is taken."""
        return first_rows(self.decisions)

    def layers(self, prompts: Sequence[int]) -> Layers:
        """Keys and values of these prompts (of one length) as a batch."""
        caches = [self.caches[prompt] for prompt in prompts]
        return [
            (torch.stack([c[layer][0] for c in caches]), torch.stack([c[layer][1] for c in caches]))
            for layer in range(len(caches[0]))
        ]


@torch.no_grad()
def read(model: StoryModel, decisions: Sequence[Decision], positions: Positions = "decision") -> Reading:
    """Run the model over the decisions and keep what its components read and wrote.

    `positions` says where writes may be exchanged later: at the "decision" and after it (the tails), or at
    "all" positions. Raises `InputError` without decisions, `CheckpointError` where a preference is no number.
    """
    if not decisions:
        raise InputError("There is no prompt to read: give at least one.")
    if positions not in ("decision", "all"):
        raise InputError(
            f"Activations are exchanged at the positions 'decision' or 'all', not {positions!r}."
        )
    groups = groups_of(decisions)
    tail_in: dict[Site, dict[int, torch.Tensor]] = {}
    tail_out: dict[Site, dict[int, torch.Tensor]] = {}
    prefix_in: dict[Site, dict[int, torch.Tensor]] = {}
    prefix_out: dict[Site, dict[int, torch.Tensor]] = {}
    caches: dict[int, Layers] = {}
    finals: dict[int, torch.Tensor] = {}
    first = first_rows(decisions)
    scores = torch.zeros(1, len(decisions), len(decisions[0].words), dtype=torch.float64, device=model.device)
    caught: list[torch.Tensor] = []
    handle = final_norm(model.network).register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        for group in groups:
            with recorded(model.network) as (inputs, outputs):
                layers = run_prefix(model.network, torch.tensor(group.prefixes, device=model.device))
            caught.clear()
            for i, prompt in enumerate(group.prompts):
                caches[prompt] = [(keys[i], values[i]) for keys, values in layers]
            if positions == "all":
                _keep(prefix_in, inputs, group.prompts)
                _keep(prefix_out, outputs, group.prompts)
            for tails in group.tails:
                rows = [group.prompts.index(prompt) for prompt in tails.prompts]
                with recorded(model.network) as (inputs, outputs):
                    logits = run_tail(
                        model.network, torch.tensor(tails.ids, device=model.device), select_rows(layers, rows)
                    )
                _keep(tail_in, inputs, tails.rows)
                _keep(tail_out, outputs, tails.rows)
                finals.update(zip(tails.rows, caught.pop(), strict=True))
                scores = add_word_scores(scores, logits[None], tails, decisions, first)
    finally:
        handle.remove()
    preferences = preferences_of(scores, decisions[0].satisfying)[0].cpu().numpy()
    check_finite(model, preferences)
    return Reading(
        model=model,
        decisions=tuple(decisions),
        positions=positions,
        groups=tuple(groups),
        tail_inputs=tail_in,
        tail_outputs=tail_out,
        prefix_inputs=prefix_in,
        prefix_outputs=prefix_out,
        caches=caches,
        finals=finals,
        preferences=preferences,
    )


def check_finite(model: StoryModel, values: np.ndarray) -> None:
    """Raise `CheckpointError` where a preference is not a number."""
    if not np.isfinite(values).all():
        raise CheckpointError(
            f"{model.name} gives preferences that are not numbers: its weights are damaged or overflow; load "
            "another copy."
        )


def _keep(
    store: dict[Site, dict[int, torch.Tensor]], found: dict[Site, torch.Tensor], names: Sequence[int]
) -> None:
    for site, batch in found.items():
        store.setdefault(site, {}).update(zip(names, batch, strict=True))
