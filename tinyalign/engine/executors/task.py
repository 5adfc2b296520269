"""What a shard computes: plain records that travel to any process, models by place and identity."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyalign.common.arguments import strings
from tinyalign.common.errors import CheckpointError, InputError
from tinyalign.engine.backend import made_for
from tinyalign.engine.sampling import Sampling, Story, sample
from tinyalign.engine.score import score_continuations, score_texts
from tinyalign.models import StoryModel, load


@dataclass(frozen=True)
class Source:
    """Where every worker finds a model: an embedded name or a path that they all see, and its identity."""

    place: str
    sha256: str

    def model(self) -> StoryModel:
        """The model on the CPU, loaded once a process; `CheckpointError` when it is another one there."""
        # Two threads of one process that import transformers at once disturb each other.
        with _loading:
            return _loaded(self.place, self.sha256)


_loading = threading.Lock()


@functools.lru_cache(maxsize=2)
def _loaded(place: str, sha256: str) -> StoryModel:
    model = load(place, device="cpu")
    if model.sha256 != sha256:
        raise CheckpointError(
            f"The model at {place} has the identity {model.sha256[:16]}, expected {sha256[:16]}: it changed "
            "or this machine has another copy."
        )
    return model


def publish(model: StoryModel, folder: str | Path) -> Source:
    """Save `model` (an edited one, say) where workers will load it from; a folder they all can read."""
    model.save(folder)
    return Source(str(Path(folder).resolve()), model.sha256)


@dataclass(frozen=True)
class Task(ABC):
    """Work on `size` numbered items; a shard is a range of their indices.

    An item's result depends on the task and, in the last bits of scores, on the shard that it is computed
    in, never on who computes it: the backend "auto" is the one that is made for the model, whether or not
    this machine can build it, which raises `InputError` then.
    """

    source: Source

    @property
    @abstractmethod
    def size(self) -> int:
        """How many items there are."""

    @abstractmethod
    def items(self, indices: range) -> list[Any]:
        """The JSON-able results of consecutive items, computed here."""

    @abstractmethod
    def read(self, item: Any) -> Any:
        """An item's result out of its JSON."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything that the results depend on."""
        fields = {**asdict(self), "task": type(self).__name__}
        # The same model may lie elsewhere on another day.
        fields["source"] = self.source.sha256
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def shard(self, indices: range) -> bytes:
        """The results of a shard as canonical JSON, computed here, on one thread."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            items = self.items(indices)
        finally:
            torch.set_num_threads(before)
        return json.dumps(items, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def results(self, shard: bytes) -> list[Any]:
        """The results in a shard's bytes."""
        return [self.read(item) for item in json.loads(shard)]


@dataclass(frozen=True)
class SampleTask(Task):
    """`tinyalign.engine.sample` of `n` stories a prompt; results are `Story`s."""

    prompts: tuple[str, ...]
    n: int = 1
    max_new_tokens: int = 200
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0
    backend: str = "auto"

    def __post_init__(self) -> None:
        Sampling(self.temperature, self.top_k, self.top_p)
        _check_texts(self.prompts, "prompts")
        strings("stop", self.stop)
        if self.n < 1 or self.max_new_tokens < 1:
            raise InputError(f"n {self.n}, max_new_tokens {self.max_new_tokens}: expected 1 or more.")

    @property
    def size(self) -> int:
        """Prompts times `n`."""
        return len(self.prompts) * self.n

    def items(self, indices: range) -> list[Any]:
        """Stories as JSON."""
        model = self.source.model()
        stories = sample(
            model,
            self.prompts,
            n=self.n,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop=self.stop,
            seed=self.seed,
            backend=made_for(model) if self.backend == "auto" else self.backend,
            stories=indices,
        )
        return [story.to_json() for story in stories]

    def read(self, item: Any) -> Story:
        """A `Story`."""
        return Story(**{**item, "tokens": tuple(item["tokens"])})


@dataclass(frozen=True)
class TextTask(Task):
    """`score_texts`; results are tuples of log-probabilities in nats, one of each token after the first."""

    texts: tuple[str, ...]
    backend: str = "auto"

    def __post_init__(self) -> None:
        _check_texts(self.texts, "texts")

    @property
    def size(self) -> int:
        """The number of texts."""
        return len(self.texts)

    def items(self, indices: range) -> list[Any]:
        """Log-probabilities as JSON."""
        model = self.source.model()
        texts = self.texts[indices.start : indices.stop]
        return list(score_texts(model, texts, backend=_scorer(model, self.backend)).log_probs)

    def read(self, item: Any) -> tuple[float, ...]:
        """Log-probabilities of one text's tokens."""
        return tuple(item)


@dataclass(frozen=True)
class ContinuationTask(Task):
    """`score_continuations`; results are tuples of log-probabilities in nats, one of each alternative."""

    prompts: tuple[str, ...]
    continuations: tuple[tuple[str, ...], ...]
    backend: str = "auto"

    def __post_init__(self) -> None:
        _check_texts(self.prompts, "prompts")
        if len(self.prompts) != len(self.continuations):
            raise InputError(
                f"There are {len(self.prompts)} prompts but {len(self.continuations)} lists of continuations."
            )

    @property
    def size(self) -> int:
        """The number of prompts."""
        return len(self.prompts)

    def items(self, indices: range) -> list[Any]:
        """Log-probabilities as JSON."""
        model, part = self.source.model(), slice(indices.start, indices.stop)
        found = score_continuations(
            model, self.prompts[part], self.continuations[part], backend=_scorer(model, self.backend)
        )
        return list(found.log_probs)

    def read(self, item: Any) -> tuple[float, ...]:
        """Log-probabilities of one prompt's alternatives."""
        return tuple(item)


def _scorer(model: StoryModel, backend: str) -> str:
    if backend != "auto":
        return backend
    return "cpu" if made_for(model) == "cpu" else "torch"


def _check_texts(texts: Iterable[str], what: str) -> None:
    if isinstance(texts, str) or not isinstance(texts, tuple) or not texts:
        raise InputError(f"The {what} of a task must be a tuple of at least one string.")
