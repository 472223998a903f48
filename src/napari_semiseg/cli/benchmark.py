"""``semiseg benchmark``: the simulated annotator on finished cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from napari_semiseg import api
from napari_semiseg.cli.options import Axis, Json
from napari_semiseg.cli.parsing import parse_names, parse_numbers, parse_settings, parse_volumes

if TYPE_CHECKING:
    from napari_semiseg.benchmark.record import Row


def benchmark(
    context: typer.Context,
    session: Annotated[Path | None, typer.Argument(help="Session whose complete slices are the reference")] = None,
    out: Annotated[Path, typer.Option(help="Folder for results, report and curves", show_default=False)] = ...,  # type: ignore[assignment]
    volume: Annotated[list[str], typer.Option(help="Instead of a session: image; repeat for several")] = [],  # noqa: B006
    labels: Annotated[list[str], typer.Option(help="Complete mask of the --volume before it")] = [],  # noqa: B006
    peers: Annotated[
        str, typer.Option(help="auto, unet, cross_teaching, walker, distance, morphology, forest, or any method")
    ] = "auto,unet,walker,distance,morphology",
    slices: Annotated[str, typer.Option(help="Annotated slices of a volume to begin with, each a trial")] = "3,5,9",
    policy: Annotated[
        str, typer.Option(help="Which slices: equidistant, suggested, random, worst (most wrong pixels)")
    ] = "equidistant",
    rounds: Annotated[int, typer.Option(help="Rounds; before each but the first, slices are corrected")] = 1,
    added: Annotated[int, typer.Option(help="Slices that are corrected from round to round")] = 1,
    seconds: Annotated[str | None, typer.Option(help="Training times in s, each a trial (default: 120)")] = None,
    steps: Annotated[str | None, typer.Option(help="Training steps instead: repeatable")] = None,
    seeds: Annotated[str, typer.Option(help="Each a repetition with other chance")] = "0",
    annotated: Annotated[
        int | None,
        typer.Option(help="Annotate so many volumes together, judge the others too (default: each alone)"),
    ] = None,
    jitter: Annotated[float, typer.Option(help="Contours are off by so many mm (root mean square)")] = 0.0,
    missed: Annotated[float, typer.Option(help="Parts smaller than so many mm² on a slice are overlooked")] = 0.0,
    scribbles: Annotated[bool, typer.Option("--scribbles", help="Strokes instead of complete slices")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew in every round")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes all")] = 0,
    settings: Annotated[list[str], typer.Option("--set", help="A field of every method that trains: field=value")] = [],  # noqa: B006
    axis: Axis = None,
    as_json: Json = False,
) -> None:
    """Measure on your own finished cases how good each method is from a few slices."""
    begin = partial(
        api.benchmark,
        out,
        parse_volumes(context.obj),
        session=session,
        axis=axis,
        peers=parse_names(peers),
        slices=parse_numbers(slices, "--slices"),
        policy=policy,
        rounds=rounds,
        added=added,
        seconds=() if seconds is None else parse_numbers(seconds, "--seconds"),
        steps=() if steps is None else parse_numbers(steps, "--steps"),
        seeds=parse_numbers(seeds, "--seeds"),
        annotated=annotated,
        jitter_mm=jitter,
        missed_mm2=missed,
        scribbles=scribbles,
        fresh=fresh,
        device=device,
        threads=threads,
        settings=parse_settings(settings),
    )
    _follow(begin, out, as_json=as_json)


def _follow(begin: Callable[..., Iterator[Row]], out: Path, *, as_json: bool) -> None:
    """Show how far a benchmark is, and its table at the end.

    Parameters
    ----------
    begin : callable
        Begins it; takes ``tell``.
    out : Path
        Its folder.
    as_json : bool
        Print one row per line instead.
    """
    from napari_semiseg.benchmark.folder import ROWS
    from napari_semiseg.benchmark.record import read_rows
    from napari_semiseg.benchmark.report import summary, title_of

    if as_json:
        for row in begin():
            print(row.model_dump_json(), flush=True)
        return
    console = Console(stderr=True, soft_wrap=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("Reading", total=1.0)
        for row in begin(tell=lambda what, part: bar.update(task, description=what, completed=part)):
            console.print(_line(row))
    peers, groups = summary(read_rows(out / ROWS))
    table = Table("mean Dice", "slices", "budget", *peers)
    for group, means in groups.items():
        figures = ("–" if mean is None else f"{mean:.3f}" for mean in means)
        table.add_row(title_of(group), str(group[2]), group[3], *figures)
    Console(soft_wrap=True).print(table)
    print(out / "report.md")


def _line(row: Row) -> str:
    if row.failed:
        return f"{row.set}, {row.case}, {row.count} slices, {row.budget}: {row.peer} failed: {row.note}"
    mean = row.mean()
    dice = "not segmented" if mean is None else f"Dice {mean:.3f}"
    return f"{row.set}, {row.case}, {row.count} slices, {row.budget}: {row.peer} {dice} after {row.seconds:.0f} s"
