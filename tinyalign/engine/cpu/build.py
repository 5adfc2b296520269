"""The compiled decoder: its sources, and the library made of them on first use."""

from __future__ import annotations

import ctypes
from pathlib import Path

from tinyalign.common import compiling
from tinyalign.common.compiling import CACHE_VARIABLE, MARCH_VARIABLE, cache_folder, supports

__all__ = ["CACHE_VARIABLE", "MARCH_VARIABLE", "SOURCES", "cache_folder", "library", "supports"]

SOURCES = compiling.Sources(
    name="decoder",
    main=Path(__file__).resolve().parent / "csrc" / "decoder.cpp",
    user="The CPU backend",
    otherwise="use backend='torch'",
)


def library() -> ctypes.CDLL:
    """The compiled decoder, built now if this machine has not built it yet.

    Raises `InputError`, in one sentence, as `compiling.library` does.
    """
    return compiling.library(SOURCES)
