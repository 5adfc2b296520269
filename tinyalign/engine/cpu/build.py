"""The compiled decoder in three libraries, each built when it is first needed."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Literal

from tinyalign.common import compiling
from tinyalign.common.compiling import CACHE_VARIABLE, MARCH_VARIABLE, cache_folder, supports

__all__ = ["CACHE_VARIABLE", "MARCH_VARIABLE", "SOURCES", "Use", "cache_folder", "library", "supports"]

# Sampling with keys and values as floats or as int8, and scoring. One library for all would make the first
# story wait half as long again.
Use = Literal["float32", "int8", "scoring"]


def _sources(name: str, main: str, *flags: str) -> compiling.Sources:
    return compiling.Sources(
        name=name,
        main=Path(__file__).resolve().parent / "csrc" / main,
        user="The CPU backend",
        otherwise="use backend='torch'",
        flags=flags,
    )


SOURCES: dict[Use, compiling.Sources] = {
    "float32": _sources("decoder", "decoder.cpp"),
    "int8": _sources("decoder-int8", "decoder.cpp", "-DTINYALIGN_BYTES"),
    "scoring": _sources("scorer", "scorer.cpp"),
}


def library(use: Use) -> ctypes.CDLL:
    """The library for a use, built now if this machine has not built it yet.

    Raises `InputError`, in one sentence, as `compiling.library` does.
    """
    return compiling.library(SOURCES[use])
