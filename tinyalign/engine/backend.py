"""Which backend runs: a fused decoder where one serves a model, PyTorch elsewhere."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinyalign.common.errors import InputError
from tinyalign.models import StoryModel

if TYPE_CHECKING:
    from tinyalign.engine.cpu.build import Use
    from tinyalign.engine.sampling import Cache

# What "auto" tries for a model on a kind of device, the fastest first; elsewhere it is torch.
_TRIED = {"cpu": ("cpu", "static"), "cuda": ("cuda", "static")}


def _check_cpu(model: StoryModel, use: Use) -> None:
    from tinyalign.engine.cpu.build import library
    from tinyalign.engine.cpu.serving import check_served

    check_served(model)
    library(use)


def _check_cuda(model: StoryModel, cache: Cache) -> None:
    from tinyalign.engine.cuda.gpu import check_device, check_fits
    from tinyalign.engine.cuda.serving import check_served

    check_served(model)
    check_device(model.device)
    check_fits(model, model.device, int8=cache == "int8")


def _check_static(model: StoryModel) -> None:
    from tinyalign.engine.static.serving import check_served

    check_served(model)


# They raise `InputError`, saying why, where a backend cannot run a model here.
_Checks = dict[str, Callable[[StoryModel], None]]


def _samplers(cache: Cache) -> _Checks:
    return {
        "static": _check_static,
        "cpu": functools.partial(_check_cpu, use=cache),
        "cuda": functools.partial(_check_cuda, cache=cache),
    }


def _scorers() -> _Checks:
    return {"cpu": functools.partial(_check_cpu, use="scoring")}


SAMPLING = ("auto", "torch", *_samplers("float32"))
SCORING = ("auto", "torch", *_scorers())


def sampling_backend(model: object, backend: str, cache: Cache = "float32") -> str:
    """The backend that samples `model` with a cache: the one asked for, or the first that can for "auto".

    Raises `InputError` for an unknown backend, or where the one asked for by name cannot run the model. A
    warning says why where "auto" takes another than the fastest for a `StoryModel`'s device.
    """
    return _chosen(model, backend, _samplers(cache), "Sampling")


def made_for(model: StoryModel) -> str:
    """What "auto" gives for a model on the CPU on a machine that lacks nothing."""
    from tinyalign.engine.cpu import serving
    from tinyalign.engine.static import serving as static

    return "cpu" if serving.refusal(model) is None else "static" if static.refusal(model) is None else "torch"


def served_on_cpu(model: object, backend: str, doing: str) -> StoryModel | None:
    """The model where the CPU backend is to score it, None where torch is; as `sampling_backend`."""
    chosen = _chosen(model, backend, _scorers(), doing)
    return model if chosen == "cpu" and isinstance(model, StoryModel) else None


def _chosen(model: object, backend: str, checks: _Checks, doing: str) -> str:
    known = ("auto", "torch", *checks)
    if backend not in known:
        raise InputError(f"Backend {backend!r} is unknown: expected one of {', '.join(known)}.")
    if backend == "torch":
        return backend
    if not isinstance(model, StoryModel):
        if backend == "auto":
            return "torch"
        raise InputError(f"The {backend} backend runs a StoryModel, not a {type(model).__name__}: load one.")
    if backend != "auto":
        checks[backend](model)
        return backend
    first: InputError | None = None
    tried = [name for name in _TRIED.get(model.device.type, ()) if name in checks]
    for name in tried:
        try:
            checks[name](model)
        except InputError as error:
            first = first or error
            continue
        break
    else:
        name = "torch"
    if first is not None:
        warnings.warn(f"{doing} runs on the {name} backend, several times slower: {first}", stacklevel=4)
    return name
