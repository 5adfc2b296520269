"""Tiny random story models, float and ternary, with the embedded tokenizer."""

from __future__ import annotations

from functools import cache

from tests.verification.models import tiny_base
from tinyalign.models import StoryModel, load, ternarize


def tiny_float() -> StoryModel:
    """Two layers of width 32 at random."""
    return tiny_base()


@cache
def tiny_ternary() -> StoryModel:
    """The same with ternary blocks."""
    return ternarize(tiny_base(), 1.58)


@cache
def embedded() -> StoryModel:
    """The embedded ternary model: its trits mean something, so that a search finds some to flip."""
    return load("ternary", device="cpu")
