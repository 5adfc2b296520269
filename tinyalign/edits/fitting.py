"""`fit_edit`: one call for every way to fit an edit, from a model and a property to a frozen `Edit`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from tinyalign.common.errors import EditError, unknown_name
from tinyalign.edits.baselines import logit_bias, token_ban
from tinyalign.edits.batches import (
    FitWords,
    NeutralText,
    OtherPrompts,
    TrainingPrompts,
    alike,
    default_words,
    neutral_text,
)
from tinyalign.edits.changes import difference
from tinyalign.edits.edit import Edit
from tinyalign.edits.graft import GraftSettings, fit_graft
from tinyalign.edits.objective import Material, Progress, Terms
from tinyalign.edits.rank_one import RankOneSettings, fit_rank_one
from tinyalign.edits.sites import Sites, sites_of
from tinyalign.edits.trits import SearchSettings, TritSearch
from tinyalign.models import StoryModel
from tinyalign.models.story_model import make_story_model
from tinyalign.properties.definition import Property

if TYPE_CHECKING:
    from tinyalign.circuits import Localization

METHODS = ("trits", "graft", "rank_one", "logit_bias", "token_ban")


@dataclass(frozen=True)
class FitSettings:
    """What the methods go by; each reads its own part. `names` cuts the training names to so few."""

    terms: Terms = field(default_factory=Terms)
    trits: SearchSettings = field(default_factory=SearchSettings)
    graft: GraftSettings = field(default_factory=GraftSettings)
    rank_one: RankOneSettings = field(default_factory=RankOneSettings)
    names: int | None = None
    neutral_stories: int = 160


@dataclass(frozen=True, eq=False)
class _Case:
    model: StoryModel
    prompts: TrainingPrompts
    others: OtherPrompts
    text: NeutralText
    sites: Sites
    settings: FitSettings
    progress: Progress | None

    def material(self, start: int) -> Material:
        return Material(self.model.network, self.prompts, self.others, self.text, start)


@dataclass(frozen=True, eq=False)
class _Fitted:
    network: nn.Module
    record: Mapping[str, Any]
    rank: int | None = None


def fit_edit(
    model: StoryModel,
    prop: Property,
    circuit: Localization | None = None,
    *,
    method: str = "trits",
    pair: str | None = None,
    words: FitWords | None = None,
    components: Sequence[str] | None = None,
    seed: int = 0,
    settings: FitSettings | None = None,
    progress: Progress | None = None,
) -> Edit:
    """Fit an edit that makes the satisfying words of a pair preferred where the antecedent stands.

    Everything is fitted on the training split of the property's grammar and on neutral text that the model
    itself tells, under the damage terms of `Terms`. `method`: "trits" (any ternary model), "graft" (ternary,
    gated MLPs), "rank_one" (any model; re-ternarised in a ternary one), or the baselines "logit_bias" and
    "token_ban". `components` name where it may act ("L1.mlp", "L3.attn", "L3H0");
    without them those of `circuit`, without that every layer but the first. `words` are fitted on, by
    default the first word of either set of the pair. The same arguments give the same edit: of a
    model on another device a copy is fitted on the CPU.

    Raises `UnknownNameError` for an unknown method or pair, `EditError` where the method does not fit the
    model or finds nothing.
    """
    if method not in METHODS:
        raise unknown_name("edit method", method, list(METHODS))
    pair = pair or prop.primary
    if pair not in prop.pairs:
        raise unknown_name(f"logit pair of {prop.name}", pair, list(prop.pairs))
    if model.device.type != "cpu":
        network: Any = copy.deepcopy(model.network)
        model = replace(model, network=network.to("cpu"))
    settings = settings or FitSettings()
    chosen = words or default_words(prop.pairs[pair])
    named = components or (None if circuit is None else [one.name for one in circuit.components])
    case = _Case(
        model=model,
        prompts=TrainingPrompts(model, prop, prop.pairs[pair], chosen, seed, settings.names),
        others=OtherPrompts(model, alike(prop), seed),
        text=neutral_text(model, seed, stories=settings.neutral_stories),
        sites=sites_of(model, named),
        settings=settings,
        progress=progress,
    )
    fitted = _FITS[method](case)
    return as_edit(
        model,
        fitted.network,
        method=method,
        property_id=prop.id,
        pair=pair,
        seed=seed,
        prompts=case.prompts.to_json(),
        fit_words=chosen.to_json(),
        components=case.sites.components,
        rank=fitted.rank,
        record=fitted.record,
    )


def as_edit(
    model: StoryModel,
    network: nn.Module,
    *,
    method: str,
    property_id: str,
    pair: str,
    seed: int = 0,
    prompts: Mapping[str, Any] | None = None,
    fit_words: Mapping[str, list[str]] | None = None,
    components: Sequence[str] = (),
    rank: int | None = None,
    record: Mapping[str, Any] | None = None,
) -> Edit:
    """The edit that turns `model` into `network`, a changed copy of its network.

    Also the way to bring an edit of your own making. Raises `EditError` when nothing differs.
    """
    changes = difference(model.network, network)
    if not changes and method in METHODS:
        raise EditError(
            f"The method {method} found nothing to change in {model.name}: allow more components or rounds."
        )
    edited = make_story_model(_like(model, network), model.tokenizer, source=model.source, name=model.name)
    return Edit(
        method=method,
        base=model.name,
        base_sha256=model.sha256,
        edited_sha256=edited.sha256,
        property_id=property_id,
        pair=pair,
        seed=seed,
        prompts=dict(prompts or {}),
        fit_words=dict(fit_words or {"satisfying": [], "violating": []}),
        components=tuple(components),
        changes=changes,
        rank=rank,
        record=dict(record or {}),
    )


def _like(model: StoryModel, network: nn.Module) -> Any:
    if type(network) is not type(model.network):
        raise EditError(
            f"The edited network is a {type(network).__name__}, the model a {type(model.network).__name__}."
        )
    return network


def _fit_trits(case: _Case) -> _Fitted:
    search = TritSearch(
        case.material(case.sites.first_layer), case.sites.allowed, case.settings.terms, case.settings.trits
    )
    rounds = search.run(case.progress)
    return _Fitted(search.network, {"rounds": rounds, "terms": case.settings.terms.to_json()})


def _fit_graft(case: _Case) -> _Fitted:
    found = fit_graft(
        case.material(case.sites.last_mlp), case.settings.terms, case.settings.graft, case.progress
    )
    return _Fitted(found.network, {"neurons": list(found.neurons), "tries": found.record})


def _fit_rank_one(case: _Case) -> _Fitted:
    # One direction cannot keep every word still as many trits can: it is asked for less.
    found = fit_rank_one(
        case.material(case.sites.last_mlp),
        case.sites.last_mlp_output,
        case.settings.terms.eased(0.1),
        case.settings.rank_one,
        case.progress,
    )
    # On the lattice the change is no longer of rank one: it is described by its trits.
    return _Fitted(found.network, {"steps": found.record}, None if case.model.bits < 2 else 1)


def _fit_logit_bias(case: _Case) -> _Fitted:
    return _Fitted(logit_bias(case.model, case.prompts, case.text), {})


def _fit_token_ban(case: _Case) -> _Fitted:
    return _Fitted(token_ban(case.model, case.prompts, case.text), {})


_FITS: Mapping[str, Callable[[_Case], _Fitted]] = {
    "trits": _fit_trits,
    "graft": _fit_graft,
    "rank_one": _fit_rank_one,
    "logit_bias": _fit_logit_bias,
    "token_ban": _fit_token_ban,
}
