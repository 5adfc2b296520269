"""Is what a contestant wrote right? Judged on its own story, in the timed configuration."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from tinyalign.bench.peers import Output, Peer, Setting
from tinyalign.common.errors import CheckpointError
from tinyalign.models import StoryModel
from tinyalign.ternary import using_kernel

# Two right sums in floats differ in the last bits, so that tokens this close are one as likely as the other.
_TIE = 1e-3
# Of a ternary model an activation on the edge between two int8 codes may fall to either side, which moves
# logits by a few hundredths (`tests/engine/test_against_hugging_face.py`).
_EDGE = 0.3
# The mean may be so much of what the worst may be: one choice on an edge is chance, many are a fault.
_MEAN = 0.1
_ROWS = 8


@dataclass(frozen=True)
class Agreement:
    """How near a contestant's story is to what the exact network would have it tell.

    The network (float64 where the model is float) reads the contestant's own story; `worst` and `mean` say
    how many nats less likely its tokens are there than the likeliest ones, `allowed` what the worst may be
    (the mean: a tenth). `equal` is the share of the tokens that are the reference's, which says little
    after the first that is not. For texts, which must be equal, the nats are None.
    """

    equal: float
    worst: float | None
    mean: float | None
    allowed: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


class Judge:
    """Judges outputs of one setting against `reference`, the likeliest new tokens [tokens].

    `exact` is the model whose function counts, the setting's own unless given.
    """

    def __init__(self, setting: Setting, exact: StoryModel | None = None) -> None:
        self.setting = setting
        model = setting.model if exact is None else exact
        self.ternary = model.bits < 16
        network: Any = model.network
        self.network: Any = network if self.ternary else copy.deepcopy(network).double()
        ids = torch.tensor([setting.ids], device=setting.model.device)
        with torch.no_grad(), using_kernel("reference"):
            new = self.network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=setting.tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        self.reference: np.ndarray = new[0, len(setting.ids) :].cpu().numpy()
        self._known: dict[bytes, np.ndarray] = {}

    def of(self, exact: StoryModel) -> Judge:
        """A judge of the same setting by another model."""
        return Judge(self.setting, exact)

    def judge(self, peer: Peer, output: Output) -> Agreement:
        """Raises `CheckpointError`, saying by how much, unless every story is right."""
        model = self.setting.model
        if output.texts is not None:
            whole = model.decode([*self.setting.ids, *self.reference.tolist()])
            if output.texts != [whole] * len(output.tokens):
                raise self._wrong(peer, "other text")
            return Agreement(1.0, None, None, None)
        tokens = output.collect()
        if not ((tokens >= 0) & (tokens < model.config.d_vocab)).all():
            raise self._wrong(peer, "tokens are missing")
        allowed = peer.near if peer.near is not None else _EDGE if self.ternary else _TIE
        short = self._nats_short(tokens)
        worst, mean = float(short.max()), float(short.mean())
        # Not "greater than": a NaN must not pass.
        if not (worst <= allowed and mean <= _MEAN * allowed):
            raise self._wrong(
                peer, f"tokens up to {worst:.2g} nats short of the likeliest, {mean:.2g} in the mean"
            )
        return Agreement(float((tokens == self.reference).mean()), worst, mean, allowed)

    def _wrong(self, peer: Peer, how: str) -> CheckpointError:
        return CheckpointError(
            f"Greedy decoding disagrees between {peer.name} and the reference on "
            f"{self.setting.model.name} ({how}): one of them is wrong."
        )

    def _nats_short(self, tokens: Int[np.ndarray, "stories tokens"]) -> Float[np.ndarray, "stories tokens"]:
        """By how many nats each token falls short of the likeliest in its place."""
        stories = {row.tobytes(): row for row in tokens}
        unknown = [key for key in stories if key not in self._known]
        for first in range(0, len(unknown), _ROWS):
            chunk = unknown[first : first + _ROWS]
            new = np.stack([stories[key] for key in chunk])
            self._known |= dict(zip(chunk, self._read(new), strict=True))
        return np.stack([self._known[row.tobytes()] for row in tokens])

    @torch.no_grad()
    def _read(self, new: Int[np.ndarray, "stories tokens"]) -> Float[np.ndarray, "stories tokens"]:
        prompt = np.tile(np.array(self.setting.ids, dtype=np.int64), (len(new), 1))
        ids = torch.from_numpy(np.concatenate((prompt, new), axis=1)).to(self.setting.model.device)
        with using_kernel("reference"):
            logits = self.network(ids).logits[:, prompt.shape[1] - 1 : -1].double()
        chosen = logits.gather(-1, ids[:, prompt.shape[1] :, None])[..., 0]
        return (logits.max(dim=-1).values - chosen).cpu().numpy()
