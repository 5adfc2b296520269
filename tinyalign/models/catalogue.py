"""The models tinyalign knows by name: embedded ones, and the published TinyStories families."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from tinyalign.common.resources import data_folder, shared_folder

# Where Hugging Face's GPT-Neo tokenizer and Llama's 32,000-piece one are published, for checkpoints that
# come without.
NEO_TOKENIZER = "EleutherAI/gpt-neo-125M"
LLAMA_TOKENIZER = "hf-internal-testing/llama-tokenizer"


@dataclass(frozen=True)
class HubEntry:
    """A published checkpoint: its repository, the file in it (llama2.c) or None (whole folder)."""

    name: str
    alias: str
    repository: str
    parameters: str
    d_vocab: int
    file: str | None = None
    tokenizer_repository: str = NEO_TOKENIZER


@dataclass(frozen=True)
class ModelInfo:
    """One row of `tinyalign.models()`.

    `parameters` is counted for embedded and local models and, for hub models, the nominal size that their
    name gives; `here` says whether it loads without a network.
    """

    name: str
    aliases: tuple[str, ...]
    parameters: str
    bits: float
    d_vocab: int
    licence: str
    here: bool
    source: str

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return asdict(self)


def _neo(size: str, family: str = "TinyStories", upstream: str | None = None) -> HubEntry:
    name = f"{family}-{size}"
    return HubEntry(name, name.lower(), f"roneneldan/{upstream or name}", size.rpartition("-")[2], 50257)


def _llama(size: str) -> HubEntry:
    return HubEntry(
        f"stories{size}",
        f"tinyllamas-{size.lower()}",
        "karpathy/tinyllamas",
        size,
        32000,
        f"stories{size}.bin",
        LLAMA_TOKENIZER,
    )


HUB: tuple[HubEntry, ...] = (
    *(_neo(size) for size in ("1M", "3M", "8M", "28M", "33M", "1Layer-21M", "2Layers-33M")),
    *(_neo(size, "TinyStories-Instruct") for size in ("1M", "3M", "8M", "28M", "33M", "2Layers-33M")),
    # Upstream misspells this one.
    _neo("1Layer-21M", "TinyStories-Instruct", "TinyStories-Instuct-1Layer-21M"),
    *(_llama(size) for size in ("15M", "42M", "110M")),
)


def find_hub(name: str) -> HubEntry | None:
    """The hub entry of a name, alias or repository, or None."""
    wanted = name.lower().removeprefix("karpathy/tinyllamas/").removesuffix(".bin")
    for entry in HUB:
        names = {entry.name.lower(), entry.alias}
        if entry.file is None:
            names |= {entry.repository.lower(), f"roneneldan/{entry.name}".lower()}
        if wanted in names:
            return entry
    return None


def embedded_folder(name: str) -> Path | None:
    """The folder of an embedded model of that name, or None."""
    folder = data_folder() / "models" / name
    return folder if (folder / "config.json").is_file() else None


def embedded_names() -> list[str]:
    """Names of the embedded models that are here."""
    models = data_folder() / "models"
    return sorted(path.parent.name for path in models.glob("*/config.json")) if models.is_dir() else []


def user_folder() -> Path:
    """Where a user puts model files by hand when there is no network."""
    return Path(platformdirs.user_data_dir("tinyalign")) / "models"


def local_copy(entry: HubEntry) -> Path | None:
    """A hub model's folder under `user_folder()`, if its files are there."""
    folder = user_folder() / entry.repository.replace("/", "--")
    wanted = folder / (entry.file or "config.json")
    return (wanted if entry.file else folder) if wanted.is_file() else None


def known_names() -> list[str]:
    """Every name and alias that `load` takes."""
    hub = [name for entry in HUB for name in (entry.name, entry.alias)]
    return [*embedded_names(), *_shared_names(), *hub]


def shared_model(name: str) -> Path | None:
    """A llama2.c file of that name in the shared folder, or None."""
    folder = shared_folder("models")
    file = folder / f"{name}.bin" if folder is not None else None
    return file if file is not None and file.is_file() else None


def models() -> list[ModelInfo]:
    """All models known by name: embedded, in the shared folder, and on the hub."""
    from tinyalign.models.hub import cached

    rows = [_embedded_info(name) for name in embedded_names()]
    shared = "llama2.c file in the shared models folder"
    rows += [ModelInfo(name, (), "260K", 32.0, 512, "MIT", True, shared) for name in _shared_names()]
    for entry in HUB:
        here = local_copy(entry) is not None or cached(entry)
        source = f"Hugging Face hub, {entry.repository}" + (f", {entry.file}" if entry.file else "")
        licence = "MIT" if entry.file else "see the hub page"
        rows.append(
            ModelInfo(
                entry.name, (entry.alias,), entry.parameters, 32.0, entry.d_vocab, licence, here, source
            )
        )
    return rows


def _shared_names() -> list[str]:
    return ["stories260K"] if shared_model("stories260K") is not None else []


def _embedded_info(name: str) -> ModelInfo:
    folder = data_folder() / "models" / name
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stated = config.get("tinyalign") or {}
    return ModelInfo(
        name=name,
        aliases=(),
        parameters=_thousands(int(stated["parameters"])) if "parameters" in stated else "see its card",
        bits=float(stated.get("bits", 32)),
        d_vocab=int(config["vocab_size"]),
        licence="MIT; trained on TinyStories (CDLA-Sharing-1.0)",
        here=True,
        source="embedded in tinyalign",
    )


def _thousands(count: int) -> str:
    return f"{count / 1e6:.2f}M" if count >= 1_000_000 else f"{count / 1e3:.0f}K"
