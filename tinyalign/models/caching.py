"""What transformers calls keys and values from before: `cache` from 5.24 on, `past_key_values` until then."""

from __future__ import annotations

import inspect
from typing import Any

NAMES = ("cache", "past_key_values")


def kept_in(network: Any, cache: Any) -> dict[str, Any]:
    """The arguments with which a Hugging Face network goes on from `cache` (and adds to it)."""
    named = inspect.signature(network.forward).parameters
    return {NAMES[0] if NAMES[0] in named else NAMES[1]: cache, "use_cache": True}


def cache_of(output: Any) -> Any:
    """The cache in what a Hugging Face network called with `use_cache` gives."""
    return output[NAMES[0]] if NAMES[0] in output else output[NAMES[1]]
