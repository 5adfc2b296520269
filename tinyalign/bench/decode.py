"""End-to-end decoding: tinyalign's sampler against its peers, same model, same prompt, same tokens."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinyalign.bench.peaks import Peaks
from tinyalign.bench.peers import Output, Peer, Run, Setting, chosen_peers
from tinyalign.bench.timing import Timed, contest, processor_seconds
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.models import StoryModel

PROMPTS = ("Once upon a time", "Lily had a red ball.", "Tom and his mom went to the park.", "The dog")
BASELINE = "tinyalign, cpu"
# Of a ternary model an int8 activation on the edge between two steps may fall to either side, after which two
# right decoders part: there the opening must agree, elsewhere everything.
_OPENING = 8


@dataclass(frozen=True)
class DecodeResult:
    """Greedy decoding of `tokens` new tokens a story, every contestant at its best batch.

    `timed[i].work` is tokens a round, and its ratios are of `BASELINE`: how many times slower than ours the
    contestant is is 1 / ratio. `batches` and `shares` (multiply-adds of the weights alone, as a share of
    the measured peak of one core; None where it wasn't measured) are by contestant; `tried` holds
    tokens a second of processor time for every batch tried; `absent` says who could not take part, and why.
    """

    model: str
    tokens: int
    threads: int
    timed: tuple[Timed, ...]
    batches: dict[str, int]
    tried: dict[str, dict[int, float]]
    shares: dict[str, float | None]
    absent: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict; `slower_than_ours` is processor time a token over ours."""
        rows = []
        for timed in self.timed:
            row = timed.to_json()
            row |= {"batch": self.batches[timed.name], "share_of_peak": self.shares[timed.name]}
            row["tokens_per_cpu_second"] = timed.rate
            row["tried"] = {str(batch): rate for batch, rate in self.tried[timed.name].items()}
            row["slower_than_ours"] = {
                "cpu": [1 / timed.ratio, 1 / timed.ratio_high, 1 / timed.ratio_low],
                "wall": [1 / timed.wall_ratio, 1 / timed.wall_ratio_high, 1 / timed.wall_ratio_low],
            }
            rows.append(row)
        return {
            "model": self.model,
            "tokens": self.tokens,
            "threads": self.threads,
            "contestants": rows,
            "absent": self.absent,
        }


def bench_decode(
    model: StoryModel,
    *,
    peers: list[str] | None = None,
    tokens: int = 128,
    rounds: int = 5,
    threads: int = 1,
    most_stories: int | None = None,
    peaks: Peaks | None = None,
) -> DecodeResult:
    """Time greedy decoding of one prompt, `tokens` new tokens a story, ourselves against `peers`.

    Greedy, so that every contestant must give the reference's tokens (Hugging Face, in float64 where the
    model is float), which is checked after every run. Each runs at the fastest of its batches (`most_stories`
    at most). With `threads` above 1 only those who can use them take part.
    Raises `CheckpointError` when one gives other tokens or a figure is above `peaks`, `InputError` where the
    CPU backend doesn't serve the model, `UnknownNameError` for an unknown peer.
    """
    setting, reference = _setting(model, tokens, threads)
    absent: dict[str, str] = {}
    entries: dict[str, _Entry] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ExitStack() as stack:
            for peer in chosen_peers(peers or []):
                reason = peer.missing(model)
                if reason is None and threads > 1 and not peer.threads:
                    reason = "it runs on one thread"
                if reason is not None:
                    absent[peer.name] = reason
                    continue
                batches = sorted({min(batch, most_stories or batch) for batch in peer.batches})
                entries[peer.name] = _Entry.best(peer, setting, reference, batches, stack)
            if BASELINE not in entries:
                raise InputError(f"{model.name} cannot be benchmarked: {absent[BASELINE]}.")
            timed = contest(
                {name: entry.run for name, entry in entries.items()},
                baseline=BASELINE,
                rounds=rounds,
                work={name: float(entry.stories * tokens) for name, entry in entries.items()},
                check=lambda name: entries[name].check(),
            )
    finally:
        torch.set_num_threads(before)
    shares: dict[str, float | None] = {}
    for one in timed:
        adds = one.rate * multiply_adds(model)
        shares[one.name] = None if peaks is None else peaks.check(one.name, adds, ternary=model.bits < 16)
    return DecodeResult(
        model.name,
        tokens,
        threads,
        timed,
        {name: entry.stories for name, entry in entries.items()},
        {name: entry.tried for name, entry in entries.items()},
        shares,
        absent,
    )


def multiply_adds(model: StoryModel) -> int:
    """Multiply-adds a token of the blocks' matrices and the unembedding (attention left out)."""
    return model.config.n_block_parameters + model.config.d_vocab * model.config.d_model


@dataclass
class _Entry:
    """A contestant set up at its best batch."""

    peer: Peer
    setting: Setting
    reference: np.ndarray
    stories: int
    prepared: Run
    output: Output
    tried: dict[int, float]

    @classmethod
    def best(
        cls, peer: Peer, setting: Setting, reference: np.ndarray, batches: list[int], stack: ExitStack
    ) -> _Entry:
        """Try every batch once, after a run that isn't counted, and keep the fastest."""
        tried: dict[int, float] = {}
        if len(batches) > 1:
            for stories in batches:
                with peer.prepare(setting, stories) as prepared:
                    entry = cls(
                        peer, setting, reference, stories, prepared, peer.output(stories, setting.tokens), {}
                    )
                    entry.run()
                    begun = processor_seconds()
                    entry.run()
                    tried[stories] = stories * setting.tokens / (processor_seconds() - begun)
                    entry.check()
        stories = max(tried, key=lambda batch: tried[batch]) if tried else batches[0]
        prepared = stack.enter_context(peer.prepare(setting, stories))
        return cls(peer, setting, reference, stories, prepared, peer.output(stories, setting.tokens), tried)

    def run(self) -> None:
        """One run into an output that was spoilt first."""
        self.output.spoil()
        self.prepared(self.output)

    def check(self) -> None:
        """Raises `CheckpointError` unless the output is the reference, story by story."""
        model = self.setting.model
        if self.output.texts is not None:
            whole = model.decode([*self.setting.ids, *self.reference.tolist()])
            right = self.output.texts == [whole] * self.stories
        else:
            until = len(self.reference) if model.bits > 2 else _OPENING
            right = bool((self.output.tokens[:, :until] == self.reference[:until]).all())
            # Nothing may be left out after the opening either.
            right &= bool((self.output.tokens >= 0).all())
        if not right:
            raise CheckpointError(
                f"Greedy decoding disagrees between {self.peer.name} and the reference on {model.name}: one "
                "of them is wrong."
            )


def _setting(model: StoryModel, tokens: int, threads: int) -> tuple[Setting, np.ndarray]:
    """The first prompt whose likeliest story has all the tokens, and that story."""
    for prompt in PROMPTS:
        # A model without a tokenizer gets token ids: any will do.
        ids = list(range(1, 6)) if model.tokenizer is None else model.encode(prompt)
        if len(ids) + tokens > model.context:
            raise InputError(
                f"{tokens} new tokens do not fit the context of {model.name}, {model.context}: ask for fewer."
            )
        reference = _reference(model, ids, tokens)
        if model.eos_id not in reference:
            return Setting(model, prompt, tuple(ids), tokens, threads), reference
    raise InputError(
        f"The likeliest stories of {model.name} end before {tokens} tokens: ask for fewer (--tokens)."
    )


def _reference(model: StoryModel, ids: list[int], tokens: int) -> np.ndarray:
    import copy

    network: Any = model.network
    if model.bits > 2:
        network = copy.deepcopy(network).double()
    with torch.no_grad():
        new = network.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    return new[0, len(ids) :].numpy()
