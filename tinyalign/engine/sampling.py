"""Sampling stories in batches: story i is the same whatever the batch size, the order or the backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tinyalign.common.arguments import real, strings, whole
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.engine.backend import sampling_backend
from tinyalign.models import StoryModel

Cache = Literal["float32", "int8"]
StopReason = Literal["end", "stop", "length", "context"]


@dataclass(frozen=True)
class Sampling:
    """How to draw a token.

    `temperature` 0 is greedy; `top_k` keeps the k likeliest tokens, `top_p` the fewest whose probability
    reaches p (ties by token id). Raises `InputError` on values out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        temperature = real("The temperature", self.temperature)
        if not (temperature >= 0 and np.isfinite(temperature)):
            raise InputError(f"Temperature {self.temperature} cannot be used: expected 0 (greedy) or more.")
        if self.top_k is not None and whole("top_k", self.top_k) < 1:
            raise InputError(f"top_k {self.top_k} cannot be used: expected 1 or more.")
        if self.top_p is not None and not 0 < real("top_p", self.top_p) <= 1:
            raise InputError(f"top_p {self.top_p} cannot be used: expected a number above 0 and up to 1.")


@dataclass(frozen=True)
class Story:
    """One sampled continuation.

    `index` is its number in the run, `text` what follows `prompt`, `tokens` the new tokens (without the
    end-of-story token), `stopped` why it ended: the end-of-story token, a stop string (left out of
    `text`), `max_new_tokens`, or the model's context.
    """

    index: int
    prompt: str
    text: str
    tokens: tuple[int, ...]
    stopped: StopReason

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


@dataclass(frozen=True)
class Request:
    """What to sample: `each` continuations of every prompt, given as text and as token ids.

    `seed` keys the draws, `stories` are the consecutive indices to sample of all those, None for all.
    """

    texts: list[str]
    encoded: list[list[int]]
    each: int
    limit: int
    draw: Sampling
    stop: tuple[str, ...]
    seed: int
    stories: range | None = None
    cache: Cache = "float32"

    @property
    def chosen(self) -> range:
        """The indices to sample."""
        return range(len(self.encoded) * self.each) if self.stories is None else self.stories


@dataclass
class Row:
    """A story under way: the first `start` of its tokens are the prompt's."""

    index: int
    prompt: str
    start: int
    tokens: list[int]


