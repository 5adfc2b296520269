"""Which models the CUDA kernel serves, and why it refuses others."""

from __future__ import annotations

from tinyalign.common.errors import InputError
from tinyalign.engine.cpu.serving import LLAMA, family_of
from tinyalign.engine.cpu.serving import refusal as general_refusal
from tinyalign.models import StoryModel

# Registers hold a head's sums, one a number.
LARGEST_D_HEAD = 128


def refusal(model: StoryModel, device_type: str = "cuda") -> str | None:
    """Why the kernel doesn't serve `model`, in a few words that follow "the model"; None if it does."""
    reason = general_refusal(model, device_type)
    if reason is not None:
        return reason
    if family_of(model) is not LLAMA:
        return f"is a {model.config.architecture}, not a LlamaForCausalLM"
    if model.config.d_head > LARGEST_D_HEAD:
        return f"has heads of {model.config.d_head} numbers, more than {LARGEST_D_HEAD}"
    return None


def check_served(model: StoryModel, device_type: str = "cuda") -> None:
    """Raises `InputError`, saying why, for a model that the kernel doesn't serve."""
    reason = refusal(model, device_type)
    if reason is not None:
        raise InputError(
            f"The CUDA backend cannot run {model.name}, which {reason}: use backend='static' or 'torch'."
        )
