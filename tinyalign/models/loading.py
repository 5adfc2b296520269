"""One way to load any small TinyStories model: by name, folder or file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import torch

from tinyalign.common.errors import CheckpointError, InputError, TokenizerError, unknown_name
from tinyalign.models.catalogue import (
    HubEntry,
    embedded_folder,
    find_hub,
    known_names,
    shared_model,
)
from tinyalign.models.story_model import StoryModel, make_story_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TokenizerChoice = str | Path | Literal[False] | None


def load(
    name_or_path: str | Path,
    *,
    tokenizer: TokenizerChoice = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> StoryModel:
    """Load a model with every hook live.

    Args:
        name_or_path: an embedded name (`ternary`), a published one (`roneneldan/TinyStories-1M` or
            `tinystories-1m`; `tinyalign.models()` lists all), a Hugging Face folder with a GPT-Neo, Llama or
            BitNet model (float or BitNet-packed), or a llama2.c `.bin` file.
        tokenizer: a tokenizer file or folder where none lies beside the model or another is wanted; False
            loads for token ids only.
        device: where to put it; by default a CUDA device if there is one, else the CPU.
        dtype: dtype of the float tensors, by default float32; trits stay packed.
        revision: branch, tag or commit of a hub repository; the resolved commit is part of the identity.

    Raises:
        UnknownNameError: the name is neither known nor a path; the message gives the nearest names.
        CheckpointError: the files are damaged, unsafe, unsupported, or neither here nor to be fetched.
        TokenizerError: the tokenizer is missing, damaged or does not fit the model.
        InputError: the device or dtype cannot be used.
    """
    target = _device(device)
    if dtype is not None and not dtype.is_floating_point:
        raise InputError(
            f"dtype {dtype} is not a float type: expected float32, bfloat16, float16 or float64."
        )
    found = _find(name_or_path, revision)
    network = _read(found.path)
    chosen = _tokenizer(found, tokenizer)
    module = cast(torch.nn.Module, network)
    module.to(device=target, dtype=dtype or torch.float32)
    return make_story_model(
        network, chosen, source=found.source, name=found.name, revision=found.revision or _revision(network)
    )


class _Found:
    """Where a model lies: `path`, what to call it, and where its tokenizer is if not beside it."""

    def __init__(self, path: Path, name: str, source: str, revision: str | None, entry: HubEntry | None):
        self.path = path
        self.name = name
        self.source = source
        self.revision = revision
        self.entry = entry


def _find(name_or_path: str | Path, revision: str | None) -> _Found:
    text = str(name_or_path)
    embedded = embedded_folder(text) if "/" not in text and "\\" not in text and text else None
    if embedded is not None:
        return _Found(embedded, text, "embedded in tinyalign", None, None)
    path = Path(name_or_path).expanduser()
    if path.exists():
        kind = "Hugging Face folder" if path.is_dir() else "llama2.c file"
        name = path.resolve().name if path.is_dir() else path.stem
        # Only the name: a saved model must not carry the paths of the machine it was made on.
        return _Found(path, name, f"{kind} {path.resolve().name}", None, None)
    shared = shared_model(text)
    if shared is not None:
        return _Found(shared, text, f"llama2.c file {shared.name}", None, None)
    entry = find_hub(text)
    if entry is not None:
        from tinyalign.models.hub import fetch

        fetched = fetch(entry, revision)
        source = f"Hugging Face hub, {entry.repository}" + (f", {entry.file}" if entry.file else "")
        return _Found(fetched.path, entry.name, source, fetched.revision, entry)
    if path.suffix in (".bin", ".pt", ".pth", ".safetensors") or text.startswith((".", "/", "~")):
        raise CheckpointError(f"No model at {text}: expected a llama2.c .bin file or a Hugging Face folder.")
    raise unknown_name("model", text, known_names())


def _read(path: Path) -> PreTrainedModel:
    if path.is_dir():
        from tinyalign.models.folder import read_folder

        return read_folder(path)
    if path.suffix == ".bin":
        from tinyalign.models import llama2c

        return llama2c.read(path)
    raise CheckpointError(
        f"{path.name} is not a llama2.c .bin file: bring foreign checkpoints in with "
        "`tinyalign convert SRC DST --mapping FILE`."
    )


def _tokenizer(found: _Found, choice: TokenizerChoice) -> PreTrainedTokenizerFast | None:
    from tinyalign.models.tokenizers import find_beside, load_tokenizer

    if choice is False:
        return None
    if choice is not None:
        return load_tokenizer(choice)
    try:
        return load_tokenizer(found.path if found.path.is_dir() else find_beside(found.path))
    except TokenizerError:
        # The published checkpoints share two tokenizers that some of their repositories leave out.
        if found.entry is None:
            raise
        from tinyalign.models.hub import fetch_tokenizer

        return load_tokenizer(fetch_tokenizer(found.entry.tokenizer_repository))


def _revision(network: PreTrainedModel) -> str | None:
    """The hub revision that a saved copy remembers."""
    stated = getattr(network.config, "tinyalign", None)
    revision = stated.get("revision") if isinstance(stated, dict) else None
    return None if revision is None else str(revision)


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Device {device!r} cannot be used here ({reason}); try 'cpu'.") from error
    return chosen
