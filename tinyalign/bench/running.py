"""The whole benchmark: peaks, layers, decoding, scoring, profile, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tinyalign.bench.caches import MeasuredCost, measured_cost
from tinyalign.bench.decode import DecodeResult, bench_decode
from tinyalign.bench.device_peaks import DevicePeaks, measure_device_peaks
from tinyalign.bench.linear import CUDA_ROWS, ROWS, SIZES, LinearResult, bench_linear
from tinyalign.bench.peaks import Peaks, measure_peaks
from tinyalign.bench.peers import chosen_peers
from tinyalign.bench.profile import Profile, profile_decode
from tinyalign.bench.scoring import ScoreResult, bench_score
from tinyalign.bench.shapes import NEO_1M, TERNARY_1M, loaded
from tinyalign.common.doctor import examine
from tinyalign.common.errors import InputError, unknown_name
from tinyalign.models import StoryModel
from tinyalign.models.catalogue import shared_model

PARTS = ("linear", "decode", "score", "profile")
# Torch reads it before its own settings.
_TF32 = "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"

Progress = Callable[[Iterable[Any], int, str], Iterator[Any]]


@dataclass(frozen=True)
class Plan:
    """What to run: `only` of `PARTS`; the other fields as in `bench_decode` and the other parts.

    `quick` takes small batches, one layer size and no profile. Raises `InputError` for values out of range,
    unknown devices or one that is not there, `UnknownNameError` for an unknown part or peer.
    """

    models: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    device: str = "cpu"
    tokens: int = 128
    rounds: int = 5
    threads: int = 1
    most_stories: int | None = None
    longest: float = 12.0
    only: Sequence[str] = PARTS
    quick: bool = False

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise InputError(f"Device {self.device!r} is unknown: expected cpu or cuda.")
        if self.tokens < 1 or self.threads < 1 or self.rounds < 3:
            raise InputError(
                f"tokens {self.tokens}, threads {self.threads}, rounds {self.rounds}: expected 1, 1 and 3 or "
                "more."
            )
        if not self.only:
            raise InputError(f"No part of the benchmark was asked for: expected some of {', '.join(PARTS)}.")
        for part in self.only:
            if part not in PARTS:
                raise unknown_name("part of the benchmark", part, list(PARTS))
        if self.most_stories is not None and self.most_stories < 1:
            raise InputError(f"At most {self.most_stories} stories side by side: expected 1 or more.")
        if not self.longest > 0:
            raise InputError(f"Runs of at most {self.longest} seconds: expected more than 0.")
        chosen_peers(list(self.peers), self.device)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("No CUDA device is visible here: use --device cpu.")
        if self.device == "cuda" and os.environ.get(_TF32) == "1":
            raise InputError(f"{_TF32}=1 makes products of floats inexact: unset it for a benchmark.")

    @property
    def names(self) -> list[str]:
        """The models, by default those that are here."""
        here = ["stories260K"] if shared_model("stories260K") else []
        return list(self.models) or [*here, "ternary", TERNARY_1M, NEO_1M]

    @property
    def least(self) -> float:
        """Seconds that a contestant runs in a round of decoding or scoring, at least."""
        return 0.0 if self.quick else 1.0

    @property
    def threads_to_try(self) -> list[int]:
        """One, and all; on a GPU one."""
        return [1] if self.device == "cuda" else sorted({1, self.threads})


@dataclass(frozen=True)
class BenchResult:
    """All that was measured; `absent` says which models could not take part in which part, and why."""

    machine: dict[str, Any]
    peaks: Peaks | DevicePeaks
    linear: list[LinearResult] = field(default_factory=list)
    decode: list[DecodeResult] = field(default_factory=list)
    score: list[ScoreResult] = field(default_factory=list)
    profile: list[Profile] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        parts = {"linear": self.linear, "decode": self.decode, "score": self.score, "profile": self.profile}
        return {
            "machine": self.machine,
            "peaks": self.peaks.to_json(),
            **{name: [result.to_json() for result in results] for name, results in parts.items()},
            "absent": self.absent,
        }


def run_bench(
    plan: Plan, *, progress: Progress | None = None, keep: Callable[[BenchResult], None] | None = None
) -> BenchResult:
    """Run the plan; `keep` gets what there is after each part. Raises what the contests raise.

    Floats are multiplied as floats on a GPU too, whatever precision torch was set to.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return _run(plan, progress or (lambda items, total, what: iter(items)), keep)
    finally:
        torch.set_float32_matmul_precision(before)


