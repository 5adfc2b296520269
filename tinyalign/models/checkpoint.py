"""Weights from disk, safely: safetensors or `weights_only=True`; nothing in a file is ever executed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import torch

from tinyalign.common.errors import CheckpointError
from tinyalign.ternary import ternary_layers

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors or PyTorch file, on the CPU, by name.

    A PyTorch file may nest its tensors one level down under `model`, `state_dict` or `model_state_dict`,
    as training scripts write them. Raises `CheckpointError` for a damaged file, and for a pickle with
    anything but tensors and plain containers in it, which is refused without being run.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"No weights at {path}: expected a .safetensors, .bin, .pt or .pth file.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path)


def read_folder_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a Hugging Face folder, sharded or not; safetensors are preferred."""
    for name in WEIGHT_FILES:
        file = folder / name
        if not file.is_file():
            continue
        if not name.endswith(".index.json"):
            return read_tensors(file)
        try:
            shards = sorted(set(json.loads(file.read_text())["weight_map"].values()))
        except (json.JSONDecodeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{file} is not an index of weight files: {error}.") from error
        tensors: dict[str, torch.Tensor] = {}
        for shard in shards:
            if Path(shard).name != shard:
                raise CheckpointError(f"{file} points outside its folder ({shard!r}): refused.")
            tensors |= read_tensors(folder / shard)
        return tensors
    raise CheckpointError(f"{folder} has no weights: expected one of {', '.join(WEIGHT_FILES)}.")


def check_finite(tensors: dict[str, torch.Tensor], where: str) -> None:
    """Raise `CheckpointError` naming the first tensor with NaN or infinity in it."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            broken = int((~torch.isfinite(tensor)).sum())
            raise CheckpointError(
                f"{where} has {broken:,} NaN or infinite numbers in {name}: the file is damaged or its "
                "training diverged; fetch or train it again."
            )


def load_into(network: torch.nn.Module, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Load every tensor into `network`, strictly; ternary layers, already filled, are passed over.

    Non-persistent buffers that old files still carry (attention masks, rotary frequencies) are passed
    over, and a tied output matrix may be absent. Raises `CheckpointError` on missing or unexpected
    names and wrong shapes.
    """
    filled = set(ternary_layers(network))
    state = {n: value for n, value in network.state_dict().items() if n.rpartition(".")[0] not in filled}
    stale = ("attn.attention.bias", "attn.attention.masked_bias", "rotary_emb.inv_freq")
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith(stale)}
    tied = bool(getattr(network.config, "tie_word_embeddings", False))
    missing = sorted(name for name in state if name not in given and not (tied and name == "lm_head.weight"))
    unexpected = sorted(name for name in given if name not in state)
    if missing or unexpected:
        raise CheckpointError(
            f"{where} does not fit its config: {_few(missing, 'missing')}"
            f"{' and ' if missing and unexpected else ''}{_few(unexpected, 'unexpected')}; the weights are "
            "truncated or belong to another config."
        )
    for name, tensor in given.items():
        if tuple(state[name].shape) != tuple(tensor.shape):
            raise CheckpointError(
                f"{where}: {name} has shape {tuple(tensor.shape)} where the config asks for "
                f"{tuple(state[name].shape)}; the weights belong to another config."
            )
    network.load_state_dict(given, strict=False)


def _few(names: list[str], what: str) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{what} {shown}"


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is not a whole safetensors file ({error}): it may be truncated; fetch it again."
        ) from error


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} is a pickle with code in it, or damaged; nothing was run. Ask for the weights as "
            "safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not a whole PyTorch checkpoint: fetch it again.") from error
    for nested in ("model", "state_dict", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(nested), dict):
            loaded = loaded[nested]
            break
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path.name} holds a {type(loaded).__name__}: expected named tensors.")
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(f"{path.name} holds no tensors: expected a model's weights.")
    return tensors
