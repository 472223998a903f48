"""The commands; each one parses, calls a function of `napari_semiseg.api` and prints."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from napari_semiseg import api
from napari_semiseg.cli.benchmark import benchmark
from napari_semiseg.cli.options import Axis, Frame, Json, Replace, Series, SessionArgument, Volumes
from napari_semiseg.cli.parsing import (
    parse_classes,
    parse_looked_for,
    parse_names,
    parse_settings,
    parse_slices,
    parse_volumes,
)
from napari_semiseg.errors import InputError

app = typer.Typer(
    name="semiseg",
    help="Semi-supervised segmentation of medical volumes from a few labelled slices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def new(
    context: typer.Context,
    session: SessionArgument,
    volume: Annotated[
        list[str], typer.Option(help="Image file or DICOM folder; repeat for several", show_default=False)
    ],
    labels: Annotated[list[str], typer.Option(help="Mask of the --volume before it; 255 is unlabelled")] = [],  # noqa: B006
    complete_slices: Annotated[
        list[str], typer.Option(help="Slices of the --volume before it that are complete though empty: 3,17")
    ] = [],  # noqa: B006
    looked_for: Annotated[
        list[str], typer.Option(help="Classes looked for in the --volume before it: 1,2 (default: all)")
    ] = [],  # noqa: B006
    classes: Annotated[str | None, typer.Option(help='Class names: "1=left atrium,2=aorta"')] = None,
    axis: Axis = None,
    series: Series = None,
    frame: Frame = None,
    replace_nonfinite: Replace = False,
) -> None:
    """Create a session from images and, where there are any, labels."""
    sources = [dataclasses.replace(s, series=series, frame=frame) for s in parse_volumes(context.obj)]
    created = api.new(session, sources, classes=parse_classes(classes), axis=axis, replace_nonfinite=replace_nonfinite)
    console = _console()
    for record in created.volumes.values():
        planes = created.annotation(record.id).annotated_planes()
        console.print(f"{record.name}: {record.geometry.shape[0]} slices, {len(planes)} annotated")
        for note in record.notes:
            console.print(f"  {note}")
    console.print(f"Created {created.path}")
    created.close()


@app.command()
def classes(
    session: SessionArgument,
    volume: Annotated[str | None, typer.Option(help="Volume to change, by id or name")] = None,
    looked_for: Annotated[
        str | None, typer.Option(help="Classes that are looked for there: 1,2, or all; background may be another")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the classes and which of them are looked for in each volume, or change that."""
    if (volume is None) != (looked_for is None):
        raise InputError("--volume and --looked-for go together; give both to change a volume, or none to list.")
    known = api.classes(session, volume=volume, looked_for=None if looked_for is None else parse_looked_for(looked_for))
    if as_json:
        print(json.dumps(known))
        return
    for class_id, name in known["classes"].items():
        print(f"{class_id}: {name}")
    for volume_id, ids in known["looked_for"].items():
        print(f"{volume_id}: looked for {'all' if ids is None else ', '.join(map(str, ids))}")


@app.command()
def train(
    session: SessionArgument,
    volumes: Volumes = None,
    method: Annotated[str, typer.Option(help="A name that `semiseg methods` lists, or auto")] = "auto",
    minutes: Annotated[float | None, typer.Option(help="Time budget in minutes (default: 2)")] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps, instead of minutes")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16")] = "auto",
    preset: Annotated[str, typer.Option(help="product (recommended) or paper")] = "product",
    seed: Annotated[int, typer.Option(help="Same seed, same steps, same CPU: same model")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes all")] = 0,
    settings: Annotated[list[str], typer.Option("--set", help="A field of the method: field=value")] = [],  # noqa: B006
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not continue from the last round")] = False,
    pretrained: Annotated[
        str | None, typer.Option(help="Round or model whose networks to start from (default: the last pre-training)")
    ] = None,
    use_all: Annotated[
        bool, typer.Option("--use-all", help="Learn from held-out slices too, as in a final training")
    ] = False,
    beside: Annotated[bool, typer.Option("--beside", help="Train although the session is open elsewhere")] = False,
    as_json: Json = False,
) -> None:
    """Train one round; Ctrl-C stops it and keeps what was learned."""
    from napari_semiseg.cli.progress import follow
    from napari_semiseg.engine.control import LocalControl

    control = LocalControl()
    events = api.train(
        session,
        volumes=parse_names(volumes),
        method=method,
        minutes=minutes,
        steps=steps,
        device=device,
        precision=precision,
        preset=preset,
        seed=seed,
        settings=parse_settings(settings),
        threads=threads,
        fresh=fresh,
        pretrained=pretrained,
        hold_out=not use_all,
        beside=beside,
        control=control,
    )
    raise typer.Exit(follow(events, control, as_json=as_json))


