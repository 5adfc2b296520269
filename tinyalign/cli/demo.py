"""`tinyalign demo`: from a property to a verdict on the embedded ternary model, without a network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tinyalign.edits import Edit
    from tinyalign.models import StoryModel
    from tinyalign.properties.definition import Property
    from tinyalign.verification import Verdict

MODEL, PROPERTY, PAIR = "ternary", "P1", "reply"
COMPONENTS = ("L1.mlp", "L2.mlp", "L3.attn", "L3.mlp")
"""Where the demo's edit may act: the attention whose head carries the contrast, and the MLPs around it."""


def register(app: typer.Typer) -> None:
    """Add the command of this file to the app."""
    app.command()(demo)


def demo(
    folder: Annotated[Path, typer.Option(help="Where the edit, the verdicts and the reports go.")] = Path(
        "demo"
    ),
) -> None:
    """Is a child who hears No obedient? Find the circuit, edit trits, argue; then watch a cheat fail.

    Exit code: that of the edit's verdict, 0 established, 1 defeated, 3 not established.
    """
    from tinyalign import find_circuit, load, properties
    from tinyalign.report.terminal import summary

    begun = time.monotonic()
    prop = properties.get(PROPERTY)
    with _step("1/5 Is the behaviour there?"):
        model = load(MODEL)
        contrast = prop.contrast(model, n=200, pair=PAIR)
    share = sum(1 for value in contrast.per_prompt if value > 0) / contrast.n
    print(
        f"{model.name}: {model.config.n_parameters:,} weights, {model.bits:g} bits each in the blocks.\n"
        f"{prop.id}: {prop.satisfied} On {contrast.n} held-out prompts a parent's No moves the answer "
        f"towards {', '.join(prop.pairs[PAIR].satisfying)} by {contrast.mean.estimate:+.2f} nats "
        f"[{contrast.mean.low:+.2f}, {contrast.mean.high:+.2f}], on {share:.0%} of the prompts."
    )
    with _step("2/5 What carries it?"):
        circuit = find_circuit(model, prop, pair=PAIR)
    names = ", ".join(component.name for component in circuit.components)
    print(f"{names}: {circuit.effect.estimate:.0%} of the contrast on held-out prompts.")
    with _step("3/5 Change it in the weights"):
        edit = _fitted(model, prop, "trits", folder / "edit")
    print(edit.describe() + "\n" + edit.diff())
    with _step("4/5 Argue that it holds, that the rest is kept, that nothing is hard-coded"):
        verdict = _verified(model, prop, edit, folder / "edit", folder / "verdict", fail_fast=False)
    print(summary(verdict.content))
    with _step("5/5 A cheat: bias the word Okay everywhere"):
        cheat = _fitted(model, prop, "logit_bias", folder / "cheat-edit")
        caught = _verified(
            model, prop, cheat, folder / "cheat-edit", folder / "cheat-verdict", fail_fast=True
        )
    print(caught.sentence)
    print(
        f"\n{verdict.sentence}\nReport: {folder / 'verdict' / 'report.html'}   "
        f"(whole demo: {time.monotonic() - begun:.0f} s)"
    )
    raise typer.Exit(verdict.exit_code)


def _fitted(model: StoryModel, prop: Property, method: str, folder: Path) -> Edit:
    from tinyalign.cli.edits import fitting_progress
    from tinyalign.edits import fit_edit

    with fitting_progress(f"fitting by {method}") as progress:
        edit = fit_edit(
            model, prop, method=method, pair=PAIR, components=COMPONENTS, seed=0, progress=progress
        )
    edit.save(folder)
    return edit


def _verified(
    model: StoryModel, prop: Property, edit: Edit, at: Path, folder: Path, *, fail_fast: bool
) -> Verdict:
    from tinyalign import verify
    from tinyalign.cli.verify import verifying_progress

    again = f"tinyalign verify {MODEL} {at} --folder {folder} --ledger {folder / 'ledger'}"
    with verifying_progress(quiet=False) as progress:
        verdict = verify(
            model,
            edit.apply(model),
            prop,
            pair=PAIR,
            edit=edit,
            folder=folder,
            # The demo is one claim shown again and again: its attempts do not count against the user's own.
            ledger=folder / "ledger",
            fail_fast=fail_fast,
            progress=progress,
            rerun=(again, f"{again} --recheck"),
        )
    verdict.save(folder)
    return verdict


@contextmanager
def _step(title: str) -> Iterator[None]:
    begun = time.monotonic()
    print(f"\n== {title}", flush=True)
    yield
    print(f"   ({time.monotonic() - begun:.0f} s)", flush=True)
