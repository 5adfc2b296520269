"""What comes before the first sample: the argument, who is present, the ledger's attempt, the sealed seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyalign.common.errors import InputError, unknown_name
from tinyalign.models.identity import identity
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.properties.registry import all_properties
from tinyalign.verification.argument import Argument, load_argument
from tinyalign.verification.canonical import sha256_of
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.ledger import Ledger
from tinyalign.verification.present import is_present, present_contrast, present_properties
from tinyalign.verification.seal import Seal, sealed_seed, specification
from tinyalign.verification.texts import StorySource, story_source
from tinyalign.verification.tree import leaf_alphas

if TYPE_CHECKING:
    from tinyalign.circuits import Localization
    from tinyalign.edits import Edit


@dataclass(frozen=True)
class Case:
    """Everything that a verification is about, before it is sealed."""

    base: StoryModel
    edited: StoryModel
    prop: Property
    pair: LogitPair
    argument: Argument
    preserved: tuple[tuple[Property, LogitPair], ...]
    stories: StorySource
    edit: Edit | None
    localization: Localization | None

    @property
    def specification(self) -> dict[str, Any]:
        """What is claimed and on which data, as JSON values."""
        return specification(
            self.argument, self.prop, self.pair, self.preserved, self.stories, self.localization
        )

    @property
    def claim(self) -> str:
        """Identity of what is to be established: specification and base. Attempts on it are counted."""
        return sha256_of({"specification": sha256_of(self.specification), "base": self.base.sha256})

    def seal(self, ledger: Ledger, alpha: float) -> Seal:
        """Enter the attempt and draw the seed; raises what the ledger raises."""
        about = f"{self.argument.name}: {self.prop.id} {self.pair.name} on {self.base.name}"
        attempt = ledger.attempt(self.claim, self.edited.sha256, alpha, about)
        identity = sha256_of(self.specification)
        return Seal(
            specification_sha256=identity,
            base_sha256=self.base.sha256,
            edited_sha256=self.edited.sha256,
            seed=sealed_seed(identity, self.base.sha256, self.edited.sha256),
            attempt=attempt.number,
            alpha=attempt.alpha,
            ledger_chain=attempt.chain,
        )

    def context(self, seal: Seal) -> Context:
        """What leaves are measured in."""
        return Context(
            base=self.base,
            edited=self.edited,
            prop=self.prop,
            pair=self.pair,
            seed=seal.seed,
            edit=self.edit,
            alpha=seal.alpha,
            localization=self.localization,
            preserved=self.preserved,
            stories=self.stories,
        )


def prepare(
    base: StoryModel,
    edited: StoryModel,
    prop: Property,
    *,
    pair: str | None = None,
    edit: Edit | None = None,
    argument: str | Path = "standard",
    localization: Localization | None = None,
    stories: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Case:
    """Check that models, property, pair and argument go together, and find what is to be preserved.

    `pair` names one of the property's logit pairs; by default the edit's, else the primary one. Raises
    `UnknownNameError` or `DataError` for names and templates, `InputError` for models that do not go
    together, an edit of another base or result, or a property that must be present in the base and is not.
    """
    name = pair or (edit.pair if edit is not None and edit.property_id == prop.id else prop.primary)
    if name not in prop.pairs:
        raise unknown_name(f"logit pair of {prop.name}", name, list(prop.pairs))
    chosen = prop.pairs[name]
    if base.config.d_vocab != edited.config.d_vocab:
        raise InputError(
            f"The base has {base.config.d_vocab} tokens, the edited model {edited.config.d_vocab}: an edit "
            "keeps the tokenizer."
        )
    for model in (base, edited):
        if identity(model.network, model.tokenizer, model.revision) != model.sha256:
            raise InputError(
                f"The weights of {model.name} were changed in place after it was loaded: verify a model "
                "made by `edit.apply`, or load it again."
            )
    if edit is not None:
        _check_edit(edit, base, edited)
    loaded = load_argument(argument, prop, chosen)
    if "present" in loaded.requires:
        contrast = present_contrast(base, prop, chosen)
        if not is_present(contrast):
            raise InputError(
                f"{prop.id} ({prop.name}, pair {name}) is not present in {base.name}: its contrast is "
                f"{contrast.estimate:+.2f} nats ({contrast.low:+.2f} to {contrast.high:+.2f}), and "
                f"{loaded.name!r} needs at least +.5 with a low end above +.25: take another property."
            )
    # The property's own primary pair is one of the others where another of its pairs is at stake.
    others = [other for other in all_properties() if other.id != prop.id or name != prop.primary]
    preserved = present_properties(base, others, progress) if _needs_preserved(loaded) else ()
    return Case(base, edited, prop, chosen, loaded, preserved, story_source(stories), edit, localization)


def leaf_contexts(case: Case, context: Context) -> Mapping[str, tuple[Leaf, Context]]:
    """Every leaf by id with its context, which has the error that the leaf may spend."""
    alphas = leaf_alphas(case.argument.root, context.alpha)
    return {leaf.id: (leaf, replace(context, alpha=alphas[leaf.id])) for leaf in case.argument.leaves}


def _needs_preserved(argument: Argument) -> bool:
    return any(leaf.kind == "paired" for leaf in argument.leaves)


def _check_edit(edit: Edit, base: StoryModel, edited: StoryModel) -> None:
    if edit.base_sha256 != base.sha256:
        raise InputError(
            f"The edit was fitted on a base of identity {edit.base_sha256[:16]}, but {base.name} is "
            f"{base.sha256[:16]}: give the model it belongs to."
        )
    if edit.edited_sha256 != edited.sha256:
        raise InputError(
            f"The edit gives a model of identity {edit.edited_sha256[:16]}, but the edited model is "
            f"{edited.sha256[:16]}: apply the edit again."
        )