@app.command()
def predict(
    source: Annotated[Path, typer.Argument(help="Session folder or model", show_default=False)],
    images: Annotated[list[Path] | None, typer.Argument(help="Images; without any, the session's volumes")] = None,
    out: Annotated[Path, typer.Option(help="File for one volume, else a folder", show_default=False)] = ...,  # type: ignore[assignment]
    volumes: Volumes = None,
    entropy: Annotated[Path | None, typer.Option(help="Also write the entropy, 0-1")] = None,
    disagreement: Annotated[Path | None, typer.Option(help="Also write the disagreement of two networks, 0-1")] = None,
    probabilities: Annotated[Path | None, typer.Option(help="Also write the class probabilities (4D)")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    axis: Axis = None,
    series: Series = None,
    frame: Frame = None,
    replace_nonfinite: Replace = False,
    as_json: Json = False,
) -> None:
    """Segment images with a model or with the last round of a session."""
    failed: list[str] = []

    def tell(name: str, error: InputError) -> None:
        failed.append(name)
        print(f"semiseg: {name}: {error}", file=sys.stderr)

    written = api.predict(
        source,
        images or [],
        out=out,
        volumes=parse_names(volumes),
        failed=tell,
        entropy=entropy,
        disagreement=disagreement,
        probabilities=probabilities,
        device=device,
        axis=axis,
        series=series,
        frame=frame,
        replace_nonfinite=replace_nonfinite,
    )
    _print_paths(written, as_json)
    if failed:
        raise typer.Exit(2)


@app.command()
def suggest(
    session: SessionArgument,
    count: Annotated[int, typer.Option(min=1, max=100, help="How many slices")] = 3,
    order: Annotated[
        str, typer.Option(help="ranked (uncertainty and distance), equidistant (needs no training) or both")
    ] = "both",
    as_json: Json = False,
) -> None:
    """Name the slices most worth annotating next, and why; and those in the widest gaps."""
    for chosen in ("ranked", "equidistant") if order == "both" else (order,):
        found = api.suggest(session, count=count, order=chosen)
        if not as_json and order == "both":
            print("By uncertainty and distance:" if chosen == "ranked" else "Equally spaced:")
        for volume, suggestion in found:
            if as_json:
                print(json.dumps({"volume": volume, **dataclasses.asdict(suggestion)}))
            else:
                print(f"{volume}: {suggestion.reason}")


@app.command("hold-out")
def hold_out(
    session: SessionArgument,
    slices: Annotated[str | None, typer.Option(help="Set these slices aside: 3,7")] = None,
    learn_from: Annotated[str | None, typer.Option(help="Learn from these slices in any case: 3,7")] = None,
    volume: Annotated[str | None, typer.Option(help="Which volume, where there are several")] = None,
    as_json: Json = False,
) -> None:
    """Show or change the slices that rounds are judged by instead of learning from them."""
    chosen = api.hold_out(
        session,
        volume,
        slices=parse_slices(slices or "", "--slices"),
        learn_from=parse_slices(learn_from or "", "--learn-from"),
    )
    for name, planes in chosen.items():
        if as_json:
            print(json.dumps({"volume": name, "held_out": planes}))
        else:
            print(f"{name}: {', '.join(map(str, planes)) or 'no slice'} held out")


@app.command()
def rounds(
    session: SessionArgument,
    restore: Annotated[int | None, typer.Option(help="Go back to this round; the next training continues it")] = None,
    compare: Annotated[str | None, typer.Option(help="Compare the predictions of two rounds: 1,3")] = None,
    volume: Annotated[str | None, typer.Option(help="Which volume to compare, where there are several")] = None,
    as_json: Json = False,
) -> None:
    """List the rounds with their Dice on held-out slices, go back to one, or compare two."""
    from napari_semiseg.engine.learning_curve import verdict
    from napari_semiseg.session.summaries import judgement_text

    if restore is not None:
        api.restore(session, restore)
    if compare is not None:
        _print_changes(session, compare, volume, as_json)
        return
    found = api.rounds(session)
    if as_json:
        for summary in found:
            print(json.dumps(summary.to_json()))
        return
    for summary in found:
        minutes = "" if summary.minutes is None else f"  {summary.minutes:.1f} min"
        print(f"Round {summary.number}  {summary.status}  {summary.method}{minutes}  {summary.slices} slices")
        print(f"    {judgement_text(summary.held_out, summary.calibration)}")
    print(verdict([point for summary in found if (point := summary.point()) is not None]))


def _print_changes(session: Path, compare: str, volume: str | None, as_json: bool) -> None:
    pair = parse_slices(compare, "--compare")
    if len(pair) != 2:
        raise InputError(f"--compare was given {compare!r}; expected the numbers of two rounds, such as 1,3.")
    table = Table("class", "before ml", "after ml", "gained ml", "lost ml")
    for change in api.compare(session, *pair, volume=volume):
        if as_json:
            print(json.dumps(change.to_json()))
        values = (change.before_ml, change.after_ml, change.gained_ml, change.lost_ml)
        table.add_row(str(change.class_id), *(f"{value:.3f}" for value in values))
    if not as_json:
        _console().print(table)


@app.command()
def measure(
    session: SessionArgument,
    source: Annotated[
        str, typer.Option(help="merged (annotation where given, prediction elsewhere), annotation or prediction")
    ] = "merged",
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file")] = None,
    as_json: Json = False,
) -> None:
    """Measure every structure: volume, voxels, box, largest diameter, slices."""
    from napari_semiseg.session import Session
    from napari_semiseg.session.measure_table import table_of, write_csv

    opened = Session.open(session)
    names = {c.id: c.name for c in opened.classes}
    found = api.measure(opened, source=source)
    if as_json:
        for volume, measures in found:
            name = names.get(measures.class_id, "")
            print(json.dumps({"volume": volume, "name": name, **measures.to_json()}))
    lines = table_of(found, names, {v: r.name for v, r in opened.volumes.items()})
    if csv is not None:
        write_csv(csv, lines)
        if not as_json:
            print(csv)
    elif not as_json:
        table = Table(*lines[0])
        for line in lines[1:]:
            table.add_row(*line)
        _console().print(table)


@app.command()
def export(
    session: SessionArgument,
    out: Annotated[Path, typer.Option(help="Folder for the masks", show_default=False)],
    format: Annotated[str, typer.Option(help="nii.gz, nii, nrrd, seg.nrrd, mha, tif")] = "nii.gz",
    source: Annotated[
        str, typer.Option(help="merged (annotation where given, prediction elsewhere), annotation or prediction")
    ] = "merged",
    model: Annotated[bool, typer.Option("--model", help="Also write the model of the last round")] = False,
    as_json: Json = False,
) -> None:
    """Write the masks of all volumes with the geometry of their images."""
    _print_paths(api.export(session, out, format=format, source=source, model=model), as_json)


@app.command()
def evaluate(
    predicted: Annotated[Path, typer.Argument(help="Mask to judge", show_default=False)],
    reference: Annotated[Path, typer.Argument(help="Reference mask", show_default=False)],
    labels_used: Annotated[Path | None, typer.Option(help="Labels trained on: their slices do not count")] = None,
    axis: Axis = None,
    as_json: Json = False,
) -> None:
    """Print Dice, Jaccard, HD95 and ASD of every class."""
    scores = api.evaluate(predicted, reference, labels_used=labels_used, axis=axis)
    if as_json:
        for class_id, score in scores.items():
            print(json.dumps({"class": class_id, **score.to_json()}))
        return
    table = Table("class", "Dice", "Jaccard", "HD95 mm", "ASD mm", "HD95 voxels", "ASD voxels")
    for class_id, score in scores.items():
        values = (score.dice, score.jaccard, score.hd95_mm, score.asd_mm, score.hd95_voxels, score.asd_voxels)
        table.add_row(str(class_id), *("–" if value is None else f"{value:.3f}" for value in values))
    _console().print(table)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods and their fields."""
    for method in api.list_methods():
        if as_json:
            print(json.dumps(method))
            continue
        _console().print(f"[bold]{method['name']}[/bold]  {method['summary']}")
        for name, schema in method["fields"].items():
            _console().print(
                f"    {name} = {schema.get('default')!r}  {schema.get('description', '')}", highlight=False
            )


@app.command()
def info(
    image: Annotated[Path, typer.Argument(help="Image file or DICOM folder", show_default=False)],
    series: Series = None,
    frame: Frame = None,
    as_json: Json = False,
) -> None:
    """Tell what an image file holds and how it will be opened."""
    known = api.info(image, series=series, frame=frame)
    if as_json:
        print(json.dumps(known))
        return
    for key, value in known.items():
        print(f"{key}: {_readable(value)}")


app.command()(benchmark)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results")] = Path("demo"),
    minutes: Annotated[float, typer.Option(min=0.05, help="Time budget in minutes")] = 1.0,
) -> None:
    """Run the main job on a built-in sample volume, without a screen."""
    from napari_semiseg.cli.demo import run_demo

    run_demo(out, minutes)


def _console() -> Console:
    return Console(soft_wrap=True)


def _print_paths(paths: list[Path], as_json: bool) -> None:
    for path in paths:
        print(json.dumps({"path": str(path)}) if as_json else path)


def _readable(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
