"""Random models of any shape that the engine serves, for hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from transformers import GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

from tinyalign.engine import Story
from tinyalign.engine.encoding import Ids
from tinyalign.models import StoryModel, ternarize
from tinyalign.models.story_model import make_story_model

_VOCABULARIES = st.sampled_from([3, 5, 31, 64, 97, 300, 513])
_CONTEXTS = st.sampled_from([9, 16, 33, 64, 130])
_SPREADS = st.sampled_from([0.1, 0.2, 0.3])


@dataclass(frozen=True)
class Case:
    """A model to be made of its configuration's `fields`, and four prompts or more; some begin alike."""

    fields: dict[str, Any]
    bits: float
    seed: int
    prompts: list[list[int]]

    def model(self) -> StoryModel:
        """The model, with random weights; biases too, which are all 0 at the start of training."""
        llama = "num_key_value_heads" in self.fields
        kind: Any = LlamaForCausalLM if llama else GPTNeoForCausalLM
        config = (LlamaConfig if llama else GPTNeoConfig)(**self.fields)
        config._attn_implementation = "eager"
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = kind(config).eval()
            for name, parameter in network.named_parameters():
                if name.endswith("bias"):
                    torch.nn.init.normal_(parameter, std=0.3)
        model = make_story_model(network, None, source="a random test model", name="random")
        return model if self.bits == 32 else ternarize(model, self.bits)

    def texts(self) -> list[Ids]:
        """Each prompt and back again, as far as the context reaches."""
        longest = self.fields["max_position_embeddings"]
        return [tuple((ids + ids[::-1])[:longest]) for ids in self.prompts]

    def check_same(self, found: list[Story], others: list[Story]) -> None:
        """Fails where more stories of two backends part than edges explain: of draws, or of int8 codes."""
        assert len(found) >= 4
        parted = sum(a != b for a, b in zip(found, others, strict=True))
        assert parted <= (1 if self.bits == 32 else len(found) // 4), self.fields


@st.composite
def llamas(draw: st.DrawFn) -> Case:
    """Llamas: head counts and sizes that fill no register, biases, tied embeddings, scaled rotations."""
    kv_heads, group = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 4, 5, 7]))
    context = draw(_CONTEXTS)
    fields = {
        "hidden_size": kv_heads * group * draw(st.integers(1, 12)),
        "intermediate_size": draw(st.integers(1, 90)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": kv_heads * group,
        "num_key_value_heads": kv_heads,
        "head_dim": 2 * draw(st.integers(1, 9)),
        "tie_word_embeddings": draw(st.booleans()),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "rope_parameters": draw(st.sampled_from(_rotations(context))),
    }
    return _case(draw, context, fields)


@st.composite
def neos(draw: st.DrawFn) -> Case:
    """GPT-Neos: heads of odd sizes, windows from a single token on, layers all local or in turn."""
    heads, layers = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    kinds = draw(st.sampled_from([["global", "local"], ["local", "local"]]))
    fields = {
        "hidden_size": heads * draw(st.integers(1, 12)),
        "intermediate_size": draw(st.integers(1, 90)),
        "num_layers": 2 * layers,
        "num_heads": heads,
        "attention_types": [[kinds, layers]],
        "window_size": draw(st.sampled_from([1, 2, 5, 8, 31])),
    }
    return _case(draw, draw(_CONTEXTS), fields)


def _rotations(context: int) -> list[dict[str, Any]]:
    """Each kind that the fused decoders take."""
    bands = {
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": context // 2,
    }
    kinds = {"default": {}, "linear": {"factor": 2.0}, "llama3": {"factor": 4.0, **bands}}
    return [{"rope_type": kind, "rope_theta": 10_000.0, **more} for kind, more in kinds.items()]


def _case(draw: st.DrawFn, context: int, fields: dict[str, Any]) -> Case:
    vocabulary = draw(_VOCABULARIES)
    more = {"vocab_size": vocabulary, "max_position_embeddings": context, "initializer_range": draw(_SPREADS)}
    tokens = st.integers(0, vocabulary - 1)
    shared = draw(st.lists(tokens, min_size=1, max_size=context - 1))
    prompts = []
    for _ in range(draw(st.integers(4, 6))):
        own = draw(st.lists(tokens, min_size=1, max_size=6))
        prompts.append((shared[: draw(st.integers(0, len(shared)))] + own)[: context - 1])
    ends = {"bos_token_id": None, "eos_token_id": None}
    bits = draw(st.sampled_from([32, 32, 1.58, 1]))
    return Case(fields | more | ends, bits, draw(st.integers(0, 10**6)), prompts)
