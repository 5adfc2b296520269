"""`tinyalign bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinyalign.cli.output import print_table, progress

if TYPE_CHECKING:
    from tinyalign.bench.decode import DecodeResult
    from tinyalign.bench.linear import LinearResult


def register(app: typer.Typer) -> None:
    """Add the command of this file to the app."""
    app.command()(bench)


def bench(
    model: Annotated[list[str] | None, typer.Option(help="Model to decode (repeatable).")] = None,
    peers: Annotated[
        str,
        typer.Option(help="Peers by name, with commas between them, or 'all'; an unknown name lists them."),
    ] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    tokens: Annotated[int, typer.Option(help="New tokens a story.")] = 128,
    rounds: Annotated[int, typer.Option(help="Rounds of each contest, 3 or more.")] = 5,
    threads: Annotated[int, typer.Option(help="More than 1: also a contest on so many threads.")] = 1,
    most: Annotated[int | None, typer.Option(help="Try no batches of more stories than this.")] = None,
    only: Annotated[
        str, typer.Option(help="Parts to run: linear, decode, profile.")
    ] = "linear,decode,profile",
    quick: Annotated[bool, typer.Option(help="Small batches, one linear size, no profile: a trial.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
) -> None:
    """Time ternary layers against float ones, and the sampler against its peers, every output checked."""
    from tinyalign.bench.running import run_bench
    from tinyalign.common.files import write_json, write_text

    figures, linear, decode = run_bench(
        model or [],
        [name.strip() for name in peers.split(",") if name.strip()],
        device=device,
        tokens=tokens,
        rounds=rounds,
        threads=threads,
        most_stories=most,
        only=[name.strip() for name in only.split(",") if name.strip()],
        quick=quick,
        progress=progress,
    )
    if linear:
        _print_linear(linear)
    for result in decode:
        _print_decode(result)
    if out is not None:
        write_json(out, figures)
    if html is not None:
        from tinyalign.bench.page import page

        write_text(html, page(figures))


def _print_linear(linear: list[LinearResult]) -> None:
    rows: list[tuple[Any, ...]] = []
    for r in linear:
        size = f"{r.d_in} x {r.d_out}"
        rows += [
            (r.rows, size, t.name, f"{t.ratio:.2f}", f"{t.ratio_low:.2f} to {t.ratio_high:.2f}")
            for t in r.timed
        ]
        rows += [(r.rows, size, name, "refused", why) for name, why in r.refused.items()]
    print_table(
        ("rows", "size", "layer", "ratio to float", "range"),
        rows,
        title="One linear layer, activation quantisation included (above 1: faster than float)",
    )


def _print_decode(result: DecodeResult) -> None:
    one = result.threads == 1
    rows: list[tuple[Any, ...]] = []
    for t in result.timed:
        ratios = (
            (t.ratio, t.ratio_high, t.ratio_low)
            if one
            else (t.wall_ratio, t.wall_ratio_high, t.wall_ratio_low)
        )
        middle, low, high = (1 / ratio for ratio in ratios)
        rate = t.rate if one else t.work / t.wall_median
        rows.append(
            (t.name, result.batches[t.name], f"{rate:,.0f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
        )
    rows += [(name, "", "absent", "", why) for name, why in result.absent.items()]
    time = "processor" if one else "wall"
    print_table(
        ("contestant", "batch", f"tokens a second of {time} time", "times ours", "range"),
        rows,
        title=f"{result.model}: greedy decoding, {result.tokens} new tokens, threads: {result.threads}",
    )
