"""`tinyalign verify`: an edited model held against an argument, planned, or checked again."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinyalign.cli.output import JsonFlag, print_json, print_table
from tinyalign.common.errors import InputError

if TYPE_CHECKING:
    from tinyalign.circuits import Localization
    from tinyalign.edits import Edit
    from tinyalign.models import StoryModel
    from tinyalign.verification.running import Progress


def register(app: typer.Typer) -> None:
    """Add the command of this file to the app."""
    app.command()(verify)


def verify(
    base: Annotated[str, typer.Argument(help="The model before: a name, a folder, or a llama2.c .bin file.")],
    edited: Annotated[str, typer.Argument(help="The folder of an edit, or the model after it.")],
    property_: Annotated[
        str | None, typer.Option("--property", "-p", help="Id, name or YAML file; by default the edit's.")
    ] = None,
    pair: Annotated[
        str | None, typer.Option(help="Logit pair; by default the edit's, else the primary.")
    ] = None,
    argument: Annotated[
        str, typer.Option(help="Template: a shipped one's name or a YAML file.")
    ] = "standard",
    folder: Annotated[Path, typer.Option(help="Where rows, verdict and report go.")] = Path("verdict"),
    budget: Annotated[str | None, typer.Option(help="90 or 90s (seconds), or 5000samples.")] = None,
    alpha: Annotated[float, typer.Option(help="Error over all attempts on the claim.")] = 0.05,
    ledger: Annotated[Path | None, typer.Option(help="Folder of the attempts' record.")] = None,
    localization: Annotated[
        Path | None, typer.Option(help="JSON of `tinyalign localize`: the components claimed.")
    ] = None,
    stories: Annotated[Path | None, typer.Option(help="Held-out stories, JSON lines with `text`.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print samples, time and power; run nothing.")] = False,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Check the verdict in FOLDER again instead of making one.")
    ] = False,
    share: Annotated[float, typer.Option(help="Share of rows that a recheck measures again.")] = 0.02,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first defeat.")] = False,
    json: JsonFlag = False,
) -> None:
    """Re-run an argument on two models. Exit: 0 established, 1 defeated, 3 not established, 4 broke."""
    from tinyalign.models import load
    from tinyalign.verification import planning, preparing, rechecking, verifying
    from tinyalign.verification.canonical import TamperedError
    from tinyalign.verification.running import Budget, RunBrokeError

    spent = Budget.parse(budget) if budget is not None else Budget()
    before = load(base)
    after, edit = _edited(before, edited)
    circuit = _localization(localization)
    command = _command(base, edited, property_, pair, argument, folder, localization, stories, ledger)
    try:
        if recheck:
            known = rechecking.read_verdict(folder)
            prop = _property(property_ or known.content["property"]["id"], edit)
            template = None if argument == "standard" else argument
            with verifying_progress(quiet=json) as progress:
                checked = rechecking.recheck(
                    folder,
                    before,
                    after,
                    prop,
                    edit=edit,
                    argument=template,
                    ledger=ledger,
                    localization=circuit,
                    stories=stories,
                    share=share,
                    progress=progress,
                )
            if json:
                print_json(checked.to_json())
            else:
                print("Checked again, and the same:")
                for line in checked.checked:
                    print(f"  {line}")
                print(checked.verdict.sentence)
            raise typer.Exit(checked.verdict.exit_code)
        prop = _property(property_, edit)
        if plan:
            case = preparing.prepare(
                before,
                after,
                prop,
                pair=pair,
                edit=edit,
                argument=argument,
                localization=circuit,
                stories=stories,
                progress=_say,
            )
            _print_plan(planning.plan(case, alpha), json)
            return
        with verifying_progress(quiet=json) as progress:
            verdict = verifying.verify(
                before,
                after,
                prop,
                pair=pair,
                edit=edit,
                argument=argument,
                folder=folder,
                budget=spent,
                alpha=alpha,
                ledger=ledger,
                localization=circuit,
                stories=stories,
                fail_fast=fail_fast,
                progress=progress,
                say=_say,
                rerun=(command, f"{command} --recheck"),
            )
        report = verdict.save(folder)
    except (RunBrokeError, TamperedError) as error:
        print(f"tinyalign: {error}", file=sys.stderr)
        raise typer.Exit(4) from error
    except KeyboardInterrupt as error:
        print(
            f"tinyalign: interrupted; the rows measured so far are in {folder}, and the same command goes on "
            "from there.",
            file=sys.stderr,
        )
        raise SystemExit(130) from error
    if json:
        print_json(verdict.to_json())
    else:
        from tinyalign.report.terminal import summary

        print(summary(verdict.to_json()))
        print(f"\nReport: {report}")
    raise typer.Exit(verdict.exit_code)


def _edited(base: StoryModel, source: str) -> tuple[StoryModel, Edit | None]:
    """The edited model, and the edit where the folder holds one."""
    from tinyalign.models import load

    if (Path(source) / "edit.json").is_file():
        from tinyalign.edits import load_edit

        edit = load_edit(source)
        return edit.apply(base), edit
    return load(source), None


def _property(name: str | None, edit: Edit | None):
    from tinyalign.properties import get, load_property

    chosen = name or (edit.property_id if edit is not None else None)
    if chosen is None:
        raise InputError(
            "Which property is to be verified cannot be told from a model: name it with --property."
        )
    return load_property(chosen) if chosen.endswith((".yaml", ".yml")) else get(chosen)


def _localization(path: Path | None) -> Localization | None:
    if path is None:
        return None
    import json

    from tinyalign.circuits import Localization

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: this is no readable localization ({error}).") from error
    return Localization.from_json(content)


def _command(base: str, edited: str, *options: str | Path | None) -> str:
    names = ("property", "pair", "argument", "folder", "localization", "stories", "ledger")
    given = [
        word
        for name, value in zip(names, options, strict=True)
        if value is not None
        for word in (f"--{name}", str(value))
    ]
    return shlex.join(["tinyalign", "verify", base, edited, *given])


def _print_plan(plans: tuple, json: bool) -> None:
    if json:
        print_json([one.to_json() for one in plans])
        return
    print_table(
        ("leaf", "kind", "error", "samples", "power", "seconds, roughly"),
        [
            (
                one.id,
                one.kind,
                f"{one.alpha:.3g}",
                one.samples,
                "-" if one.power is None else f"{one.power:.2f}",
                f"{one.seconds:.1f}",
            )
            for one in plans
        ],
        title=f"{sum(one.samples for one in plans)} samples, at most about "
        f"{sum(one.seconds for one in plans):.0f} seconds",
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@contextlib.contextmanager
def verifying_progress(*, quiet: bool) -> Iterator[Progress | None]:
    """A progress bar on standard error: the leaf at work, its rows, and the time it still takes."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, TaskID] = {}

        def step(leaf: str, done: int, planned: int) -> None:
            if leaf not in tasks:
                tasks[leaf] = shown.add_task(leaf, total=planned)
            shown.update(tasks[leaf], completed=done, total=planned, visible=done < planned)

        yield step
