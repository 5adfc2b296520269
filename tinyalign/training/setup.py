"""Everything a run needs before its first step: stories, tokenizer, network, teacher, held-out stories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.training.checkpoint import Checkpoint, read_checkpoint
from tinyalign.training.distillation import Teacher, language_loss, teacher_stories
from tinyalign.training.export import from_story_model
from tinyalign.training.network import StoryNet
from tinyalign.training.packing import TokenStream
from tinyalign.training.recipe import Recipe
from tinyalign.training.sources import Corpus, gather, validation_stories
from tinyalign.training.vocabulary import encode_stories, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tinyalign.models.story_model import StoryModel

TOKENIZER_FOLDER = "tokenizer"


@dataclass(frozen=True)
class Setup:
    """What `prepare` gives; `said` tells in words what is read and where."""

    net: StoryNet
    tokenizer: PreTrainedTokenizerFast
    stream: TokenStream
    teacher: Teacher | None
    held_out: tuple[np.ndarray, ...]
    corpus: Corpus
    device: torch.device
    optimizer_state: dict[str, torch.Tensor]
    said: str

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Nats a token on the held-out stories that fit the context, one by one, in float32."""
        net = self.net.eval()
        dtype, net.dtype = net.dtype, torch.float32
        total, count = 0.0, 0
        for story in self.held_out:
            ids = torch.from_numpy(story[: net.shape.n_ctx + 1].astype(np.int64)).to(self.device)
            loss = language_loss(net(ids[None, :-1]), ids[1:])
            total += float(loss) * (len(ids) - 1)
            count += len(ids) - 1
        net.dtype = dtype
        return total / max(count, 1)

    def to_json(self) -> dict[str, Any]:
        """What was read, in numbers."""
        return {
            **self.corpus.to_json(),
            "tokens": self.stream.tokens,
            "steps_per_epoch": self.stream.steps_per_epoch,
            "device": str(self.device),
        }


def prepare(recipe: Recipe, runs: str | Path, *, device: str | None = None, own: Path | None = None) -> Setup:
    """Read, tokenize and pack the stories, and make the network, as `recipe` says.

    `start` is looked for as a run in `runs` first, then as a model's name or folder. The tokenizer is taken
    from `tokenizer`, else from the start, else trained on the sources, and kept in the run's folder (`own`,
    by default `runs`/NAME). Raises `InputError`, `DataError`, `CheckpointError` or `TokenizerError` on what
    cannot be used.
    """
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    started = _Start(recipe, Path(runs))
    corpus = gather(recipe.data)
    teacher = _load(recipe.teacher, Path(runs)) if recipe.teacher else None
    if recipe.data.teacher_stories and teacher is not None:
        drawn = teacher_stories(teacher, recipe.data.teacher_stories, recipe.seed)
        part = (f"stories sampled from {teacher.name}", len(drawn))
        corpus = Corpus((*corpus.texts, *drawn), (*corpus.parts, part))
    tokenizer = _tokenizer(recipe, Path(runs), own or Path(runs) / recipe.name, started, corpus)
    net = _network(recipe, started)
    if len(tokenizer) != net.shape.d_vocab:
        raise InputError(
            f"The tokenizer has {len(tokenizer)} tokens but the network {net.shape.d_vocab}: set d_vocab."
        )
    net.to(target)
    by_logits = recipe.distill_weight > 0 and not recipe.data.teacher_stories
    distilled = teacher if by_logits else None
    schedule = recipe.schedule
    stream = TokenStream(
        encode_stories(tokenizer, corpus.texts),
        schedule.tokens_per_step,
        recipe.seed,
        recipe.data.first_epoch,
    )
    held_out = encode_stories(tokenizer, validation_stories()[: recipe.validation_stories])
    said = "; ".join(f"{count:,} stories: {source}" for source, count in corpus.parts)
    return Setup(
        net=net,
        tokenizer=tokenizer,
        stream=stream,
        teacher=Teacher(distilled, tokenizer, net.dtype).to(target) if distilled is not None else None,
        held_out=tuple(held_out),
        corpus=corpus,
        device=target,
        optimizer_state=started.checkpoint.optimizer if started.checkpoint is not None else {},
        said=f"{said}. {stream.tokens:,} tokens an epoch; on {target}.",
    )


class _Start:
    """What a run begins with: another run's checkpoint, a loaded model, or nothing."""

    def __init__(self, recipe: Recipe, runs: Path) -> None:
        self.checkpoint: Checkpoint | None = None
        self.model: StoryModel | None = None
        self.folder = runs / recipe.start
        if recipe.start:
            self.checkpoint = read_checkpoint(self.folder)
            if self.checkpoint is None:
                self.model = _load(recipe.start, runs)


def _load(name: str, runs: Path) -> StoryModel:
    from tinyalign.models import load

    finished = runs / name / "model"
    return load(finished if finished.is_dir() else name)


def _tokenizer(
    recipe: Recipe, runs: Path, folder: Path, started: _Start, corpus: Corpus
) -> PreTrainedTokenizerFast:
    from tinyalign.models.tokenizers import load_tokenizer

    own = folder / TOKENIZER_FOLDER
    if own.is_dir():
        return load_tokenizer(own)
    if recipe.tokenizer:
        path = Path(recipe.tokenizer)
        found = load_tokenizer(path) if path.exists() else _load(recipe.tokenizer, runs).tokenizer
    elif started.checkpoint is not None:
        found = load_tokenizer(started.folder / TOKENIZER_FOLDER)
    elif started.model is not None:
        found = started.model.tokenizer
    else:
        found = train_tokenizer(corpus.texts, recipe.shape.d_vocab, recipe.shape.n_ctx)
    if found is None:
        raise InputError(f"{recipe.tokenizer or recipe.start} has no tokenizer to train with.")
    found.save_pretrained(str(own))
    return found


def _network(recipe: Recipe, started: _Start) -> StoryNet:
    dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32
    if started.model is not None:
        net = from_story_model(started.model, recipe.bits)
        net.dtype, net.dropout = dtype, recipe.dropout
        return net
    torch.manual_seed(derive_seed("initial weights", recipe.seed))
    net = StoryNet(recipe.shape, recipe.bits, dtype=dtype, dropout=recipe.dropout)
    if started.checkpoint is not None:
        try:
            net.load_state_dict(started.checkpoint.weights)
        except RuntimeError as error:
            raise InputError(
                f"The run {recipe.start} has another shape than {recipe.name}: {error}"
            ) from error
    return net
