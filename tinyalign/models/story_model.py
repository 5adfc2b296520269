"""`StoryModel`: a causal language model with its tokenizer, its identity and every hook live."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch

from tinyalign.common.arguments import check_characters
from tinyalign.common.errors import InputError, TokenizerError
from tinyalign.models.config import ModelConfig, describe
from tinyalign.models.identity import identity
from tinyalign.ternary import TernaryLinear, ternary_layers

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tinyalign.engine.sampling import Story
    from tinyalign.engine.score import ContinuationScores, TextScores


@dataclass(frozen=True)
class Conversion:
    """A post-training conversion: `layers` linear layers of the model `base_sha256` went to `bits` bits.

    `loss_before` and `loss_after` are mean nats a token on the text given, None without text.
    """

    base_sha256: str
    bits: float
    layers: int
    loss_before: float | None
    loss_after: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class StoryModel:
    """A loaded model. Make one with `tinyalign.load`.

    Attributes:
        network: the Hugging Face module, never rewritten: what the engine runs and `save` stores.
        tokenizer: a fast tokenizer, or None for a model that takes token ids only.
        config: the model's dimensions.
        sha256: identity of weights, config and tokenizer (see `tinyalign.models.identity`).
        bits: bits a weight inside the blocks: 1, 1.58, 16 or 32.
        source: where it was loaded from, in words; `revision` is the resolved hub revision, if any.
        name: a short name for tables.
        conversion: what post-training conversion made it and what that cost, if one did.
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast | None
    config: ModelConfig
    sha256: str
    bits: float
    source: str
    name: str
    revision: str | None = None
    conversion: Conversion | None = None

    @cached_property
    def bridge(self) -> TransformerBridge:
        """The model under TransformerLens, all hooks live.

        Built on first use (importing TransformerLens takes seconds) around a structural copy of
        `network` that shares every parameter and buffer: an in-place change of a weight is seen by both.
        """
        from tinyalign.models.bridging import build_bridge

        shared = {id(t): t for t in chain(self.network.parameters(), self.network.buffers())}
        return build_bridge(copy.deepcopy(self.network, shared), self.tokenizer, name=self.name)

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self.network.device

    @property
    def context(self) -> int:
        """The greatest number of tokens the model can read."""
        return self.config.n_ctx

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, begun as the model's training texts began (with BOS where it has one).

        Raises `TokenizerError` for a model loaded with `tokenizer=False`, `InputError` for half characters.
        """
        check_characters(text)
        return list(self._tokenizer()(text)["input_ids"])

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, special tokens left out; raises `InputError` for an id out of range."""
        for token in ids:
            if not 0 <= token < self.config.d_vocab:
                raise InputError(f"Token id {token} is unknown: expected 0 to {self.config.d_vocab - 1}.")
        # Transformers looks at every number of a list, and takes an array as it is.
        text = self._tokenizer().decode(np.array(ids, dtype=np.int64), skip_special_tokens=True)
        return text if isinstance(text, str) else "".join(text)

    def sample(
        self,
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
        cache: Literal["float32", "int8"] = "float32",
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Story]:
        """Yield `n` stories that continue each prompt, in order; see `tinyalign.engine.sample`."""
        from tinyalign.engine.sampling import sample

        return sample(
            self,
            prompts,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=stop,
            seed=seed,
            coupled=coupled,
            batch_size=batch_size,
            backend=backend,
            threads=threads,
            cache=cache,
            progress=progress,
        )

    @overload
    def score(
        self, texts: Sequence[str | Sequence[int]], *, backend: str = "auto", threads: int = 1
    ) -> TextScores: ...
    @overload
    def score(
        self,
        texts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        *,
        backend: str = "auto",
        threads: int = 1,
    ) -> ContinuationScores: ...
    def score(
        self,
        texts: Sequence[Any],
        continuations: Sequence[Sequence[str]] | None = None,
        *,
        backend: str = "auto",
        threads: int = 1,
    ) -> TextScores | ContinuationScores:
        """Log-probability (nats) of every token of texts, or of each text's `continuations`.

        See `score_texts` and `score_continuations` of `tinyalign.engine.score`.
        """
        from tinyalign.engine.score import score_continuations, score_texts

        if continuations is None:
            return score_texts(self, texts, backend=backend, threads=threads)
        return score_continuations(self, texts, continuations, backend=backend, threads=threads)

    @property
    def bos_id(self) -> int | None:
        """The token that begins a story, or None."""
        return None if self.tokenizer is None else _single(self.tokenizer.bos_token_id)

    @property
    def eos_id(self) -> int | None:
        """The token that ends a story, or None."""
        return None if self.tokenizer is None else _single(self.tokenizer.eos_token_id)

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face folder (ternary weights in BitNet packing); see `tinyalign.models.saving`."""
        from tinyalign.models.saving import save

        save(self, folder)

    def to_json(self) -> dict[str, Any]:
        """Name, source, identity, bits and dimensions."""
        return {
            "name": self.name,
            "source": self.source,
            "revision": self.revision,
            "sha256": self.sha256,
            "bits": self.bits,
            **self.config.to_json(),
            "has_tokenizer": self.tokenizer is not None,
            "ternary_layers": len(ternary_layers(self.network)),
            "conversion": None if self.conversion is None else self.conversion.to_json(),
        }

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        if self.tokenizer is None:
            raise TokenizerError(
                f"{self.name} was loaded without a tokenizer and takes token ids only: load it again with "
                "tokenizer=FILE to use text."
            )
        return self.tokenizer


def make_story_model(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast | None,
    *,
    source: str,
    name: str,
    revision: str | None = None,
    conversion: Conversion | None = None,
) -> StoryModel:
    """A `StoryModel` around a network that is complete, in eval mode and on its device.

    Raises `TokenizerError` when the tokenizer has more tokens than the model has embeddings.
    """
    network.eval()
    total, in_blocks = _count(network)
    config = describe(network.config, total, in_blocks)
    if tokenizer is not None and len(tokenizer) > config.d_vocab:
        raise TokenizerError(
            f"The tokenizer has {len(tokenizer)} tokens but the model {config.d_vocab} embeddings: give the "
            "tokenizer this model was trained with."
        )
    return StoryModel(
        network=network,
        tokenizer=tokenizer,
        config=config,
        sha256=identity(network, tokenizer, revision),
        bits=bits_of(network),
        source=source,
        name=name,
        revision=revision,
        conversion=conversion,
    )


def bits_of(network: torch.nn.Module) -> float:
    """Bits a weight inside the blocks: 1 or 1.58 where they are ternary layers, else 16 or 32.

    A model with both 1-bit and ternary layers counts as 1.58. A float model counts as 16 when every
    block weight is a float16 number, or every one a bfloat16 number, whatever it is stored or run in.
    """
    layers = ternary_layers(network)
    if layers:
        return max(float(layer.bits) for layer in layers.values())
    weights = [p.detach() for name, p in network.named_parameters() if in_block(name)]
    for half in (torch.float16, torch.bfloat16):
        if all(torch.equal(weight.to(half).to(weight.dtype), weight) for weight in weights):
            return 16.0
    return 32.0


def _count(network: torch.nn.Module) -> tuple[int, int]:
    """(all weights, weights inside the transformer blocks), tied ones once, trits counted one by one."""
    blocks = 0
    total = 0
    ternary = {name for name, module in network.named_modules() if isinstance(module, TernaryLinear)}
    for name, layer in ternary_layers(network).items():
        size = layer.in_features * layer.out_features
        total += size
        blocks += size if in_block(name) else 0
    for name, parameter in network.named_parameters(remove_duplicate=True):
        if name.rpartition(".")[0] in ternary and name.endswith(".weight"):
            continue
        total += parameter.numel()
        blocks += parameter.numel() if in_block(name) else 0
    return total, blocks


def in_block(name: str) -> bool:
    """Whether a parameter's name lies inside a transformer block."""
    return name.startswith(("transformer.h.", "model.layers."))


def _single(token: object) -> int | None:
    return token if isinstance(token, int) else None
