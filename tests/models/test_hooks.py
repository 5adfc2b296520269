"""Every hook of the table is live, in every family, float and ternary, and the table is what is published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tinyalign.models.hooks as hooks_module
from tests.models.tiny import KINDS, story_model, token_ids
from tinyalign.models.hooks import HOOKS, Hook, render

_CODES = {"batch": 2, "pos": 30, "q_pos": 30, "k_pos": 30, "n_heads": 4, "d_head": 8, "d_model": 32}
_CODES |= {"d_mlp": 64, "d_vocab": 96, "1": 1}


def _hooks_of(kind: str) -> list[Hook]:
    family = "GPT-Neo" if kind.startswith("neo") else "Llama"
    return [hook for hook in HOOKS if family in hook.families]


def _shape(hook: Hook, kind: str) -> tuple[int, ...]:
    sizes = _CODES | {"n_kv_heads": 2 if "gqa" in kind else 4}
    return tuple(sizes[word] for word in hook.shape.split())


def _zero(activation: torch.Tensor, hook: object) -> torch.Tensor:
    return torch.zeros_like(activation)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_zeroing_any_hook_of_the_table_changes_the_logits(kind: str) -> None:
    model = story_model(kind)
    bridge, ids = model.bridge, token_ids()
    plain = bridge(ids)
    switches = ("", "use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")
    silent, misshapen, seen = [], [], 0
    for switch in switches:
        if switch:
            getattr(bridge, f"set_{switch}")(True)
        for hook in _hooks_of(kind):
            if hook.needs != switch:
                continue
            for layer in range(2) if "{l}" in hook.name else (0,):
                name = hook.name.replace("{l}", str(layer))
                shapes: list[tuple[int, ...]] = []

                def zero(activation: torch.Tensor, hook: object, found=shapes) -> torch.Tensor:
                    found.append(tuple(activation.shape))
                    return torch.zeros_like(activation)

                changed = bridge.run_with_hooks(ids, fwd_hooks=[(name, zero)])
                # A zeroed scale divides by zero: NaN is a change too.
                if not bool((~torch.isclose(changed, plain, rtol=0, atol=1e-7)).any()):
                    silent.append(name)
                if shapes != [_shape(hook, kind)]:
                    misshapen.append((name, shapes, _shape(hook, kind)))
                seen += 1
        if switch:
            getattr(bridge, f"set_{switch}")(False)
    assert silent == []
    assert misshapen == []
    assert seen > 90


@pytest.mark.parametrize("kind", ["neo", "llama"])
def test_every_hook_the_bridge_offers_is_in_the_table(kind: str) -> None:
    bridge = story_model(kind).bridge
    known = {hook.name.replace("{l}", str(layer)) for hook in _hooks_of(kind) for layer in range(2)}
    assert sorted(set(bridge.hook_dict) - known) == []


@pytest.mark.parametrize("kind", ["neo", "llama"])
def test_adding_to_a_dead_hook_raises(kind: str) -> None:
    model = story_model(kind)
    with pytest.raises((KeyError, ValueError, AttributeError)):
        model.bridge.run_with_hooks(token_ids(), fwd_hooks=[("blocks.0.attn.hook_hidden_states", _zero)])


@pytest.mark.parametrize("kind", ["neo", "llama-ternary"])
@torch.no_grad()
def test_starred_hooks_are_passed_by_while_heads_read_their_own_copies(kind: str) -> None:
    bridge, ids = story_model(kind).bridge, token_ids()
    bridge.set_use_split_qkv_input(True)
    plain = bridge(ids)
    for hook in (hook for hook in _hooks_of(kind) if hook.unforked):
        name = hook.name.replace("{l}", "1")
        assert torch.equal(bridge.run_with_hooks(ids, fwd_hooks=[(name, _zero)]), plain), name


@pytest.mark.parametrize("kind", ["neo", "llama", "neo-ternary"])
@torch.no_grad()
def test_cached_scores_are_not_the_pattern(kind: str) -> None:
    _, cache = story_model(kind).bridge.run_with_cache(token_ids())
    for layer in range(2):
        scores = cache[f"blocks.{layer}.attn.hook_attn_scores"]
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        assert not torch.allclose(scores, pattern)
        torch.testing.assert_close(scores.softmax(-1), pattern)
        torch.testing.assert_close(pattern.sum(-1), torch.ones_like(pattern[..., 0]))


def test_the_published_table_is_the_checked_one() -> None:
    published = Path(hooks_module.__file__).with_name("HOOKS.md").read_text(encoding="utf-8")
    assert published == render()
