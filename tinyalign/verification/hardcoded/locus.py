"""Check 1, locus: stock decoding, and nothing changed outside the blocks (or outside the claimed sites)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import nn

from tinyalign.models.identity import canonical_config, identity, tokenizer_json
from tinyalign.models.story_model import StoryModel
from tinyalign.ternary import TernaryLinear
from tinyalign.verification.context import Context
from tinyalign.verification.hardcoded.differences import TensorChange, changes
from tinyalign.verification.hardcoded.figures import bars
from tinyalign.verification.leaf import Leaf, register_leaf
from tinyalign.verification.results import LeafResult, Row

if TYPE_CHECKING:
    from tinyalign.edits import Edit


@register_leaf
@dataclass(frozen=True, kw_only=True)
class Locus(Leaf):
    """Everything outside the blocks is bit-identical to the base, and nothing but the network decodes.

    Compared are every parameter and buffer (embedding, unembedding, final norm, positions, rotary tables),
    the configuration, the tokenizer, the classes of all modules, hooks, overridden `forward`s and the
    generation settings; tensors that only one network has count as changed wherever they are. With `within`
    "edit" the changed modules must also be among the artifact's `sites`. Deterministic: one row.
    """

    within: Literal["blocks", "edit"] = "edit"

    kind: ClassVar[str] = "locus"

    def planned(self, context: Context) -> int:
        """One row."""
        return 1

    def measure(self, context: Context, indices: range) -> list[Row]:
        """What changed, tensor by tensor, and every reason why that is not only weights in the blocks."""
        found = changes(context.base, context.edited)
        edit = context.edit if self.within == "edit" else None
        row: Row = {
            "changed": [one.to_json() for one in found],
            "problems": [
                *_outside_blocks(found),
                *_surroundings(context.base, context.edited),
                *_identities(context.base, context.edited),
                *(_outside_sites(found, edit, context) if edit is not None else []),
            ],
            "sites": None if edit is None else list(edit.sites),
        }
        return [row for _ in indices]

    def conclude(self, context: Context, rows: Sequence[Row], alpha: float) -> LeafResult:
        """Established without a problem, defeated with one; the summary names the tensors."""
        row = rows[0]
        changed, problems = row["changed"], row["problems"]
        if problems:
            summary = f"Not only the blocks changed: {'; '.join(problems)}."
        elif not changed:
            summary = "Nothing changed at all: the edited network is the base."
        else:
            names = ", ".join(f"{one['name']} ({one['entries']} of {one['total']})" for one in changed[:6])
            more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
            where = "inside the blocks" if row["sites"] is None else "inside the claimed sites"
            summary = f"Changed, all {where}: {names}{more}; everything else is bit-identical."
        return LeafResult(
            id=self.id,
            kind=self.kind,
            claim=self.claim,
            status="defeated" if problems else "established",
            summary=summary,
            estimate=float(len(problems)),
            low=float(len(problems)),
            high=float(len(problems)),
            margin=0.0,
            direction="<=",
            unit="things changed outside",
            n=len(rows),
            details={
                "problems": problems,
                "sites": row["sites"],
                "changed": changed,
                **({"changed_bars": _drawn(changed)} if changed else {}),
            },
        )


def _drawn(changed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    entries = {one["name"]: float(one["entries"]) for one in changed}
    return bars(entries, "Entries that differ, tensor by tensor", "entries")


def _outside_blocks(found: Sequence[TensorChange]) -> list[str]:
    problems = []
    for one in found:
        if one.sort in ("added", "removed"):
            problems.append(f"the tensor {one.name} was {one.sort} ({one.part})")
        elif one.part != "block":
            problems.append(f"{one.name} ({one.part}) differs in {one.entries} of {one.total} entries")
    return problems


def _outside_sites(found: Sequence[TensorChange], edit: Edit, context: Context) -> list[str]:
    sites = tuple(edit.sites)
    problems = [
        f"{one.name} changed, but the edit claims {', '.join(sites) or 'no site'} only"
        for one in found
        if not any(site in (one.module, one.name) for site in sites)
    ]
    for which, claimed, model in (
        ("base", edit.base_sha256, context.base),
        ("edited", edit.edited_sha256, context.edited),
    ):
        if claimed != model.sha256:
            problems.append(
                f"the edit is about another {which} model ({claimed[:12]}, not {model.sha256[:12]})"
            )
    return problems


def _identities(base: StoryModel, edited: StoryModel) -> list[str]:
    """Models whose weights are not those that their SHA-256 was taken of."""
    return [
        f"the {which} model's weights were changed after it was loaded: its SHA-256 no longer fits"
        for which, model in (("base", base), ("edited", edited))
        if identity(model.network, model.tokenizer, model.revision) != model.sha256
    ]


def _surroundings(base: StoryModel, edited: StoryModel) -> list[str]:
    """What decodes beside the weights: configuration, tokenizer, code, hooks, generation settings."""
    problems = []
    if canonical_config(base.network) != canonical_config(edited.network):
        problems.append("the configuration differs")
    if type(base) is not type(edited):
        problems.append(f"the model is a {type(edited).__name__}, not a {type(base).__name__}")
    tokenizers = [
        "none" if model.tokenizer is None else tokenizer_json(model.tokenizer) for model in (base, edited)
    ]
    if tokenizers[0] != tokenizers[1]:
        problems.append("the tokenizer differs")
    if _generation(base) != _generation(edited):
        problems.append("the generation settings differ")
    return [*problems, *_code(base.network, edited.network)]


def _generation(model: StoryModel) -> str:
    settings = getattr(model.network, "generation_config", None)
    if settings is None:
        return "none"
    fields = {key: value for key, value in settings.to_dict().items() if key != "transformers_version"}
    return repr(sorted(fields.items(), key=lambda item: item[0]))


def _code(base: nn.Module, edited: nn.Module) -> list[str]:
    """Modules of another class, with hooks, or with a method of their own."""
    classes = {name: _class(module) for name, module in base.named_modules()}
    problems = []
    for name, module in edited.named_modules():
        place = name or "the network"
        if name not in classes:
            problems.append(f"the module {place} ({type(module).__name__}) was added")
        elif _class(module) != classes[name]:
            problems.append(f"{place} is a {type(module).__name__}, not what the base has")
        if module._forward_hooks or module._forward_pre_hooks:
            problems.append(f"{place} has hooks that change what it computes")
        if "forward" in vars(module):
            problems.append(f"{place} has a forward of its own")
    return problems


def _class(module: nn.Module) -> type:
    # A ternary layer and the plain layer of its levels count as one: the quantisation check tells them apart.
    return nn.Linear if isinstance(module, TernaryLinear) else type(module)
