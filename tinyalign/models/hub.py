"""Files from the Hugging Face hub, offline whenever they are already here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinyalign.common.errors import CheckpointError
from tinyalign.models.catalogue import HubEntry, find_hub, local_copy, user_folder

# Weights only as safetensors or in the format that is read with weights_only=True; never code.
_WANTED = [
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab.json",
    "merges.txt",
]
_TORCH = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


@dataclass(frozen=True)
class Fetched:
    """A local file or folder, and the commit of the repository it came from (None for a hand-made copy)."""

    path: Path
    revision: str | None


def cached(entry: HubEntry) -> bool:
    """Whether the hub cache already holds this model."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(entry.repository, entry.file or "config.json"), str)


def fetch(entry: HubEntry, revision: str | None) -> Fetched:
    """The files of a hub model: from the user's folder, the hub cache, or the network, in this order.

    The files in the user's folder have no revision, so they are passed over when one is asked for.
    Raises `CheckpointError` when none of the three has them, naming the folder to put them in.
    """
    copy = local_copy(entry)
    if copy is not None and revision is None:
        return Fetched(copy, None)
    if entry.file is not None:
        path = Path(_download_file(entry.repository, entry.file, revision))
        return Fetched(path, _commit(path))
    folder = Path(_download_folder(entry.repository, revision))
    return Fetched(folder, folder.name)


def fetch_tokenizer(repository: str) -> Path:
    """The folder with another repository's tokenizer files; raises `CheckpointError` as `fetch` does."""
    beside = user_folder() / repository.replace("/", "--")
    if (beside / "tokenizer.json").is_file():
        return beside
    return Path(_download_file(repository, "tokenizer.json", None)).parent


def _download_file(repository: str, file: str, revision: str | None) -> str:
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return hf_hub_download(repository, file, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        pass  # not in the cache: ask the network
    try:
        return hf_hub_download(repository, file, revision=revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        raise _unreachable(repository, file, error) from error


def _download_folder(repository: str, revision: str | None) -> str:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repository, revision=revision, local_files_only=True, allow_patterns=[*_WANTED, *_TORCH]
        )
        if _whole(Path(folder)):
            return folder
    except (LocalEntryNotFoundError, FileNotFoundError):
        pass  # not in the cache: ask the network
    try:
        folder = snapshot_download(repository, revision=revision, allow_patterns=_WANTED)
        if not _whole(Path(folder)):
            folder = snapshot_download(repository, revision=revision, allow_patterns=[*_WANTED, *_TORCH])
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        raise _unreachable(repository, "config.json, the weights and tokenizer.json", error) from error
    return folder


def _whole(folder: Path) -> bool:
    """Whether a snapshot has weights and not only a config, as after an interrupted download."""
    weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
    return (folder / "config.json").is_file() and bool(weights)


def _unreachable(repository: str, files: str, error: Exception) -> CheckpointError:
    folder = user_folder() / repository.replace("/", "--")
    entry = find_hub(repository)
    reason = type(error).__name__
    return CheckpointError(
        f"{entry.name if entry else repository} is not on this machine and the Hugging Face hub could not be "
        f"reached ({reason}): connect to the network once, or put {files} of {repository} into {folder}."
    )


def _commit(path: Path) -> str | None:
    """The commit in a cache path `.../snapshots/COMMIT/file`."""
    return path.parent.name if path.parent.parent.name == "snapshots" else None
