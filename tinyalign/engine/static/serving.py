"""Which models the static backend serves, and why it refuses others."""

from __future__ import annotations

import torch

from tinyalign.common.errors import InputError
from tinyalign.engine.cpu.serving import alteration
from tinyalign.models import StoryModel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def refusal(model: StoryModel) -> str | None:
    """Why the static backend doesn't serve `model`, in a few words that follow "the model"; None if it does.

    It calls the network's linear layers and norms but not its blocks, so that whatever alters a network
    refuses it here as it does on the CPU (see `tinyalign.engine.cpu.serving.alteration`).
    """
    reason = alteration(model)
    if reason is not None:
        return reason
    if model.device.type not in ("cpu", "cuda"):
        return f"is on {model.device}, neither on the CPU nor on a CUDA device"
    for name, parameter in model.network.named_parameters():
        if parameter.dtype not in DTYPES or parameter.dtype != model.network.dtype:
            return (
                f"has {parameter.dtype} weights in {name}, not torch.float32, bfloat16 or float16 throughout"
            )
        if parameter.device != model.device:
            return f"has {name} on {parameter.device} and other weights on {model.device}"
    return None


def check_served(model: StoryModel) -> None:
    """Raises `InputError`, saying why, for a model that the static backend doesn't serve."""
    reason = refusal(model)
    if reason is not None:
        raise InputError(f"The static backend cannot run {model.name}, which {reason}: use backend='torch'.")
