"""The main job as functions: what the command line does, for scripts and notebooks.

Every function takes and returns plain Python values and raises `napari_semiseg.errors.InputError` with one clear
sentence when something given cannot be used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_semiseg.errors import InputError

if TYPE_CHECKING:
    from napari_semiseg.engine.control import LocalControl
    from napari_semiseg.engine.evaluate import Score
    from napari_semiseg.engine.events import Event
    from napari_semiseg.engine.suggest import Suggestion
    from napari_semiseg.regions.comparison import Change
    from napari_semiseg.regions.measures import Measures
    from napari_semiseg.session import Session
    from napari_semiseg.session.summaries import RoundSummary


@dataclass(frozen=True)
class Source:
    """One volume for a new session.

    Attributes
    ----------
    image : path
        File, or folder of a DICOM series.
    labels : path, optional
        Mask on the image's grid; 255 is unlabelled. Without any 255, slices that carry a label are complete and the
        others unlabelled.
    complete_slices : tuple of int
        Further slices that are complete, although they show nothing but background.
    looked_for : tuple of int, optional
        Ids of the classes that were looked for; all by default. Background may be one of the others.
    series, frame : str, int, optional
        Which DICOM series, which time point or channel.
    """

    image: str | Path
    labels: str | Path | None = None
    complete_slices: tuple[int, ...] = ()
    looked_for: tuple[int, ...] | None = None
    series: str | None = None
    frame: int | None = None


def new(
    session: str | Path,
    volumes: Sequence[Source | str | Path],
    *,
    classes: Mapping[int, str] | None = None,
    axis: int | None = None,
    replace_nonfinite: bool = False,
) -> Session:
    """Create a session folder; nothing is left behind when a volume cannot be read.

    Parameters
    ----------
    session : path
        Folder to create.
    volumes : sequence of Source or path
    classes : mapping of int to str, optional
        Class names by id, 1 to 254.
    axis : int, optional
        File axis along which slices are counted; by default the axis with clearly the largest spacing, else the last.
    replace_nonfinite : bool
        Replace NaN and infinite voxels instead of refusing them.
    """
    import shutil

    from napari_semiseg.session import Session

    if not volumes:
        raise InputError("No volume was given; a session needs at least one.")
    sources = [volume if isinstance(volume, Source) else Source(volume) for volume in volumes]
    created = Session.create(Path(session), classes=dict(classes) if classes else None)
    try:
        for source in sources:
            created.add_volume(
                source.image,
                labels=source.labels,
                complete_slices=source.complete_slices,
                axis=axis,
                frame=source.frame,
                series=source.series,
                replace_nonfinite=replace_nonfinite,
                looked_for=source.looked_for,
            )
    except BaseException:
        created.close()
        shutil.rmtree(created.path, ignore_errors=True)
        raise
    return created


def classes(
    session: str | Path | Session, *, volume: str | None = None, looked_for: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return the classes of a session and which of them are looked for in each volume; change that for one volume.

    Parameters
    ----------
    session : path or Session
    volume : str, optional
        Id or name of the volume to change.
    looked_for : sequence of int, optional
        Ids of the classes that are looked for there, None for all.

    Returns
    -------
    dict
        ``classes`` (name by id) and ``looked_for`` (class ids by volume id, None for all).

    Raises
    ------
    InputError
        If there is no such volume or class.
    """
    from napari_semiseg.session.choosing import chosen

    opened = _opened(session)
    if volume is not None:
        with _changing(session) as opened:
            opened.look_for(chosen(opened.volumes, [volume])[0], looked_for)
    return {
        "classes": {entry.id: entry.name for entry in opened.classes},
        "looked_for": {i: record.looked_for and list(record.looked_for) for i, record in opened.volumes.items()},
    }


