"""`tinyalign contrast` and `tinyalign localize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tinyalign.cli.output import JsonFlag, print_json, print_table
from tinyalign.common.errors import InputError, unknown_name

if TYPE_CHECKING:
    from tinyalign.circuits import Localization
    from tinyalign.statistics.interval import Interval
    from tinyalign.stories.grammar.lexicon import Split

ModelName = Annotated[str, typer.Argument(help="Embedded name, hub name, folder or llama2.c file.")]
PropertyName = Annotated[str, typer.Argument(help="Id or name, such as P1 or obeys-prohibition.")]
PairName = Annotated[str | None, typer.Option(help="Logit pair; by default the primary one.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the app."""
    app.command()(contrast)
    app.command()(localize)


def contrast(
    model: ModelName,
    prop: Annotated[str, typer.Argument(metavar="PROPERTY", help="Id or name, such as P1.")],
    pair: PairName = None,
    n: Annotated[int, typer.Option("--n", help="Prompts to draw.")] = 500,
    split: Annotated[str, typer.Option(help="train, development or test.")] = "test",
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Is the property there at all? log p(S) - log p(V) with the antecedent against without it."""
    from tinyalign import properties
    from tinyalign.models import load
    from tinyalign.properties.contrast import ADMISSION_LOWER_BOUND, ADMISSION_NATS

    _one_thread()
    chosen = properties.get(prop)
    found = chosen.contrast(load(model), n=n, seed=seed, split=split, pair=pair)
    if as_json:
        print_json(found.to_json())
        return
    state = "present" if found.admitted else "not present"
    typer.echo(
        f"{found.property_id} {found.property_name} ({found.pair}) is {state} in {found.model}: contrast "
        f"{_nats(found.mean)} on {found.n} {found.split} prompts (present: {ADMISSION_NATS} or more, with "
        f"the interval above {ADMISSION_LOWER_BOUND})."
    )
    rows = [("contrast", _nats(found.mean)), ("with the roles swapped", _nats(found.role_swap))]
    rows += [("contrast less role swap", _nats(found.role_gap)), ("prompts above zero", _share(found.sign))]
    print_table(("measure", "value [95% interval]"), rows)
    print_table(
        ("side", "mean log p(S) - log p(V), nats"),
        [(side.replace("_", " "), f"{value:+.2f}") for side, value in found.preference.items()],
    )


def localize(
    model: ModelName,
    prop: Annotated[str, typer.Argument(metavar="PROPERTY", help="Id or name, such as P1.")],
    pair: PairName = None,
    effect: Annotated[
        str, typer.Option(help="contrast, edit (with --base), or sensitivity: where to install it.")
    ] = "contrast",
    base: Annotated[str | None, typer.Option(help="The model that MODEL was edited from.")] = None,
    parts: Annotated[str, typer.Option(help="Parts of MLPs to choose: mlp (whole) or neuron.")] = "mlp",
    n: Annotated[int, typer.Option("--n", help="Held-out prompts.")] = 64,
    n_fit: Annotated[int | None, typer.Option(help="Training prompts.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the held-out prompts.")] = None,
    frames: Annotated[str | None, typer.Option(help="Split of their wordings, if another.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of prompts and random sets.")] = 0,
    max_components: Annotated[int, typer.Option(help="Most components to name.")] = 8,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the record to this file.")] = None,
) -> None:
    """Name the few components that carry a property, against random ones of the same number."""
    from tinyalign import properties
    from tinyalign.circuits import find_circuit
    from tinyalign.circuits.localization import EffectKind
    from tinyalign.common.files import write_json
    from tinyalign.models import load

    _one_thread()
    kinds = {kind: kind for kind in get_args(EffectKind)}
    if effect not in kinds:
        raise unknown_name("effect", effect, list(kinds))
    if parts != "mlp" and parts != "neuron":
        raise InputError(f"--parts is {parts!r}, expected mlp or neuron.")
    chosen = properties.get(prop)
    found = find_circuit(
        load(model),
        chosen,
        pair=pair,
        effect=kinds[effect],
        base=None if base is None else load(base),
        parts=parts,
        n=n,
        n_fit=n_fit,
        held_out=None if split is None else _split(split),
        mix=None if frames is None else {"frames": _split(frames)},
        seed=seed,
        max_components=max_components,
    )
    if out is not None:
        write_json(out, found.to_json())
    _show(found)


def _show(found: Localization) -> None:
    share = found.unit == "share"
    measure = _share if share else _nats
    names = ", ".join(component.name for component in found.components)
    what = {
        "contrast": "the clean runs' writes of {} restore {} of a contrast of {}",
        "edit": "the edited model's writes of {} restore {} of its effect of {}",
        "sensitivity": "a step of {} moves the preference by {}, which is {} to begin with",
    }[found.kind].format(names, measure(found.effect), _nats(found.total))
    typer.echo(
        f"{found.property_id} {found.property_name} ({found.pair}) in {found.model}, on {found.held_out.n} "
        f"{found.held_out.split} prompts: {what}."
    )
    if found.lost is not None:
        typer.echo(f"Without them (the other run's writes in their place) {_share(found.lost)} is lost.")
    spread = f"{found.random.p95:.0%}" if share else f"{found.random.p95:+.2f} nats"
    typer.echo(
        f"{found.random.sets} random sets of as many {'other ' if found.random.outside else ''}components: "
        f"95th percentile {spread}."
    )
    rows = [
        (
            ("* " if one.component in found.components else "  ") + one.component.name,
            measure(one.effect),
            "" if one.lost is None else _share(one.lost),
            "" if one.direct is None else f"{one.direct:+.2f}",
            "" if one.reads is None else _share(one.reads),
        )
        for one in found.ranked()[:12]
    ]
    print_table(("component", "alone", "lost without", "direct, logits", "reads the antecedent"), rows)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _split(name: str) -> Split:
    from tinyalign.stories.grammar.lexicon import SPLITS

    for split in SPLITS:
        if split == name:
            return split
    raise unknown_name("split", name, list(SPLITS))


def _nats(interval: Interval) -> str:
    return f"{interval.estimate:+.2f} nats [{interval.low:+.2f}, {interval.high:+.2f}]"


def _share(interval: Interval) -> str:
    return f"{interval.estimate:.0%} [{interval.low:.0%}, {interval.high:.0%}]"
