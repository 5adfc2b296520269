"""Which backend runs: the fused C++ decoder where it serves a model, PyTorch elsewhere."""

from __future__ import annotations

import warnings

from tinyalign.common.errors import InputError
from tinyalign.models import StoryModel

BACKENDS = ("auto", "torch", "cpu")


def served_on_cpu(model: object, backend: str, doing: str) -> StoryModel | None:
    """The model where the CPU backend is to run it, None where torch is.

    `doing` begins the warning where "auto" can only take torch for a `StoryModel` that is on the CPU.
    Raises `InputError` for an unknown backend, or where the one asked for by name cannot run the model.
    """
    if backend not in BACKENDS:
        raise InputError(f"Backend {backend!r} is unknown: expected one of {', '.join(BACKENDS)}.")
    if backend == "torch":
        return None
    if not isinstance(model, StoryModel):
        if backend == "cpu":
            raise InputError(f"The CPU backend runs a StoryModel, not a {type(model).__name__}: load one.")
        return None
    if backend == "auto" and model.device.type != "cpu":
        return None
    from tinyalign.engine.cpu.build import library
    from tinyalign.engine.cpu.serving import check_served

    try:
        check_served(model)
        library()
    except InputError as error:
        if backend == "cpu":
            raise
        warnings.warn(f"{doing} runs on torch, several times slower: {error}", stacklevel=3)
        return None
    return model
