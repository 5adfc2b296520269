"""Commands that look: doctor, models, info."""

from __future__ import annotations

from typing import Annotated

import typer

from tinyalign.cli.output import JsonFlag, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the app."""
    app.command()(doctor)
    app.command(name="models")(list_models)
    app.command()(info)


def doctor(json: JsonFlag = False) -> None:
    """Say what is installed here, what works, and what does not."""
    from tinyalign.common.doctor import examine
    from tinyalign.engine.cuda import gpu as decoder
    from tinyalign.ternary import gpu as kernels

    report = examine([kernels.check(), decoder.check()])
    if json:
        print_json(report.to_json())
        return
    print_table(("", ""), [(name, value) for name, value in report.facts.items()], title="This machine")
    rows = [(check.name, "works" if check.works else "does not", check.detail) for check in report.checks]
    print_table(("what", "", "detail"), rows, title="tinyalign here")


def list_models(json: JsonFlag = False) -> None:
    """List every model known by name."""
    from tinyalign.models import models

    rows = models()
    if json:
        print_json([row.to_json() for row in rows])
        return
    print_table(
        ("name", "alias", "parameters", "bits", "vocabulary", "here", "licence"),
        [
            (
                row.name,
                ", ".join(row.aliases),
                row.parameters,
                f"{row.bits:g}",
                row.d_vocab,
                "yes" if row.here else "needs the network",
                row.licence,
            )
            for row in rows
        ],
    )


def info(
    model: Annotated[str, typer.Argument(help="A name, a Hugging Face folder, or a llama2.c .bin file.")],
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer file; 'none' for token ids only.")] = None,
    json: JsonFlag = False,
) -> None:
    """Describe a model: shape, bits, identity, and its ternary layers."""
    from tinyalign.models import load
    from tinyalign.ternary import share_of_zeros, ternary_layers

    loaded = load(model, tokenizer=False if tokenizer == "none" else tokenizer)
    layers = {
        name: {
            "shape": list(layer.shape),
            "bits_per_weight_in_memory": layer.bits_per_weight,
            "share_of_zeros": share_of_zeros(layer.trits),
            "scale": layer.scale.item(),
            "kernel": layer.kernel,
        }
        for name, layer in ternary_layers(loaded.network).items()
    }
    if json:
        print_json({**loaded.to_json(), "layers": layers})
        return
    facts = loaded.to_json()
    print_table(("", ""), [(key, value) for key, value in facts.items() if value is not None])
    if layers:
        print_table(
            ("ternary layer", "shape", "bits held", "zeros", "scale", "kernel"),
            [
                (
                    name.removeprefix("model.").removeprefix("transformer."),
                    " x ".join(map(str, row["shape"])),
                    f"{row['bits_per_weight_in_memory']:.3f}",
                    f"{row['share_of_zeros']:.1%}",
                    f"{row['scale']:.4g}",
                    row["kernel"],
                )
                for name, row in layers.items()
            ],
        )
