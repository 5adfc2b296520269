"""End-to-end decoding: tinyalign's sampler against its peers, same model, same prompt, same tokens."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from tinyalign.bench.caches import MeasuredCost
from tinyalign.bench.device_peaks import DevicePeaks
from tinyalign.bench.entries import Entry, Trial, best_entry
from tinyalign.bench.judging import Agreement, Judge
from tinyalign.bench.peaks import Peaks
from tinyalign.bench.peers import Peer, Setting, chosen_peers
from tinyalign.bench.timing import Clock, Timed, contest, synchronizer
from tinyalign.common.errors import InputError
from tinyalign.models import StoryModel

PROMPTS = ("Once upon a time", "Lily had a red ball.", "Tom and his mom went to the park.", "The dog")
BASELINE = "tinyalign, cpu"
# Of ours, the first that is there is what the others are compared with.
_BASELINES = ("tinyalign", "tinyalign-cuda", "tinyalign-static", "tinyalign-torch")


@dataclass(frozen=True)
class Standing:
    """One contestant's result.

    `share_of_peak`: multiply-adds of the weights alone a second, as a share of the measured peak of the cores
    that it may use, or of the device; None where it wasn't measured. `remark`: what a reader must know.
    """

    timed: Timed
    batch: int
    trial: Trial
    agreement: Agreement
    share_of_peak: float | None
    remark: str | None

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict; `slower_than_ours` is time a token over the baseline's."""
        return {
            **self.timed.to_json(),
            "batch": self.batch,
            "share_of_peak": self.share_of_peak,
            "tried": {str(batch): rate for batch, rate in self.trial.rates.items()},
            "no_larger_batch": self.trial.ended,
            "agreement": self.agreement.to_json(),
            "remark": self.remark,
            "slower_than_ours": {"cpu": self.timed.slower("cpu"), "wall": self.timed.slower("wall")},
        }


@dataclass(frozen=True)
class DecodeResult:
    """Greedy decoding of `tokens` new tokens a story, every contestant at its best batch.

    `clock` says which time counts: processor time on one thread, wall time on several or on a GPU. Ratios are
    of `baseline`: how many times slower than ours a contestant is is 1 / ratio. `absent` says who could
    not take part or was refused, and why; `cache_cost` what the int8 cache costs in nats, where it took part.
    """

    model: str
    device: str
    tokens: int
    threads: int
    clock: Clock
    baseline: str
    standings: tuple[Standing, ...]
    absent: dict[str, str]
    cache_cost: MeasuredCost | None = None

    def standing(self, name: str) -> Standing:
        """The contestant of that name; raises `KeyError` where it did not take part."""
        found = {standing.timed.name: standing for standing in self.standings}
        return found[name]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return {
            "model": self.model,
            "device": self.device,
            "tokens": self.tokens,
            "threads": self.threads,
            "clock": self.clock,
            "baseline": self.baseline,
            "contestants": [standing.to_json() for standing in self.standings],
            "absent": self.absent,
            "int8_cache_cost": None if self.cache_cost is None else self.cache_cost.to_json(),
        }