def _run(plan: Plan, show: Progress, keep: Callable[[BenchResult], None] | None) -> BenchResult:
    torch.set_num_threads(1)
    tries = 1 if plan.quick else 5
    peaks = (
        measure_peaks(tries=tries) if plan.device == "cpu" else measure_device_peaks(plan.device, tries=tries)
    )
    models = [loaded(name, plan.device) for name in plan.names]
    result = BenchResult(_machine(), peaks)
    jobs = [*_linear(plan, result), *_decode(plan, result, models), *_score(plan, result, models)]
    jobs += _profile(plan, result, models)
    for job in show(jobs, len(jobs), "benchmark"):
        job()
        if keep is not None:
            keep(result)
    return result


Job = Callable[[], None]


def _linear(plan: Plan, result: BenchResult) -> Iterator[Job]:
    rows = CUDA_ROWS if plan.device == "cuda" else ROWS
    cases = [(count, *size) for size in SIZES for count in rows]
    for case in cases[: 1 if plan.quick else None] if "linear" in plan.only else ():
        yield lambda case=case: result.linear.append(
            bench_linear(*case, rounds=plan.rounds, peers=bool(plan.peers), device=plan.device)
        )


def _decode(plan: Plan, result: BenchResult, models: list[StoryModel]) -> Iterator[Job]:
    def one(model: StoryModel, threads: int) -> None:
        on_one = (found for found in result.decode if found.model == model.name and found.threads == 1)
        result.decode.append(
            bench_decode(
                model,
                peers=list(plan.peers),
                tokens=plan.tokens,
                rounds=plan.rounds,
                threads=threads,
                most_stories=8 if plan.quick else plan.most_stories,
                peaks=result.peaks,
                longest=plan.longest,
                cache_cost=_cost(plan, model),
                known=next(on_one, None),
                least=plan.least,
            )
        )

    if "decode" in plan.only:
        for model in models:
            for threads in plan.threads_to_try:
                yield lambda model=model, threads=threads: one(model, threads)


def _cost(plan: Plan, model: StoryModel) -> MeasuredCost | None:
    """None where the decoder with the int8 cache doesn't take part."""
    if plan.device != "cpu":
        return None
    try:
        return measured_cost(model, 4 if plan.quick else 64)
    except InputError:
        # Its contestant is absent for the same reason, which is told there.
        return None


def _score(plan: Plan, result: BenchResult, models: list[StoryModel]) -> Iterator[Job]:
    for model in models if "score" in plan.only else ():
        if model.tokenizer is None:
            result.absent[f"score {model.name}"] = "it takes token ids only, and text is scored"
            continue
        for threads in plan.threads_to_try:
            yield lambda model=model, threads=threads: result.score.append(
                bench_score(model, rounds=plan.rounds, threads=threads, quick=plan.quick, least=plan.least)
            )


def _profile(plan: Plan, result: BenchResult, models: list[StoryModel]) -> Iterator[Job]:
    peaks = result.peaks
    if "profile" not in plan.only or plan.quick or not isinstance(peaks, Peaks):
        return
    for model in models:
        if model.config.architecture != "LlamaForCausalLM" or model.config.n_layers < 2:
            result.absent[f"profile {model.name}"] = "Llama models of two blocks or more are profiled"
            continue
        yield lambda model=model: result.profile.append(
            profile_decode(model, tokens=plan.tokens, peaks=peaks)
        )


def _machine() -> dict[str, Any]:
    return {
        **examine().facts,
        "processor": _processor(),
        "load average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    """The processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
