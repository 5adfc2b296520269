"""Measure the CPU backend beside torch and Hugging Face: `python -m tinyalign.engine.cpu.measure MODEL`.

Every contestant samples in turn, round after round, in one process on one thread. Ratios are of process CPU
time a token (a busy machine disturbs wall time more) within one round; a line gives their median and range.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tinyalign.engine import sample, score_continuations
from tinyalign.engine.cpu.weights import CpuModel
from tinyalign.models import StoryModel, load
from tinyalign.models.story_model import make_story_model
from tinyalign.ternary import ternary_layers

PROMPT = "Once upon a time"
NEW_TOKENS = 128
WHO = ("Lily", "Tom", "Mia", "Sam", "Anna", "Ben", "Sue", "Max")
WHAT = (
    "wanted to climb the old tree",
    "found a shiny red ball",
    "was hungry after a long walk",
    "did not want to go to bed",
    "saw a big cat in the garden",
    "asked mom for one more cookie",
    "went to the lake with dad",
    "broke the blue cup by accident",
)
MIDDLE = "Mom came out of the house and said in a calm voice"
FEELINGS = (" sad", " happy", " angry", " very sad", " so happy", " tired", " a little cross", " proud")


@dataclass(frozen=True)
class Measured:
    """Tokens a second of CPU time (`speed`) and of wall time, medians of the rounds, and how much slower a
    token is than one of the first contestant: median, least and most of the rounds' CPU-time ratios.
    """

    name: str
    speed: float
    wall_speed: float
    ratio: float
    least: float
    most: float

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def measure(contestants: dict[str, Callable[[], int]], rounds: int) -> list[Measured]:
    """Run every contestant (it returns the tokens it made) once untimed, then `rounds` times in turn."""
    for run in contestants.values():
        run()
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            begun, clock = time.process_time(), time.perf_counter()
            tokens = run()
            cpu[name].append((time.process_time() - begun) / tokens)
            wall[name].append((time.perf_counter() - clock) / tokens)
    first = cpu[next(iter(contestants))]
    found = []
    for name in contestants:
        ratios = [other / own for other, own in zip(cpu[name], first, strict=True)]
        found.append(
            Measured(
                name,
                1 / statistics.median(cpu[name]),
                1 / statistics.median(wall[name]),
                statistics.median(ratios),
                min(ratios),
                max(ratios),
            )
        )
    return found


def contestants(model: StoryModel, stories: int, batches: list[int]) -> dict[str, Callable[[], int]]:
    """The CPU backend first (`stories` stories), torch and Hugging Face at each of `batches`.

    A ternary model also runs with the same weights as float matrices on the CPU backend.
    """
    network: Any = model.network
    ids = torch.tensor([model.encode(PROMPT)])

    def ours(which: StoryModel, n: int, backend: str, batch: int, **more: Any) -> int:
        arguments: dict[str, Any] = {"n": n, "max_new_tokens": NEW_TOKENS, "batch_size": batch, **more}
        return sum(len(s.tokens) + 1 for s in sample(which, PROMPT, backend=backend, **arguments))

    def hugging_face(batch: int) -> int:
        out = network.generate(
            ids.expand(batch, -1),
            max_new_tokens=NEW_TOKENS,
            do_sample=True,
            eos_token_id=None,
            pad_token_id=0,
        )
        return batch * (out.shape[1] - ids.shape[1])

    runs: dict[str, Callable[[], int]] = {"cpu backend": lambda: ours(model, stories, "cpu", stories)}
    runs["cpu backend, int8 cache"] = lambda: ours(model, stories, "cpu", stories, cache="int8")
    if model.bits < 16:
        plain = _float_copy(model)
        runs["cpu backend, float weights"] = lambda: ours(plain, stories, "cpu", stories)
    for batch in batches:
        runs[f"torch backend, batch {batch}"] = lambda batch=batch: ours(model, batch, "torch", batch)
        runs[f"Hugging Face generate, batch {batch}"] = lambda batch=batch: hugging_face(batch)
    return runs


def scorers(model: StoryModel, batches: list[int]) -> dict[str, Callable[[], int]]:
    """Scoring of 64 prompts with 8 continuations each; the tokens counted are those of the prompts."""
    prompts = [f'One day, {who} {what}. {MIDDLE}, "No, {who}." {who} felt' for who in WHO for what in WHAT]
    tokens = sum(len(model.encode(prompt)) for prompt in prompts)

    def score(**options: Any) -> int:
        score_continuations(model, prompts, [FEELINGS] * len(prompts), **options)
        return tokens

    runs: dict[str, Callable[[], int]] = {"scoring, cpu backend": lambda: score(backend="cpu")}
    for batch in batches:
        runs[f"scoring, torch, batch {batch}"] = lambda batch=batch: score(backend="torch", batch_size=batch)
    return runs


def _float_copy(model: StoryModel) -> StoryModel:
    """The same effective weights as plain float linears, activations unquantised."""
    network: Any = copy.deepcopy(model.network)
    for name, layer in ternary_layers(network).items():
        plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.weight.data.copy_(layer.weight)
        if layer.bias is not None:
            plain.bias.data.copy_(layer.bias)
        network.set_submodule(name, plain)
    return make_story_model(network, model.tokenizer, source=model.source, name=f"{model.name} as floats")


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description="Speed of the CPU backend beside torch and Hugging Face.")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stories", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="*", default=[64, 512], help="of torch and Hugging Face")
    parser.add_argument("--score", action="store_true", help="measure scoring instead of sampling")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = load(chosen.model)
    if chosen.score:
        found = measure(scorers(model, chosen.batches), chosen.rounds)
    else:
        found = measure(contestants(model, chosen.stories, chosen.batches), chosen.rounds)
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    instructions = CpuModel(model).instructions
    if chosen.json:
        rows = [row.to_json() for row in found]
        print(json.dumps({"instructions": instructions, "load": load_average, "rows": rows}, indent=2))
        return
    work = "scoring" if chosen.score else f"{NEW_TOKENS} new tokens"
    print(f"{model.name}, {work}, {instructions}, load average {load_average}, one thread")
    for row in found:
        print(
            f"{row.name:38} {row.speed:9.0f} tokens/s of CPU time ({row.wall_speed:.0f} of wall time), the "
            f"first is {row.ratio:.2f} times as fast ({row.least:.2f} to {row.most:.2f})"
        )


if __name__ == "__main__":
    main()
