"""`tinyalign bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tinyalign.cli.output import print_table, progress


def register(app: typer.Typer) -> None:
    """Add the command of this file to the app."""
    app.command()(bench)


def bench(
    model: Annotated[str | None, typer.Option(help="Model to decode; by default what is here.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of each contest.")] = 5,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Time ternary layers against float ones, and the sampler against Hugging Face; one thread."""
    import torch

    from tinyalign.bench.decode import bench_decode
    from tinyalign.bench.linear import ROWS, SIZES, bench_linear
    from tinyalign.common.doctor import examine
    from tinyalign.common.files import write_json
    from tinyalign.models import load
    from tinyalign.models.catalogue import embedded_names, shared_model

    torch.set_num_threads(1)
    cases = [(rows, d_in, d_out) for d_in, d_out in SIZES for rows in ROWS]
    linear = list(
        progress((bench_linear(*case, rounds=rounds) for case in cases), len(cases), "linear layers")
    )
    print_table(
        ("rows", "size", "layer", "ratio to float", "least", "most"),
        [
            (
                r.rows,
                f"{r.d_in} x {r.d_out}",
                t.name,
                f"{t.ratio:.2f}",
                f"{t.ratio_low:.2f}",
                f"{t.ratio_high:.2f}",
            )
            for r in linear
            for t in r.timed
        ],
        title="One linear layer, activation quantisation included (above 1: faster than float)",
    )
    if model is not None:
        names = [model]
    else:
        names = [*embedded_names(), *(["stories260K"] if shared_model("stories260K") else [])]
    contests = (bench_decode(load(name, device="cpu"), rounds=max(3, rounds // 2)) for name in names)
    decode = list(progress(contests, len(names), "decoding"))
    print_table(
        ("model", "contestant", "tokens per CPU second", "ratio to Hugging Face", "least", "most"),
        [
            (
                r.model,
                t.name,
                f"{r.stories * r.tokens / t.cpu_median:,.0f}",
                f"{t.ratio:.2f}",
                f"{t.ratio_low:.2f}",
                f"{t.ratio_high:.2f}",
            )
            for r in decode
            for t in r.timed
        ],
        title="Greedy decoding, 64 stories x 64 tokens, one thread",
    )
    if out is not None:
        figures: dict[str, Any] = {
            "machine": examine().facts,
            "linear": [result.to_json() for result in linear],
            "decode": [result.to_json() for result in decode],
        }
        write_json(out, figures)