def bench_decode(
    model: StoryModel,
    *,
    peers: list[str] | None = None,
    tokens: int = 128,
    rounds: int = 5,
    threads: int = 1,
    most_stories: int | None = None,
    peaks: Peaks | DevicePeaks | None = None,
    longest: float = 12.0,
    cache_cost: MeasuredCost | None = None,
    known: DecodeResult | None = None,
    least: float = 0.0,
) -> DecodeResult:
    """Time greedy decoding of one prompt, `tokens` new tokens a story, ourselves against `peers`.

    On the device that the model is on. Greedy, so that every contestant's story can be judged after every
    run (see `tinyalign.bench.judging`). Each runs at the fastest of its batches (`most_stories` at most, and
    none that takes more than `longest` seconds a run; the search begins one below the batch that was best in
    `known`, a contest on one thread, if it is given); `least` as in `contest`. With `threads` above 1 only
    those who can use them take part. A peer that is wrong or cannot run here is left out, with the reason.
    Raises `CheckpointError` when ours tells another story or a figure is above `peaks`, `InputError` where no
    backend of ours serves the model, `UnknownNameError` for an unknown peer.
    """
    chosen = chosen_peers(peers or [], model.device.type)
    judge = _judge(model, tokens, threads)
    clock: Clock = "cpu" if threads == 1 and model.device.type == "cpu" else "wall"
    absent: dict[str, str] = {}
    entries: dict[str, Entry] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ExitStack() as stack:
            for peer in chosen:
                reason = _reason(peer, model, threads)
                if reason is None:
                    batches = _batches(peer, most_stories, known)
                    own = judge if peer.function is None else judge.of(peer.function(model))
                    found = best_entry(peer, own, batches, stack, clock=clock, longest=longest, least=least)
                    if isinstance(found, Entry):
                        entries[peer.name] = found
                        continue
                    reason = found
                absent[peer.name] = reason
            baseline = _baseline(model, entries, absent)
            timed = contest(
                {name: entry.run for name, entry in entries.items()},
                baseline=baseline,
                rounds=rounds,
                work={name: entry.work for name, entry in entries.items()},
                check=lambda name: entries[name].check(),
                # What a GPU's graphs were captured for was the last batch tried, which need not be the best.
                warmed=model.device.type == "cpu",
                wait=synchronizer(model.device),
                least=least,
            )
    finally:
        torch.set_num_threads(before)
    return DecodeResult(
        model.name,
        model.device.type,
        tokens,
        threads,
        clock,
        baseline,
        tuple(_standing(one, entries[one.name], clock, peaks) for one in timed),
        absent,
        cache_cost if any(entry.peer.key == "tinyalign-int8-cache" for entry in entries.values()) else None,
    )


def multiply_adds(model: StoryModel) -> int:
    """Multiply-adds a token of the blocks' matrices and the unembedding (attention left out)."""
    return model.config.n_block_parameters + model.config.d_vocab * model.config.d_model


def _reason(peer: Peer, model: StoryModel, threads: int) -> str | None:
    if threads > 1 and not peer.threads:
        return "it runs on one thread"
    return peer.missing(model)


def _batches(peer: Peer, most: int | None, known: DecodeResult | None) -> list[int]:
    """The batches of `peer` to try, from the one below its best in `known` on."""
    batches = sorted({min(batch, most or batch) for batch in peer.batches})
    best = next((s.batch for s in known.standings if s.timed.name == peer.name), 0) if known else 0
    smaller = [batch for batch in batches if batch < best]
    return batches[max(len(smaller) - 1, 0) :]


def _baseline(model: StoryModel, entries: dict[str, Entry], absent: dict[str, str]) -> str:
    by_key = {entry.peer.key: name for name, entry in entries.items()}
    found = next((by_key[key] for key in _BASELINES if key in by_key), None)
    if found is None:
        raise InputError(f"{model.name} cannot be benchmarked: {next(iter(absent.values()))}")
    return found


def _standing(timed: Timed, entry: Entry, clock: Clock, peaks: Peaks | DevicePeaks | None) -> Standing:
    model, share = entry.judge.setting.model, None
    if peaks is not None:
        adds = timed.rate(clock) * multiply_adds(model) / entry.judge.setting.threads
        share = peaks.check(timed.name, adds, ternary=model.bits < 16 or entry.peer.integers)
    assert entry.agreement is not None
    return Standing(timed, entry.stories, entry.trial, entry.agreement, share, entry.peer.remark(model))


def _judge(model: StoryModel, tokens: int, threads: int) -> Judge:
    """Of the first prompt whose likeliest story has no token that ends one: llama2.c would stop there."""
    judges = []
    for prompt in PROMPTS:
        # A model without a tokenizer gets token ids: any will do.
        ids = list(range(1, 6)) if model.tokenizer is None else model.encode(prompt)
        if len(ids) + tokens > model.context:
            raise InputError(
                f"{tokens} new tokens do not fit the context of {model.name}, {model.context}: ask for fewer."
            )
        judges.append(Judge(Setting(model, prompt, tuple(ids), tokens, threads)))
        if not {model.bos_id, model.eos_id} & set(judges[-1].reference.tolist()):
            return judges[-1]
    return judges[0]
