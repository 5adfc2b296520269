"""The hooks of a bridge, with shapes, and whether they are causally live: the table of HOOKS.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["GPT-Neo", "Llama"]
Switch = Literal["", "use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in"]

_FAMILIES: tuple[Family, ...] = ("GPT-Neo", "Llama")
_STREAM = "batch pos d_model"
_QUERY = "batch pos n_heads d_head"
_KEY = "batch pos n_kv_heads d_head"
_SQUARE = "batch n_heads q_pos k_pos"
_MLP = "batch pos d_mlp"
_FORKED = "batch pos n_heads d_model"


@dataclass(frozen=True)
class Hook:
    """A hook that is live: changing what passes through it changes the logits.

    Attributes:
        name: `{l}` stands for the layer.
        shape: of the activation.
        families: the model families that have it; ternary and 1-bit models have the hooks of their family.
        needs: the TransformerLens switch that must be on, or "".
        unforked: whether it is passed by (it fires no more, or without effect) while `use_split_qkv_input`
            or `use_attn_in` is on, since the heads then read their own copies of the residual stream.
    """

    name: str
    shape: str
    families: tuple[Family, ...] = _FAMILIES
    needs: Switch = ""
    unforked: bool = False


HOOKS: tuple[Hook, ...] = (
    Hook("hook_embed", _STREAM),
    Hook("embed.hook_in", "batch pos"),
    Hook("embed.hook_out", _STREAM),
    Hook("hook_pos_embed", _STREAM, ("GPT-Neo",)),
    Hook("pos_embed.hook_in", "1 pos", ("GPT-Neo",)),
    Hook("pos_embed.hook_out", _STREAM, ("GPT-Neo",)),
    Hook("rotary_emb.hook_cos", "1 pos d_head", ("Llama",)),
    Hook("rotary_emb.hook_sin", "1 pos d_head", ("Llama",)),
    Hook("blocks.{l}.hook_in", _STREAM),
    Hook("blocks.{l}.hook_resid_pre", _STREAM),
    Hook("blocks.{l}.ln1.hook_in", _STREAM, unforked=True),
    Hook("blocks.{l}.ln1.hook_scale", "batch pos 1", unforked=True),
    Hook("blocks.{l}.ln1.hook_normalized", _STREAM, unforked=True),
    Hook("blocks.{l}.ln1.hook_out", _STREAM, unforked=True),
    Hook("blocks.{l}.hook_attn_in", _FORKED, needs="use_attn_in"),
    Hook("blocks.{l}.attn.hook_attn_in", _FORKED, needs="use_attn_in"),
    Hook("blocks.{l}.hook_q_input", _FORKED, needs="use_split_qkv_input"),
    Hook("blocks.{l}.hook_k_input", "batch pos n_kv_heads d_model", needs="use_split_qkv_input"),
    Hook("blocks.{l}.hook_v_input", "batch pos n_kv_heads d_model", needs="use_split_qkv_input"),
    Hook("blocks.{l}.attn.hook_q_input", _FORKED, needs="use_split_qkv_input"),
    Hook("blocks.{l}.attn.hook_k_input", "batch pos n_kv_heads d_model", needs="use_split_qkv_input"),
    Hook("blocks.{l}.attn.hook_v_input", "batch pos n_kv_heads d_model", needs="use_split_qkv_input"),
    Hook("blocks.{l}.attn.hook_in", _STREAM, unforked=True),
    Hook("blocks.{l}.attn.q.hook_in", _STREAM, unforked=True),
    Hook("blocks.{l}.attn.k.hook_in", _STREAM, unforked=True),
    Hook("blocks.{l}.attn.v.hook_in", _STREAM, unforked=True),
    Hook("blocks.{l}.attn.hook_q", _QUERY),
    Hook("blocks.{l}.attn.hook_k", _KEY),
    Hook("blocks.{l}.attn.hook_v", _KEY),
    Hook("blocks.{l}.attn.q.hook_out", _QUERY),
    Hook("blocks.{l}.attn.k.hook_out", _KEY),
    Hook("blocks.{l}.attn.v.hook_out", _KEY),
    Hook("blocks.{l}.attn.hook_cos", "1 pos d_head", ("Llama",)),
    Hook("blocks.{l}.attn.hook_sin", "1 pos d_head", ("Llama",)),
    Hook("blocks.{l}.attn.hook_rot_q", _QUERY, ("Llama",)),
    Hook("blocks.{l}.attn.hook_rot_k", _KEY, ("Llama",)),
    Hook("blocks.{l}.attn.hook_attn_scores", _SQUARE),
    Hook("blocks.{l}.attn.hook_pattern", _SQUARE),
    Hook("blocks.{l}.attn.hook_z", _QUERY),
    Hook("blocks.{l}.attn.o.hook_in", _QUERY),
    Hook("blocks.{l}.attn.hook_result", _FORKED, needs="use_attn_result"),
    Hook("blocks.{l}.attn.o.hook_out", _STREAM),
    Hook("blocks.{l}.attn.hook_out", _STREAM),
    Hook("blocks.{l}.hook_attn_out", _STREAM),
    Hook("blocks.{l}.hook_resid_mid", _STREAM),
    Hook("blocks.{l}.hook_mlp_in", _STREAM, needs="use_hook_mlp_in"),
    Hook("blocks.{l}.ln2.hook_in", _STREAM),
    Hook("blocks.{l}.ln2.hook_scale", "batch pos 1"),
    Hook("blocks.{l}.ln2.hook_normalized", _STREAM),
    Hook("blocks.{l}.ln2.hook_out", _STREAM),
    Hook("blocks.{l}.mlp.hook_in", _STREAM),
    Hook("blocks.{l}.mlp.gate.hook_in", _STREAM, ("Llama",)),
    Hook("blocks.{l}.mlp.gate.hook_out", _MLP, ("Llama",)),
    Hook("blocks.{l}.mlp.in.hook_in", _STREAM),
    Hook("blocks.{l}.mlp.in.hook_out", _MLP),
    Hook("blocks.{l}.mlp.hook_pre", _MLP),
    Hook("blocks.{l}.mlp.hook_pre_linear", _MLP, ("Llama",)),
    Hook("blocks.{l}.mlp.hook_post", _MLP),
    Hook("blocks.{l}.mlp.out.hook_in", _MLP),
    Hook("blocks.{l}.mlp.out.hook_out", _STREAM),
    Hook("blocks.{l}.mlp.hook_out", _STREAM),
    Hook("blocks.{l}.hook_mlp_out", _STREAM),
    Hook("blocks.{l}.hook_out", _STREAM),
    Hook("blocks.{l}.hook_resid_post", _STREAM),
    Hook("ln_final.hook_in", _STREAM),
    Hook("ln_final.hook_scale", "batch pos 1"),
    Hook("ln_final.hook_normalized", _STREAM),
    Hook("ln_final.hook_out", _STREAM),
    Hook("unembed.hook_in", _STREAM),
    Hook("unembed.hook_out", "batch pos d_vocab"),
    Hook("hook_unembed", "batch pos d_vocab"),
)

_HEAD = """# Hooks

