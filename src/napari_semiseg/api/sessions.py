"""What an annotator decides: the volumes of a session, what is looked for in them, which slices are set aside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_semiseg.api.opening import changing, one_volume, opened_session
from napari_semiseg.errors import InputError

if TYPE_CHECKING:
    from napari_semiseg.session import Session


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

    opened = opened_session(session)
    if volume is not None:
        with changing(session) as opened:
            opened.look_for(chosen(opened.volumes, [volume])[0], looked_for)
    return {
        "classes": {entry.id: entry.name for entry in opened.classes},
        "looked_for": {i: record.looked_for and list(record.looked_for) for i, record in opened.volumes.items()},
    }


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
    with changing(session) as opened:
        if wanted:
            chosen = one_volume(opened, volume)
            for plane, held in wanted.items():
                holding.hold_out(opened, chosen, plane, held)
        return holding.settle(opened)
