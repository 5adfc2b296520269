"""Drawing tokens where the logits are: the draw of `sampling_torch.choose` without leaving the device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tinyalign.engine.sampling import Sampling

# What a row draws whose logits cannot be sampled: NaN or +infinity among them, or no finite number.
NOT_FINITE = -1


def draw(
    logits: Float[Tensor, "rows d_vocab"], u: Float[Tensor, " rows"], how: Sampling
) -> Int[Tensor, " rows"]:
    """The next token of each row, by inverse transform of `u` (float64) over token ids; or `NOT_FINITE`.

    Nothing waits for the device, so a CUDA graph can hold it.
    """
    scores = logits.double()
    highest = scores.amax(dim=1, keepdim=True)
    if how.temperature == 0:
        tokens = scores.argmax(dim=1)
    else:
        weights = (scores - highest).div_(how.temperature).exp_()
        with _sums_allowed():
            if how.top_k is not None or how.top_p is not None:
                weights = _filtered(weights, how)
            cumulative = weights.cumsum(dim=1)
        tokens = torch.searchsorted(cumulative, u[:, None] * cumulative[:, -1:], right=True)[:, 0]
        if weights.device.type != "cpu":
            tokens = supported(tokens, weights)
    # Filled and not chosen by `where`, which would copy the scalar from the host.
    return tokens.masked_fill_(highest[:, 0].isfinite().logical_not_(), NOT_FINITE)


@contextlib.contextmanager
def _sums_allowed() -> Iterator[None]:
    """Lets a GPU take sums over tokens where only deterministic algorithms are asked for.

    Torch refuses them all then; those that can differ from run to run by a last bit are of one long row.
    """
    asked, warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=warn)


def supported(tokens: Int[Tensor, " rows"], weights: Float[Tensor, "rows d_vocab"]) -> Int[Tensor, " rows"]:
    """`tokens`, but a row's likeliest one in place of a token of weight 0.

    A GPU adds in parallel, where a partial sum can be a last bit above the one before it though nothing
    was added: of the 2^32 draws hardly one meets that, and it must not give a token that was filtered out.
    """
    # A row of NaN finds no place in its sums, and draws `NOT_FINITE` in the end.
    tokens = tokens.clamp(max=weights.shape[1] - 1)
    found = weights.gather(1, tokens[:, None])[:, 0]
    return torch.where(found > 0, tokens, weights.argmax(dim=1))


def _filtered(weights: Float[Tensor, "rows d_vocab"], how: Sampling) -> Float[Tensor, "rows d_vocab"]:
    ranked, order = weights.sort(dim=1, descending=True, stable=True)
    dropped = torch.zeros_like(ranked, dtype=torch.bool)
    if how.top_p is not None:
        total = ranked.sum(dim=1, keepdim=True)
        # A token stays while those before it have not reached p; the likeliest always does.
        dropped = ranked.cumsum(dim=1) / total - ranked / total >= how.top_p
    if how.top_k is not None:
        dropped[:, how.top_k :].fill_(True)
    return torch.zeros_like(weights).scatter_(1, order, ranked.masked_fill_(dropped, 0.0))