def train(
    session: str | Path | Session,
    *,
    volumes: Sequence[str] = (),
    method: str = "auto",
    minutes: float | None = None,
    steps: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    preset: str = "product",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    threads: int = 0,
    fresh: bool = False,
    pretrained: int | str | Path | None = None,
    hold_out: bool = True,
    beside: bool = False,
    control: LocalControl | None = None,
) -> Iterator[Event]:
    """Train one round of a session in this process.

    Parameters
    ----------
    session : path or Session
    volumes : sequence of str
        Ids or names of the volumes to learn from and to predict; all by default. One that cannot be read is told by a
        `VolumeFailed` event and the rest goes on.
    method : str
        One of `methods`, or ``"auto"``.
    minutes, steps : float, int
        Budget, one of the two; two minutes by default.
    device, precision, preset, seed, threads
        See `napari_semiseg.engine.plan.Plan`.
    settings : mapping
        Fields of the method that differ from the preset.
    fresh : bool
        Do not continue from the last round, nor start from the last pre-training.
    pretrained : int or path, optional
        Round, or model (folder or ``.safetensors`` file), whose networks the run starts from by name and shape. By
        default the last pre-training of the session, where no later round can be continued.
    hold_out : bool
        From five annotated slices of a volume on, set some aside to judge and calibrate the model by; see `hold_out`.
        False learns from all of them, as a final training should.
    beside : bool
        Train although another program has the session open; only a new round is written.
    control : LocalControl, optional
        Stops the run.

    Returns
    -------
    iterator of Event
        The run goes on while it is iterated; the last event is `Finished` or `Failed`.

    Raises
    ------
    InputError
        For options that cannot be used, a path that is no session, and a session that another program has open (when
        the first event is asked for).
    """
    from pydantic import ValidationError

    from napari_semiseg.engine.plan import Plan
    from napari_semiseg.session import run

    try:
        plan = Plan(
            method=method,
            minutes=minutes,
            steps=steps,
            device=device,
            precision=precision,
            preset=preset,
            seed=seed,
            settings=dict(settings or {}),
            threads=threads,
            warm_start=not fresh,
            pretrained="" if pretrained is None else str(pretrained),
            hold_out=hold_out,
            volumes=tuple(volumes),
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        given = f"The option {name} cannot be {first['input']!r}: " if name else ""
        raise InputError(f"{given}{first['msg'].removeprefix('Value error, ')}.") from None
    return run.train_round(_opened(session), plan, control=control, beside=beside)


def predict(
    source: str | Path | Session,
    images: Sequence[str | Path] = (),
    *,
    out: str | Path,
    volumes: Sequence[str] = (),
    failed: Callable[[str, InputError], object] | None = None,
    entropy: str | Path | None = None,
    disagreement: str | Path | None = None,
    probabilities: str | Path | None = None,
    device: str = "auto",
    axis: int | None = None,
    series: str | None = None,
    frame: int | None = None,
    replace_nonfinite: bool = False,
) -> list[Path]:
    """Segment images with a model, or the volumes of a session with its last round.

    Parameters
    ----------
    source : path or Session
        A session folder, or a model (folder or ``.safetensors`` file).
    images : sequence of path
        Images to segment; without any, the volumes of the session.
    out : path
        For one volume a file name as given, otherwise a folder with one mask per volume.
    volumes : sequence of str
        Ids or names of the volumes of a session; all by default.
    failed : callable, optional
        Gets name and error of each volume that cannot be segmented; the others have their turn.
    entropy, disagreement, probabilities : path, optional
        Likewise for the maps (float32, 0–1; probabilities are 4D, one volume per class).

    Returns
    -------
    list of Path
        The masks written.

    Raises
    ------
    InputError
        If something given cannot be used; for a volume that cannot be read, unless ``failed`` is given, after the
        others were written.
    """
    from napari_semiseg.engine.device import choose_device
    from napari_semiseg.engine.model import Model
    from napari_semiseg.session import Session
    from napari_semiseg.session.choosing import chosen
    from napari_semiseg.session.segmenting import Subject, segment

    session = source if isinstance(source, Session) else None
    if not isinstance(source, Session) and (Path(source) / "session.json").exists():
        session = Session.open(Path(source))
    if session is not None:
        last = session.latest_round()
        if last is None:
            raise InputError(f"The session {session.path} has no trained round yet; train it first.")
        model_path: Path = last.path
    else:
        assert not isinstance(source, Session)
        model_path = Path(source)
    model = Model.load(model_path, choose_device(device))
    if not model.method.needs_labels:
        raise InputError(
            f"{model_path} holds pre-trained networks, which know no classes and cannot segment; start a round of "
            "another method from them."
        )
    if images:
        if volumes:
            raise InputError("Give either images or volumes of the session, not both.")
        options = {"axis": axis, "series": series, "frame": frame, "replace_nonfinite": replace_nonfinite}
        subjects = [Subject.of_file(Path(image), **options) for image in images]
    elif session is not None:
        subjects = [Subject.of_session(session, i, model) for i in chosen(session.volumes, volumes)]
    else:
        raise InputError(f"{source} is a model; give the images to segment.")
    if disagreement is not None and not model.has_disagreement:
        raise InputError(f"The method {model.method.name} has one network, so there is no disagreement to write.")
    wanted = {"labels": out, "entropy": entropy, "disagreement": disagreement, "probabilities": probabilities}
    colours = {c.id: c.rgb for c in session.classes} if session is not None else None
    places = {kind: Path(path) for kind, path in wanted.items() if path is not None}
    return segment(model, subjects, places, colours, failed)


def suggest(session: str | Path | Session, *, count: int = 3, order: str = "ranked") -> list[tuple[str, Suggestion]]:
    """Return the slices most worth annotating next, best first, over all volumes.

    Parameters
    ----------
    session : path or Session
    count : int
    order : str
        ``ranked`` mixes uncertainty and distance from annotated slices; ``equidistant`` fills the widest gaps and needs
        no prediction.

    Returns
    -------
    list of (volume id, Suggestion)

    Raises
    ------
    InputError
        If no volume has a prediction yet.
    """
    from napari_semiseg.session.summaries import suggestions

    if order not in ("ranked", "equidistant"):
        raise InputError(f"The order {order!r} is unknown; choose ranked or equidistant.")
    opened = _opened(session)
    lists = {volume: suggestions(opened, volume, count=count)[order == "equidistant"] for volume in opened.volumes}
    if order == "ranked" and not any(opened.latest_prediction(volume) for volume in opened.volumes):
        raise InputError(
            f"The session {opened.path} has no prediction to rank slices by; train it first, or ask for the "
            "equidistant order."
        )
    found: list[tuple[str, Suggestion]] = []
    while len(found) < count and any(lists.values()):
        # Within a volume its order holds; between volumes the more uncertain slice comes first.
        volume = max((v for v in lists if lists[v]), key=lambda v: lists[v][0].score)
        found.append((volume, lists[volume].pop(0)))
    return found


def export(
    session: str | Path | Session,
    out: str | Path,
    *,
    format: str = "nii.gz",
    source: str = "merged",
    model: bool = False,
) -> list[Path]:
    """Write the masks of all volumes of a session, and its model if asked for.

    Parameters
    ----------
    session : path or Session
    out : path
        Folder; created when missing.
    format : str
        ``nii.gz``, ``nii``, ``nrrd``, ``seg.nrrd``, ``mha``, ``tif``.
    source : str
        ``merged`` (annotation where given, prediction elsewhere), ``annotation`` or ``prediction``.
    model : bool
        Also write ``model.safetensors`` and ``model.json``.
    """
    from typing import cast

    from napari_semiseg.session.export import Source as Part
    from napari_semiseg.session.export import export_masks, export_model

    opened = _opened(session)
    written = export_masks(opened, Path(out), format=format, source=cast(Part, source))
    if model:
        export_model(opened, Path(out))
    return written


def evaluate(
    predicted: str | Path,
    reference: str | Path,
    *,
    labels_used: str | Path | None = None,
    axis: int | None = None,
) -> dict[int, Score]:
    """Compare a mask file with a reference.

    Parameters
    ----------
    predicted, reference : path
        Masks on one grid (axes may be permuted or flipped). 255 in the reference is not judged.
    labels_used : path, optional
        Mask of the labels used for training: slices that carry one are left out.
    axis : int, optional
        File axis along which slices are counted.
    """
    from napari_semiseg import io
    from napari_semiseg.engine.evaluate import evaluate as compare

    geometry = io.read_geometry(reference, axis=axis)
    masks = [io.read_mask(path, geometry) for path in (predicted, reference)]
    skip: Collection[int] = ()
    if labels_used is not None:
        used = io.read_mask(labels_used, geometry)
        said = used != 255 if (used == 255).any() else used != 0
        skip = np.flatnonzero(said.any(axis=(1, 2))).tolist()
    return compare(masks[0], masks[1], geometry.spacing, skip_planes=skip)


def hold_out(
    session: str | Path | Session,
    volume: str | None = None,
    *,
    slices: Collection[int] = (),
    learn_from: Collection[int] = (),
) -> dict[str, list[int]]:
    """Set slices aside, which rounds do not learn from but are judged and calibrated by, and return all of them.

    From five annotated slices of a volume on, one in five is set aside by itself: never an outermost one.

    Parameters
    ----------
    session : path or Session
    volume : str, optional
        Volume id; may be left out where there is one volume, or nothing is changed.
    slices : collection of int
        Set these aside.
    learn_from : collection of int
        Learn from these, whatever the program would choose.

    Returns
    -------
    dict of str to list of int
        Slices that are set aside, by volume id.
    """
    from napari_semiseg.session import holding

    wanted = {**dict.fromkeys(slices, True), **dict.fromkeys(learn_from, False)}
    with _changing(session) as opened:
        if wanted:
            chosen = _one_volume(opened, volume)
            for plane, held in wanted.items():
                holding.hold_out(opened, chosen, plane, held)
        return holding.settle(opened)


def rounds(session: str | Path | Session) -> list[RoundSummary]:
    """Return date, method, minutes, slices, held-out Dice and calibration of every round, the oldest first."""
    from napari_semiseg.session.summaries import RoundSummary

    return [RoundSummary.of(round_) for round_ in _opened(session).rounds()]


def restore(session: str | Path | Session, number: int) -> None:
    """Have a round's prediction be the current one and the next training continue it.

    Parameters
    ----------
    session : path or Session
    number : int
        Of a round with a model that segments.
    """
    with _changing(session) as opened:
        opened.restore_round(number)


def compare(session: str | Path | Session, earlier: int, later: int, volume: str | None = None) -> list[Change]:
    """Return how the volume of every class changed from the prediction of one round to that of another, in ml.

    Parameters
    ----------
    session : path or Session
    earlier, later : int
        Numbers of rounds.
    volume : str, optional
        Volume id; may be left out where there is one volume.
    """
    from napari_semiseg.session.summaries import round_changes

    opened = _opened(session)
    return round_changes(opened, _one_volume(opened, volume), earlier, later)


def measure(session: str | Path | Session, *, source: str = "merged") -> list[tuple[str, Measures]]:
    """Measure the structures of all volumes as they are exported.

    Parameters
    ----------
    session : path or Session
    source : str
        ``merged`` (annotation where given, prediction elsewhere), ``annotation`` or ``prediction``.

    Returns
    -------
    list of (volume id, Measures)
        Volume in ml, voxels, box, maximum Feret diameter in mm, slices.
    """
    from typing import cast

    from napari_semiseg.session.export import Source as Part
    from napari_semiseg.session.summaries import measures

    opened = _opened(session)
    if source not in ("merged", "annotation", "prediction"):
        raise InputError(f"The source {source!r} is unknown; choose merged, annotation or prediction.")
    return [(volume, found) for volume in opened.volumes for found in measures(opened, volume, cast(Part, source))]


def list_methods() -> list[dict[str, Any]]:
    """Return name, title, summary, presets and fields (JSON schema) of every method."""
    from napari_semiseg import methods

    return [
        {
            "name": name,
            "title": methods.get(name).title,
            "summary": methods.get(name).summary,
            "uses_unlabelled": methods.get(name).uses_unlabelled,
            "needs_labels": methods.get(name).needs_labels,
            "presets": {key: dict(values) for key, values in methods.get(name).presets.items()},
            "fields": methods.get(name).model_json_schema()["properties"],
        }
        for name in methods.names()
    ]


def info(image: str | Path, **options: Any) -> dict[str, Any]:
    """Return what is known of an image file: shape, spacing, axes, type, range, format, series, notes."""
    from napari_semiseg import io

    return io.describe(image, **options)


def _one_volume(session: Session, volume: str | None) -> str:
    if volume is None and len(session.volumes) == 1:
        return next(iter(session.volumes))
    if volume not in session.volumes:
        known = ", ".join(session.volumes) or "none"
        given = "No volume was named" if volume is None else f"The session has no volume {volume!r}"
        raise InputError(f"{given}; the session has {known}.")
    return volume


@contextmanager
def _changing(session: str | Path | Session) -> Iterator[Session]:
    """Open a session and hold it while it is changed; one that is open already is its owner's to hold.

    Raises
    ------
    HeldError
        If another program has it open.
    """
    opened = _opened(session)
    if opened is session:
        yield opened
        return
    opened.hold()
    try:
        yield opened
    finally:
        opened.let_go()


def _opened(session: str | Path | Session) -> Session:
    from napari_semiseg.session import Session

    return session if isinstance(session, Session) else Session.open(Path(session))
