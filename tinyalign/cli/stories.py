"""Commands about stories and properties: annotate, properties, property check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinyalign.cli.output import JsonFlag, print_json, print_table, progress


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the app."""
    app.command()(annotate)
    app.command(name="properties")(list_properties)
    group = typer.Typer(help="Work on one property's definition.", no_args_is_help=True)
    group.command(name="check")(check_property)
    app.add_typer(group, name="property")


def annotate(
    file: Annotated[Path, typer.Argument(help="JSON lines, each an object with `text`.")],
    html: Annotated[Path | None, typer.Option(help="Also write a page coloured by role.")] = None,
) -> None:
    """Say who is who, who speaks to whom, and what each quote does: JSON lines on standard output."""
    from tinyalign.stories.stream import annotate_file

    for line in annotate_file(file, html):
        print(line)


def list_properties(
    model: Annotated[
        str | None, typer.Argument(help="Measure each property's contrast on this model.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Prompts a property.")] = 500,
    seed: Annotated[int, typer.Option(help="Which prompts are drawn.")] = 0,
    split: Annotated[str, typer.Option(help="Lexicon split: train, development or test.")] = "test",
    only: Annotated[list[str] | None, typer.Option(help="One property's id or name (repeatable).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plot to this HTML file.")] = None,
    json: JsonFlag = False,
) -> None:
    """List the properties; with a model, measure which are present in it."""
    from tinyalign.properties import all_properties, get

    chosen = [get(name) for name in only] if only else list(all_properties())
    if model is None:
        rows = [
            {"id": p.id, "name": p.name, "parallel": p.parallel, "antecedent": p.antecedent} for p in chosen
        ]
        if json:
            print_json(rows)
        else:
            print_table(("id", "name", "parallel", "antecedent"), [tuple(row.values()) for row in rows])
        return
    from tinyalign.models import load
    from tinyalign.properties.admission import AdmissionTable
    from tinyalign.properties.admission import rows as measure

    loaded = load(model)
    found = list(progress(measure(loaded, chosen, n, seed, split), len(chosen), "measuring", quiet=json))
    table = AdmissionTable(loaded.name, loaded.sha256, tuple(found))
    if plot is not None:
        from tinyalign.common.files import write_text
        from tinyalign.report.admission import figure

        write_text(plot, figure(table).to_html(include_plotlyjs=True))
    if json:
        print_json([row.to_json() for row in table.rows])
        return
    print_table(
        ("id", "name", "contrast, nats", "95% interval", "sign rate", "role swap", "in this model"),
        [
            (
                row.primary.property_id,
                row.primary.property_name,
                f"{row.primary.mean.estimate:+.2f}",
                f"{row.primary.mean.low:+.2f} to {row.primary.mean.high:+.2f}",
                f"{row.primary.sign.estimate:.0%}",
                f"{row.primary.role_swap.estimate:+.2f}",
                "present" if row.admitted else "not present",
            )
            for row in table.rows
        ],
        title=f"{loaded.name}: {n} prompts a property, {split} lexicon, seed {seed}",
    )


def check_property(
    file: Annotated[Path, typer.Argument(help="A property's YAML file; a checker it names is run.")],
    json: JsonFlag = False,
) -> None:
    """Validate a property of your own."""
    from tinyalign.properties.validate import check_property_file

    report = check_property_file(file)
    if json:
        print_json(report.to_json())
    elif report.problems:
        for problem in report.problems:
            print(problem)
    else:
        print(f"{report.id} ({report.name}) is valid.")
    if report.problems:
        raise typer.Exit(2)
