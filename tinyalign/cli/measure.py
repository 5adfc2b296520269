"""`tinyalign bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinyalign.cli.output import print_table, progress

if TYPE_CHECKING:
    from tinyalign.bench.decode import DecodeResult
    from tinyalign.bench.linear import LinearResult
    from tinyalign.bench.profile import Profile
    from tinyalign.bench.running import BenchResult
    from tinyalign.bench.scoring import ScoreResult


def register(app: typer.Typer) -> None:
    """Add the command of this file to the app."""
    app.command()(bench)


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model to run (repeatable), also random-neo-1M and random-ternary-1M."),
    ] = None,
    peers: Annotated[
        str,
        typer.Option(help="Peers by name, with commas between them, or 'all'; an unknown name lists them."),
    ] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    tokens: Annotated[int, typer.Option(help="New tokens a story.")] = 128,
    rounds: Annotated[int, typer.Option(help="Rounds of each contest, 3 or more.")] = 5,
    threads: Annotated[int, typer.Option(help="More than 1: also a contest on so many threads.")] = 1,
    most: Annotated[int | None, typer.Option(help="Try no batches of more stories than this.")] = None,
    longest: Annotated[float, typer.Option(help="Try no batch whose run takes more seconds than this.")] = 12,
    only: Annotated[
        str, typer.Option(help="Parts to run: linear, decode, score, profile.")
    ] = "linear,decode,score,profile",
    quick: Annotated[bool, typer.Option(help="Small batches, one linear size, no profile: a trial.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
) -> None:
    """Time ternary layers against float ones, and sampler and scorer against peers, every output checked."""
    from tinyalign.bench.running import Plan, run_bench
    from tinyalign.common.files import check_writable, write_json, write_text

    plan = Plan(
        models=tuple(model or ()),
        peers=_split(peers),
        device=device,
        tokens=tokens,
        rounds=rounds,
        threads=threads,
        most_stories=most,
        longest=longest,
        only=_split(only),
        quick=quick,
    )

    for target in (out, html):
        if target is not None:
            check_writable(target)

    def keep(so_far: BenchResult) -> None:
        # A benchmark takes many minutes: what is measured is not lost with what comes after it.
        if out is not None:
            write_json(out, so_far.to_json())

    result = run_bench(plan, progress=progress, keep=keep)
    if result.linear:
        _print_linear(result.linear)
    for decoded in result.decode:
        _print_decode(decoded)
    for scored in result.score:
        _print_score(scored)
    if result.profile:
        _print_profile(result.profile)
    if html is not None:
        from tinyalign.bench.page import page

        write_text(html, page(result.to_json()))


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _print_linear(linear: list[LinearResult]) -> None:
    rows: list[tuple[Any, ...]] = []
    refused: dict[str, str] = {}
    for r in linear:
        size = f"{r.d_in} x {r.d_out}"
        for t in r.timed:
            middle, low, high = t.slower(r.clock)
            rows.append((r.rows, size, t.name, f"{1 / middle:.2f}", f"{1 / high:.2f} to {1 / low:.2f}"))
        refused |= r.refused
    print_table(
        ("rows", "size", "layer", "ratio to float", "range"),
        rows,
        title="One linear layer, activation quantisation included (above 1: faster than float)",
    )
    _print_absent(refused)


def _print_absent(absent: dict[str, str]) -> None:
    for name, why in absent.items():
        print(f"Not there: {name}: {why}")


def _print_decode(result: DecodeResult) -> None:
    rows: list[tuple[Any, ...]] = []
    for standing in result.standings:
        t, agreement = standing.timed, standing.agreement
        middle, low, high = t.slower(result.clock)
        off = "the same text" if agreement.worst is None else f"{agreement.worst:.2g}"
        rate = f"{t.rate(result.clock):,.0f}"
        rows.append((t.name, standing.batch, rate, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", off))
    time = "processor" if result.clock == "cpu" else "wall"
    print_table(
        ("contestant", "batch", f"tokens a second of {time} time", "times ours", "range", "nats off"),
        rows,
        title=f"{result.model}: greedy decoding, {result.tokens} new tokens, threads: {result.threads}",
    )
    for standing in result.standings:
        if standing.remark:
            print(f"{standing.timed.name}: {standing.remark}.")
        if standing.trial.cut:
            print(f"{standing.timed.name} may have a better batch: {standing.trial.ended} (--longest).")
    _print_absent(result.absent)
    if result.cache_cost is not None:
        on, cost = result.cache_cost.on, result.cache_cost.cost
        print(
            f"The int8 cache costs {cost.cost:.5f} nats a token on {cost.texts} texts ({on}); single tokens "
            f"move by {cost.spread:.5f} in the mean, {cost.worst:.3f} at most."
        )


def _print_score(result: ScoreResult) -> None:
    time = "processor" if result.clock == "cpu" else "wall"
    rows: list[tuple[Any, ...]] = []
    for t in result.timed:
        middle, low, high = t.slower(result.clock)
        off = f"{result.off[t.name]:.1g}"
        rows.append(
            (t.name, f"{t.rate(result.clock):,.0f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}", off)
        )
    print_table(
        ("contestant", f"scores a second of {time} time", "times ours", "range", "nats off"),
        rows,
        title=f"{result.model}: {result.prompts} prompts with 8 continuations, threads: {result.threads}",
    )
    _print_absent(result.absent)


def _print_profile(profiles: list[Profile]) -> None:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.0%}"

    print_table(
        ("model", "blocks", "attention", "outside", "drawing", "blocks of peak", "inner loops of peak"),
        [
            (
                p.model,
                *(f"{part:.2f}" for part in (p.blocks, p.attention, p.outside, p.drawing)),
                share(p.share_of_peak),
                share(p.share_of_peak_inside),
            )
            for p in profiles
        ],
        title="Where a token's time goes: microseconds of processor time, one thread",
    )