Every hook below is causally live: setting its activation to zero changes the logits (`test_hooks.py`
checks each one in each column). Names and shapes are TransformerLens's. Under grouped queries `n_kv_heads` is
smaller than `n_heads`; elsewhere they are equal. "needs" names the switch to turn on first
(`bridge.set_use_attn_result(True)`, ...). Hooks marked * are passed by while `use_split_qkv_input` or
`use_attn_in` is on, since each head then reads its own copy of the residual stream.

A hook that is not in this table is either not there (adding to it raises) or belongs to an architecture
outside these families.

| hook | shape | GPT-Neo | Llama | ternary GPT-Neo | ternary Llama | needs |
|---|---|---|---|---|---|---|
"""


def is_dead(name: str, architecture: str) -> bool:
    """Whether TransformerLens declares this hook for the architecture but nothing depends on it."""
    leaf = name.rpartition(".")[2]
    if leaf == "hook_hidden_states" or name in ("rotary_emb.hook_in", "rotary_emb.hook_out"):
        return True
    if architecture == "GPTNeoForCausalLM":
        return leaf in ("hook_cos", "hook_sin")
    # An alias that stands for the rotary table's output, where an edit has no effect.
    return name == "hook_pos_embed"


def render() -> str:
    """The table as Markdown: the content of `HOOKS.md`."""
    rows = []
    for hook in HOOKS:
        live = ["alive" if family in hook.families else "" for family in _FAMILIES]
        star = " *" if hook.unforked else ""
        rows.append(
            f"| `{hook.name}`{star} | `{hook.shape}` | {live[0]} | {live[1]} | {live[0]} | {live[1]} "
            f"| {f'`{hook.needs}`' if hook.needs else ''} |"
        )
    return _HEAD + "\n".join(rows) + "\n"