def sample(
    model: StoryModel,
    prompts: str | Sequence[str | Sequence[int]],
    *,
    n: int = 1,
    max_new_tokens: int = 200,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    seed: int = 0,
    coupled: bool = True,
    batch_size: int | None = None,
    backend: str = "auto",
    threads: int = 1,
    cache: Cache = "float32",
    stories: range | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[Story]:
    """Yield `n` continuations of each prompt (text or token ids), in the order of their index.

    Stories are numbered prompt by prompt; `stories` asks for consecutive ones only, by index in the whole
    run: what a shard of it samples. `progress(done, of)` is called after every story.

    Story i draws its token at position p with the Philox number of (seed, i, p), so it does not depend on
    batch size, order, backend or threads, up to floating-point ties between tokens.
    Between backends a ternary model's story parts more often: rounding activations to int8 turns a last bit
    into a whole code.

    With `coupled` (the default) the numbers belong to no model: two models sampled with one seed turn the
    same uniforms into tokens by inverse transform over token ids, so that equal models tell equal stories
    and the differences of paired stories come from the models. Without, the identity of the model
    (`model.sha256`, which an edit in place does not change) enters the key and its stories are independent of
    another model's.

    `backend` is one of
    * "cpu", the fused C++ decoder of `tinyalign.engine.cpu` (float32 Llama and GPT-Neo models on the CPU,
      `threads` blocks of at most 32 stories);
    * "cuda", the persistent kernel of `tinyalign.engine.cuda` (float32 Llama models on a GPU);
    * "static", PyTorch with static caches (Llama and GPT-Neo on either, as CUDA graphs on a GPU);
    * "torch", plain PyTorch, for any model;
    * "auto", the first of these that is made for the model's device and serves it; a warning says why where
      that isn't the fastest.

    `batch_size` bounds how many stories are under way at once; None leaves that to the backend.
    `cache="int8"` makes the fused decoders keep keys and values as int8 with a scale for each token and head:
    another distribution (see `tinyalign.engine.cpu.cache_cost`), faster for long stories. The two round
    differently: with it their stories part.

    Raises `InputError`, before anything is sampled, for an empty prompt of a model without a
    beginning-of-story token, a prompt that leaves no room in the context, unknown tokens, parameters out of
    range, or a backend asked for by name that cannot run here; `CheckpointError` when the model gives logits
    that are not finite.
    """
    draw = Sampling(temperature, top_k, top_p)
    n, max_new_tokens = whole("n", n), whole("max_new_tokens", max_new_tokens)
    threads, seed = whole("threads", threads), whole("The seed", seed)
    batch_size = None if batch_size is None else whole("batch_size", batch_size)
    stop = strings("stop", stop)
    if n < 1 or max_new_tokens < 1 or (batch_size is not None and batch_size < 1) or threads < 1:
        raise InputError(
            f"n {n}, max_new_tokens {max_new_tokens}, batch_size {batch_size}, threads {threads}: "
            "expected 1 or more."
        )
    if any(not text for text in stop):
        raise InputError("An empty stop string would end every story at once: leave it out.")
    if cache not in ("float32", "int8"):
        raise InputError(f"A cache of {cache!r} is unknown: expected float32 or int8.")
    given = _prompts(prompts)
    encoded = [_encode(model, prompt) for prompt in given]
    texts = [prompt if isinstance(prompt, str) else _text(model, prompt) for prompt in given]
    chosen = range(len(given) * n) if stories is None else stories
    if chosen.step != 1 or not 0 <= chosen.start <= chosen.stop <= len(given) * n:
        raise InputError(f"Stories {chosen} were asked for of {len(given) * n}: expected consecutive ones.")
    key = seed if coupled else derive_seed("sample one model", seed, model.sha256)
    request = Request(texts, encoded, n, max_new_tokens, draw, stop, key, chosen, cache)
    found = _run(model, request, sampling_backend(model, backend, cache), batch_size, threads)
    return found if progress is None else _reported(found, len(chosen), progress)


# Stories under way at once where the caller does not say, by backend and kind of device.
_BATCHES = {("torch", "cpu"): 64, ("torch", "cuda"): 256, ("static", "cpu"): 64, ("static", "cuda"): 1024}


def _run(
    model: StoryModel, request: Request, backend: str, batch_size: int | None, threads: int
) -> Iterator[Story]:
    if request.cache != "float32" and backend not in ("cpu", "cuda"):
        raise InputError(
            f"The {backend} backend has no int8 cache, only the cpu and cuda backends do: leave cache out."
        )
    if backend == "cpu":
        from tinyalign.engine.cpu.sampling import LANES
        from tinyalign.engine.cpu.sampling import run as run_on_cpu

        return run_on_cpu(model, request, batch_size=batch_size or LANES, threads=threads)
    if backend == "cuda":
        from tinyalign.engine.cuda.sampling import run as run_on_cuda

        return run_on_cuda(model, request, batch_size=batch_size)
    size = batch_size or _BATCHES.get((backend, model.device.type), 64)
    if backend == "static":
        from tinyalign.engine.static.sampling import run as run_static

        return run_static(model, request, batch_size=size)
    from tinyalign.engine.sampling_torch import run

    return run(model, request, batch_size=size)


def _reported(found: Iterator[Story], total: int, progress: Callable[[int, int], object]) -> Iterator[Story]:
    for done, story in enumerate(found, 1):
        progress(done, total)
        yield story


def not_finite() -> CheckpointError:
    """The sentence for a model whose logits cannot be sampled."""
    return CheckpointError(
        "The model gave logits that are not finite: its weights are damaged or its dtype overflows; "
        "check the checkpoint or use float32."
    )


def finish(model: StoryModel, row: Row, stopped: StopReason, cut: int | None) -> Story:
    """The story of an ended row; `cut` characters of its text stand before a stop string."""
    new = tuple(row.tokens[row.start :])
    text = ""
    if model.tokenizer is not None:
        # Decoded with its prompt and cut: many tokenizers drop the space before a first token.
        text = model.decode(row.tokens)[len(model.decode(row.tokens[: row.start])) :]
    return Story(row.index, row.prompt, text if cut is None else text[:cut], new, stopped)


def _prompts(prompts: str | Sequence[str | Sequence[int]]) -> list[str | Sequence[int]]:
    if isinstance(prompts, str):
        return [prompts]
    given = list(prompts)
    if any(not isinstance(prompt, str) and not hasattr(prompt, "__iter__") for prompt in given):
        raise InputError("Prompts are texts or lists of token ids: give token ids as a list in a list.")
    return given


def _encode(model: StoryModel, prompt: str | Sequence[int]) -> list[int]:
    ids = model.encode(prompt) if isinstance(prompt, str) else [whole("A token id", t) for t in prompt]
    if not ids:
        raise InputError(
            "The prompt is empty and this model has no token that begins a story: give at least one word."
        )
    if not all(0 <= token < model.config.d_vocab for token in ids):
        raise InputError(
            f"A token id of the prompt is unknown to {model.name}: expected 0 to {model.config.d_vocab - 1}."
        )
    if len(ids) >= model.context:
        raise InputError(
            f"The prompt has {len(ids)} tokens but the model reads {model.context} at most, the story "
            "included: shorten it."
        )
    return ids


def _text(model: StoryModel, ids: Sequence[int]) -> str:
    return "" if model.tokenizer is None else model.decode(list(ids))
