"""Where the decoder's time goes, told apart by runs that differ in one thing only."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from tinyalign.bench.peaks import Peaks
from tinyalign.bench.timing import processor_seconds
from tinyalign.common.errors import InputError
from tinyalign.engine import sample
from tinyalign.engine.sampling import Cache
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model
from tinyalign.ternary import Quantized, TernaryLinear, ternary_layers

_STORIES = 256
_PROMPT = "Once upon a time"


@dataclass(frozen=True)
class Profile:
    """Microseconds of processor time a token, of stories of `tokens` new tokens, one thread, all lanes full.

    `blocks` is what the blocks take on stories a quarter as long: linear layers, norms, and attention over
    the first few positions. `attention` is what the whole takes beyond that: scores and mixing over the
    positions that come later, and waiting for memory. `outside` is embedding, unembedding and choosing the
    likeliest token; `drawing` what drawing at temperature 1 costs on top. `whole` is the sum of the
    first three; `int8_cache` the whole with keys and values in int8. `share_of_peak` is the blocks'
    multiply-adds a second in `blocks`, as a share of the machine's measured peak of their kind: at least
    so much, since `blocks` holds more than them. `share_of_peak_inside` is that of the inner loops by
    themselves: of the time that a copy with MLPs twice as wide takes more, and the multiply-adds that it
    does more (its activation function's time is in there too). A share above 1 is refused, and None.
    """

    model: str
    tokens: int
    whole: float
    attention: float
    blocks: float
    outside: float
    drawing: float
    int8_cache: float
    multiply_adds_in_blocks: int
    share_of_peak: float | None
    share_of_peak_inside: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def profile_decode(
    model: StoryModel,
    *,
    tokens: int = 128,
    stories: int = _STORIES,
    rounds: int = 3,
    peaks: Peaks | None = None,
) -> Profile:
    """Profile the CPU backend on a Llama model, by differences between runs, so roughly.

    Stories of `tokens` and a quarter as many tell the later positions apart; on the short ones the
    difference to a copy with the first block only tells the blocks from what is outside them.
    Raises `InputError` for a model of one block or another architecture.
    """
    config = model.config
    if config.architecture != "LlamaForCausalLM" or config.n_layers < 2 or tokens < 8:
        raise InputError(
            f"{model.name} cannot be profiled: expected a LlamaForCausalLM of two blocks or more, and 8 "
            "tokens or more."
        )
    first, wide = _first_block(model), _twice_as_wide(model)
    short = tokens // 4
    kinds: list[tuple[StoryModel, int, float, Cache]] = [
        (model, tokens, 0.0, "float32"),
        (model, short, 0.0, "float32"),
        (first, short, 0.0, "float32"),
        (wide, short, 0.0, "float32"),
        (model, tokens, 1.0, "float32"),
        (model, tokens, 0.0, "int8"),
    ]
    seconds = np.empty((rounds, len(kinds)))
    for which, length, temperature, cache in kinds:
        _seconds(which, length, temperature, cache, min(stories, 32))
    for turn in range(rounds):
        for column, (which, length, temperature, cache) in enumerate(kinds):
            spent = _seconds(which, length, temperature, cache, stories)
            seconds[turn, column] = spent / length / stories * 1e6
    # The least of the rounds: others on the machine only ever add to processor time.
    whole, brief, one, wider, drawn, int8 = seconds.min(axis=0)
    # On short stories, whose keys and values lie in the caches whether there is one block or all.
    outside = max(0.0, brief - (brief - one) / (config.n_layers - 1) * config.n_layers)
    blocks = max(1e-9, brief - outside)
    adds = config.n_block_parameters
    more = 3 * config.n_layers * config.d_model * config.d_mlp
    share = inside = None
    if peaks is not None:
        peak = peaks.int8 if ternary_layers(model.network) and peaks.int8 else peaks.fp32
        share = float(adds / (blocks * 1e-6) / peak)
        inside = float(more / (max(1e-9, wider - brief) * 1e-6) / peak)
        # A difference that drowned in what others do on the machine.
        inside = inside if inside <= 1 else None
    return Profile(
        model=model.name,
        tokens=tokens,
        whole=float(whole),
        attention=float(max(0.0, whole - brief)),
        blocks=float(blocks),
        outside=float(outside),
        drawing=float(max(0.0, drawn - whole)),
        int8_cache=float(int8),
        multiply_adds_in_blocks=adds,
        share_of_peak=share,
        share_of_peak_inside=inside,
    )


def _seconds(model: StoryModel, tokens: int, temperature: float, cache: Cache, stories: int) -> float:
    """Processor seconds of `stories` stories of `tokens` tokens each."""
    begun = processor_seconds()
    drawn = sample(
        model,
        [list(range(1, 6))] if model.tokenizer is None else _PROMPT,
        n=stories,
        max_new_tokens=tokens,
        temperature=temperature,
        backend="cpu",
        cache=cache,
        batch_size=stories,
    )
    made = sum(len(story.tokens) for story in drawn)
    spent = processor_seconds() - begun
    # Stories may end early, and their lanes are refilled: seconds as if all had been told to the end.
    return spent * stories * tokens / max(made, 1)


def _first_block(model: StoryModel) -> StoryModel:
    """A copy with the first block only."""
    network: Any = copy.deepcopy(model.network)
    network.model.layers = torch.nn.ModuleList(list(network.model.layers)[:1])
    network.config.num_hidden_layers = 1
    return make_story_model(
        network,
        model.tokenizer,
        source=model.source,
        name=f"{model.name}, first block",
        revision=model.revision,
    )


def _twice_as_wide(model: StoryModel) -> StoryModel:
    """A copy that computes the same with twice the neurons: each stands there again, and writes nothing."""
    network: Any = copy.deepcopy(model.network)
    for block in network.model.layers:
        mlp = block.mlp
        mlp.gate_proj, mlp.up_proj = (_doubled(layer, axis=0) for layer in (mlp.gate_proj, mlp.up_proj))
        mlp.down_proj = _doubled(mlp.down_proj, axis=1)
    network.config.intermediate_size *= 2
    return make_story_model(network, model.tokenizer, source=model.source, name=f"{model.name}, wide")


@torch.no_grad()
def _doubled(layer: torch.nn.Linear, axis: int) -> torch.nn.Linear:
    """A layer with its outputs (axis 0) twice, or with twice the inputs (axis 1), the new ones ignored."""

    def twice(weight: torch.Tensor) -> torch.Tensor:
        return torch.cat((weight, weight if axis == 0 else torch.zeros_like(weight)), dim=axis)

    if isinstance(layer, TernaryLinear):
        old = layer.quantized
        more = Quantized(twice(old.trits), old.scale, old.bits)
        return TernaryLinear.from_quantized(
            more, packing=layer.packing, activation_bits=layer.activation_bits
        )
    weight = twice(layer.weight)
    made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight.copy_(weight)
    return made
