"""Keys and values from before, under either of the names that transformers has for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.models.tiny import story_model, token_ids
from tinyalign.models.caching import cache_of, kept_in


@pytest.mark.parametrize("kind", ["llama-gqa", "neo"])
@torch.no_grad()
def test_a_network_goes_on_from_its_cache(kind: str) -> None:
    network: Any = story_model(kind).network
    ids = token_ids(20)
    begun = network(ids[:, :12], use_cache=True)
    rest = network(ids[:, 12:], **kept_in(network, cache_of(begun)))
    assert (rest.logits - network(ids).logits[:, 12:]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_both_names_are_known(name: str) -> None:
    forward: Any = {"cache": lambda cache: cache, "past_key_values": lambda past_key_values: past_key_values}
    assert kept_in(SimpleNamespace(forward=forward[name]), 3) == {name: 3, "use_cache": True}
    assert cache_of({name: 4}) == 4
