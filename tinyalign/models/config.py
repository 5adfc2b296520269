"""The shape of a model, whatever file it came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tinyalign.common.errors import CheckpointError

SUPPORTED = ("GPTNeoForCausalLM", "LlamaForCausalLM", "BitNetForCausalLM")


@dataclass(frozen=True)
class ModelConfig:
    """Dimensions under TransformerLens's names; a frozen record, not a Hugging Face config.

    Attributes:
        architecture: the Hugging Face class that runs the model.
        n_kv_heads: key/value heads; smaller than `n_heads` under grouped-query attention.
        window: tokens a local attention layer sees (the token itself included), None without local layers.
        n_parameters: weights, tied matrices counted once.
        n_block_parameters: the part of them inside the transformer blocks.
    """

    architecture: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    act_fn: str
    tied_embeddings: bool
    window: int | None
    n_parameters: int
    n_block_parameters: int

    def __post_init__(self) -> None:
        if self.architecture not in SUPPORTED:
            raise CheckpointError(unsupported(self.architecture))
        for name in ("n_layers", "d_model", "n_heads", "n_kv_heads", "d_head", "d_mlp", "d_vocab", "n_ctx"):
            if getattr(self, name) < 1:
                raise CheckpointError(f"The config says {name} = {getattr(self, name)}: it must be positive.")
        if self.n_heads % self.n_kv_heads:
            raise CheckpointError(
                f"The config has {self.n_heads} heads over {self.n_kv_heads} key/value heads: "
                "the first must be a multiple of the second."
            )

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def unsupported(architecture: str) -> str:
    """The sentence for an architecture that tinyalign does not load."""
    return (
        f"The architecture {architecture!r} is not supported: tinyalign loads {', '.join(SUPPORTED)}; "
        "bring other Llama-like or GPT-like checkpoints in with `tinyalign convert --mapping FILE`."
    )


def architecture_of(config: dict[str, Any]) -> str:
    """The architecture named by a Hugging Face `config.json`; raises `CheckpointError` if it has none."""
    names = config.get("architectures") or []
    if names:
        return str(names[0])
    by_type = {"gpt_neo": "GPTNeoForCausalLM", "llama": "LlamaForCausalLM", "bitnet": "BitNetForCausalLM"}
    kind = config.get("model_type")
    if kind in by_type:
        return by_type[str(kind)]
    raise CheckpointError(
        f"config.json names no architecture (model_type {kind!r}): expected `architectures` to hold one of "
        f"{', '.join(SUPPORTED)}."
    )


def describe(hf_config: Any, n_parameters: int, n_block_parameters: int) -> ModelConfig:
    """`ModelConfig` of a Hugging Face config object, with parameters counted on the loaded weights."""
    architecture = architecture_of(hf_config.to_dict())
    neo = architecture == "GPTNeoForCausalLM"
    d_model = int(hf_config.hidden_size)
    n_heads = int(hf_config.num_heads if neo else hf_config.num_attention_heads)
    n_kv = n_heads if neo else int(getattr(hf_config, "num_key_value_heads", None) or n_heads)
    d_head = d_model // n_heads if neo else int(getattr(hf_config, "head_dim", None) or d_model // n_heads)
    d_mlp = int(getattr(hf_config, "intermediate_size", None) or 4 * d_model)
    local = neo and "local" in hf_config.attention_layers
    return ModelConfig(
        architecture=architecture,
        n_layers=int(hf_config.num_layers if neo else hf_config.num_hidden_layers),
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_kv,
        d_head=d_head,
        d_mlp=d_mlp,
        d_vocab=int(hf_config.vocab_size),
        n_ctx=int(hf_config.max_position_embeddings),
        act_fn=str(hf_config.activation_function if neo else hf_config.hidden_act),
        tied_embeddings=bool(hf_config.tie_word_embeddings),
        window=int(hf_config.window_size) if local else None,
        n_parameters=n_parameters,
        n_block_parameters=n_block_parameters,
    )
