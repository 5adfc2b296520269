"""The whole benchmark: peaks, layers, decoding, profile, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from tinyalign.bench.decode import DecodeResult, bench_decode
from tinyalign.bench.linear import ROWS, SIZES, LinearResult, bench_linear
from tinyalign.bench.peaks import measure_peaks
from tinyalign.bench.peers import chosen_peers
from tinyalign.bench.profile import Profile, profile_decode
from tinyalign.bench.shapes import NEO_1M, random_neo
from tinyalign.common.doctor import examine
from tinyalign.common.errors import InputError, unknown_name
from tinyalign.models import StoryModel, load
from tinyalign.models.catalogue import embedded_names, shared_model

PARTS = ("linear", "decode", "profile")

Progress = Callable[[Iterable[Any], int, str], Iterator[Any]]


def run_bench(
    models: list[str],
    peers: list[str],
    *,
    device: str = "cpu",
    tokens: int = 128,
    rounds: int = 5,
    threads: int = 1,
    most_stories: int | None = None,
    only: Sequence[str] = PARTS,
    quick: bool = False,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], list[LinearResult], list[DecodeResult]]:
    """(figures as a JSON-able dict, layers, decoding) of `models`, by default those that are here.

    A model may also be `random-neo-1M`, random weights of a published shape. `only` says which of `PARTS`
    to run; `quick` takes small batches, one layer size and no profile. Raises `InputError` for arguments out
    of range or a device that cannot be measured, and what the contests raise.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"Device {device!r} is unknown: expected cpu or cuda.")
    if device == "cuda":
        raise InputError("The decoding benchmark has no CUDA contestants yet: use --device cpu.")
    if tokens < 1 or threads < 1 or rounds < 3:
        raise InputError(f"tokens {tokens}, threads {threads}, rounds {rounds}: expected 1, 1 and 3 or more.")
    for part in only:
        if part not in PARTS:
            raise unknown_name("part of the benchmark", part, list(PARTS))
    if most_stories is not None and most_stories < 1:
        raise InputError(f"At most {most_stories} stories side by side: expected 1 or more.")
    chosen_peers(peers)
    show = progress or (lambda items, total, what: iter(items))
    torch.set_num_threads(1)
    peaks = measure_peaks()
    cases = [(rows, d_in, d_out) for d_in, d_out in SIZES for rows in ROWS][: 1 if quick else None]
    if "linear" not in only:
        cases = []
    layers = (bench_linear(*case, rounds=rounds, peers=bool(peers)) for case in cases)
    linear: list[LinearResult] = list(show(layers, len(cases), "linear layers"))
    names = models or [*embedded_names(), *(["stories260K"] if shared_model("stories260K") else []), NEO_1M]
    loaded = {name: random_neo() if name == NEO_1M else load(name, device="cpu") for name in names}
    contests = [(name, count) for name in names for count in sorted({1, threads})]
    if "decode" not in only:
        contests = []

    def decode_one(name: str, count: int) -> DecodeResult:
        return bench_decode(
            loaded[name],
            peers=peers,
            tokens=tokens,
            rounds=rounds,
            threads=count,
            most_stories=8 if quick else most_stories,
            peaks=peaks if count == 1 else None,
        )

    decode: list[DecodeResult] = list(show((decode_one(*one) for one in contests), len(contests), "decoding"))
    profiled = (
        [] if quick or "profile" not in only else [one for one in loaded.values() if _can_be_profiled(one)]
    )
    profiles: list[Profile] = list(
        show((profile_decode(one, tokens=tokens, peaks=peaks) for one in profiled), len(profiled), "profile")
    )
    figures: dict[str, Any] = {
        "machine": {
            **examine().facts,
            "processor": _processor(),
            "load average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        },
        "peaks": peaks.to_json(),
        "linear": [result.to_json() for result in linear],
        "decode": [result.to_json() for result in decode],
        "profile": [profile.to_json() for profile in profiles],
    }
    return figures, linear, decode


def _processor() -> str:
    """The processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def _can_be_profiled(model: StoryModel) -> bool:
    return model.config.architecture == "LlamaForCausalLM" and model.config.n_layers > 1
