"""`tinyalign edit fit`, `edit apply` and `edit show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinyalign.cli.output import JsonFlag, print_json

if TYPE_CHECKING:
    from tinyalign.edits.objective import Progress

EditFolder = Annotated[Path, typer.Argument(metavar="EDIT", help="Folder of an edit.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the app."""
    edit = typer.Typer(no_args_is_help=True, help="Fit an edit, apply it, tell what it changes.")
    edit.command()(fit)
    edit.command()(apply)
    edit.command()(show)
    app.add_typer(edit, name="edit")


def fit(
    model: Annotated[str, typer.Argument(help="Embedded name, hub name, folder or llama2.c file.")],
    prop: Annotated[str, typer.Argument(metavar="PROPERTY", help="Id or name, such as P1.")],
    out: Annotated[Path, typer.Option(help="Folder to write the edit to.")],
    method: Annotated[
        str, typer.Option(help="trits, graft, rank_one, or the cheats logit_bias and token_ban.")
    ] = "trits",
    pair: Annotated[str | None, typer.Option(help="Logit pair; by default the primary one.")] = None,
    components: Annotated[
        str,
        typer.Option(help="Where it may act, such as L1.mlp,L3.attn; by default all layers but the first."),
    ] = "",
    names: Annotated[int | None, typer.Option(help="Use only so many of the training names.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of the trit search.")] = None,
    most: Annotated[int | None, typer.Option(help="Most trits to flip.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw of the fit.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Fit an edit on the training prompts of a property and save it; a minute or two on one core."""
    from dataclasses import replace

    from tinyalign import properties
    from tinyalign.edits import FitSettings, fit_edit
    from tinyalign.models import load

    settings = FitSettings(names=names)
    given = {key: value for key, value in (("rounds", rounds), ("most", most)) if value is not None}
    settings = replace(settings, trits=replace(settings.trits, **given))
    loaded = load(model)
    with fitting_progress(f"fitting by {method}") as progress:
        edit = fit_edit(
            loaded,
            properties.get(prop),
            method=method,
            pair=pair,
            components=components.split(",") if components else None,
            seed=seed,
            settings=settings,
            progress=progress,
        )
    edit.save(out)
    if as_json:
        print_json(edit.to_json())
        return
    typer.echo(f"{edit.describe()}\nSaved to {out}.")


def apply(
    edit: EditFolder,
    out: Annotated[Path, typer.Option(help="Folder to write the edited model to.")],
    model: Annotated[
        str, typer.Option(help="The base, if it isn't found by the edit's own name for it.")
    ] = "",
) -> None:
    """Apply an edit to its base and save the edited model as a folder that every tool loads."""
    from tinyalign.edits import load_edit
    from tinyalign.models import load

    loaded = load_edit(edit)
    edited = loaded.apply(load(model or loaded.base))
    edited.save(out)
    typer.echo(f"{edited.name} ({edited.sha256[:12]}) saved to {out}.")


def show(edit: EditFolder, as_json: JsonFlag = False) -> None:
    """What an edit is, in words: method, where, how many trits, what it was fitted on."""
    from tinyalign.edits import load_edit

    loaded = load_edit(edit)
    if as_json:
        print_json(loaded.to_json())
        return
    fitted = loaded.prompts
    typer.echo(loaded.describe())
    typer.echo(
        f"Fitted on the {fitted.get('split', 'unknown')} split, seed {loaded.seed}, words "
        f"{', '.join(loaded.fit_words['satisfying'])} against {', '.join(loaded.fit_words['violating'])}; "
        f"base {loaded.base_sha256[:12]}, edited {loaded.edited_sha256[:12]}."
    )
    typer.echo(loaded.diff())


@contextmanager
def fitting_progress(what: str) -> Iterator[Progress]:
    """A progress bar that shows the loss of a fit falling."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=None, told="")

        def advance(done: int, total: int, parts: Mapping[str, float]) -> None:
            told = f"hold {parts['hold']:.2f}" if "hold" in parts else ""
            if "flipped" in parts:
                told += f", {parts['flipped']:.0f} trits"
            bar.update(task, completed=done, total=total, told=told)

        yield advance
