"""Commands about training: train, eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinyalign.cli.output import JsonFlag, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the app."""
    app.command()(train)
    app.command(name="eval")(evaluate)


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's YAML file, or the name of one that ships.")],
    runs: Annotated[Path, typer.Option(help="Where checkpoints and results go.")] = Path("runs"),
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate time and memory.")] = False,
    json: JsonFlag = False,
) -> None:
    """Train a model; goes on from the checkpoint of an earlier run of the same recipe."""
    from tinyalign import training

    wanted = training.read_recipe(recipe)
    if dry_run:
        estimate = training.dry_run(wanted, runs, device=device)
        if json:
            print_json(estimate.to_json())
        else:
            print_table(("", ""), list(estimate.to_json().items()), title="Estimate")
        return
    run = training.train(wanted, runs, device=device, quiet=json)
    if json:
        print_json(run.to_json())
    elif run.finished:
        print(
            f"Trained {run.steps} steps, final loss {run.final_loss:.4f}: the model is in {run.folder}/model."
        )
    else:
        print(f"Stopped at step {run.steps}: run the same command again to go on.")
    if not run.finished:
        raise typer.Exit(130)


def evaluate(
    model: Annotated[str, typer.Argument(help="A name, a Hugging Face folder, or a llama2.c .bin file.")],
    text: Annotated[
        Path | None,
        typer.Option(help="JSON lines with `text`, or plain text with blank lines between stories."),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Stories to sample for repetition and endings; 0 for none.")
    ] = 200,
    prompts: Annotated[int, typer.Option(help="Prompts a property for admission; 0 for none.")] = 200,
    seed: Annotated[int, typer.Option(help="Which samples and prompts are drawn.")] = 0,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer file.")] = None,
    json: JsonFlag = False,
) -> None:
    """Measure a model: bits per character, loss, sample quality, properties."""
    from tinyalign.models import load
    from tinyalign.training import evaluate as measure
    from tinyalign.training.sources import read_stories

    loaded = load(model, tokenizer=tokenizer)
    texts = None if text is None else read_stories(text)
    result = measure(loaded, texts, samples=samples, admission_prompts=prompts, seed=seed)
    if json:
        print_json(result.to_json())
        return
    bpc, loss = result.bits_per_character, result.nats_per_token
    rows = [
        ("stories", result.stories),
        ("bits per character", f"{bpc.estimate:.4f} ({bpc.low:.4f} to {bpc.high:.4f})"),
        ("nats per token", f"{loss.estimate:.4f} ({loss.low:.4f} to {loss.high:.4f})"),
    ]
    if result.quality is not None:
        rows += list(result.quality.to_json().items())
    print_table(("", ""), rows, title=f"{loaded.name}, {loaded.bits:g} bits a weight")
    if result.admission is not None:
        _print_admission(result.admission)


def _print_admission(rows: tuple[dict[str, object], ...]) -> None:
    lines = []
    for row in rows:
        contrast = row["contrast_nats"]
        if not isinstance(contrast, dict):
            continue
        lines.append(
            (
                row["property_id"],
                row["property_name"],
                f"{contrast['estimate']:+.2f}",
                f"{contrast['low']:+.2f} to {contrast['high']:+.2f}",
                "present" if row["admitted"] else "not present",
            )
        )
    print_table(("id", "name", "contrast, nats", "95% interval", "in this model"), lines)
