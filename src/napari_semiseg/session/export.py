"""Masks and models out of a session."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from napari_semiseg import io
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.errors import InputError
from napari_semiseg.session.merge import accepted, known, merged
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.schema import SliceState
from napari_semiseg.session.session import Session
from napari_semiseg.session.storage import storing, write_files

Source = Literal["merged", "annotation", "prediction"]
FORMATS = ("nii.gz", "nii", "nrrd", "seg.nrrd", "mha", "mhd", "tif", "tiff")


def mask_of(session: Session, volume: str, source: Source = "merged") -> np.ndarray:
    """Return the mask of a volume.

    Parameters
    ----------
    session : Session
    volume : str
    source : str
        ``annotation`` (unlabelled voxels are 0), ``prediction``, or ``merged``: the annotation where it says something
        and the prediction elsewhere.

    Returns
    -------
    ndarray of uint8, shape (planes, rows, columns)
        Class ids.

    Raises
    ------
    InputError
        If the prediction is needed and there is none.
    """
    with session.visiting(volume) as annotation:
        resolved = annotation.resolved()
    if source == "annotation":
        return np.where(resolved == UNSAID, 0, resolved)
    found = _needed_prediction(session, volume, source, resolved)
    if found is None:
        return resolved
    predicted = known(found.labels[:], session.class_ids)
    if source == "prediction":
        return predicted
    return merged(resolved, predicted, session.volumes[volume].unsought(session.class_ids))


def _needed_prediction(session: Session, volume: str, source: Source, resolved: np.ndarray) -> StoredPrediction | None:
    """Return the prediction that a mask takes its voxels from; None if the annotation says it all."""
    if source == "annotation":
        return None
    found = session.latest_prediction(volume)
    if found is None and (source == "prediction" or (resolved == UNSAID).any()):
        raise InputError(
            f"The volume {session.volumes[volume].name} has no prediction yet; train first or export the annotation "
            "alone."
        )
    return found


def export_masks(
    session: Session,
    out: Path,
    *,
    format: str = "nii.gz",
    source: Source = "merged",
    volumes: Sequence[str] | None = None,
) -> list[Path]:
    """Write the masks of volumes with the geometry of their images; each is read back and compared.

    Parameters
    ----------
    session : Session
    out : Path
        Folder; created when missing. Files are named after the volumes, with ``-mask`` where the images themselves lie.
    format : str
        One of `FORMATS`.
    source : str
        See `mask_of`.
    volumes : sequence of str, optional
        Volume ids; all by default.

    Returns
    -------
    list of Path
        The masks, in the order of the session.

    Raises
    ------
    InputError
        For an unknown format or source, or where a prediction is missing.
    StorageError
    """
    format = format.lstrip(".").lower()
    if format not in FORMATS:
        raise InputError(f"The format {format!r} is unknown; choose one of {', '.join(FORMATS)}.")
    if source not in ("merged", "annotation", "prediction"):
        raise InputError(f"The source {source!r} is unknown; choose merged, annotation or prediction.")
    chosen = list(session.volumes) if volumes is None else list(volumes)
    unknown = [volume for volume in chosen if volume not in session.volumes]
    if unknown:
        raise InputError(f"The session has no volume {unknown[0]!r}; it has {', '.join(session.volumes) or 'none'}.")
    if not chosen:
        raise InputError(f"The session {session.path} has no volume to export.")
    for volume in chosen:
        with session.visiting(volume) as annotation:
            _needed_prediction(session, volume, source, annotation.resolved())  # told before anything is written
    with storing(out):
        out.mkdir(parents=True, exist_ok=True)
    names = {c.id: c.name for c in session.classes}
    colours = {c.id: c.rgb for c in session.classes}
    return [
        io.write_mask(target, mask_of(session, volume, source), session.volumes[volume].geometry, names, colours)
        for volume, target in _targets(session, out, format).items()
        if volume in chosen
    ]


def _targets(session: Session, out: Path, format: str) -> dict[str, Path]:
    """Return the file for the mask of each volume; never one of the images, nor the file that describes one."""
    stems = file_stems({volume: record.name for volume, record in session.volumes.items()})
    folders = {record.source.resolve().parent for record in session.volumes.values()}
    mark = "-mask" if out.resolve() in folders else ""
    return {volume: out / f"{stem}{mark}.{format}" for volume, stem in stems.items()}


def file_stems(names: Mapping[str, str]) -> dict[str, str]:
    """Return a file name for each volume id: the volume's name, made fit for files; its id where names clash."""
    fit = {volume: re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", name).strip(". ") or volume for volume, name in names.items()}
    lowered = [stem.lower() for stem in fit.values()]
    return {volume: stem if lowered.count(stem.lower()) == 1 else volume for volume, stem in fit.items()}


def export_model(session: Session, path: Path, round: Round | None = None) -> list[Path]:
    """Copy the model of a round (default: the last one) to a folder, or to a ``.safetensors`` file and its JSON.

    Raises
    ------
    InputError
        If nothing was trained yet.
    StorageError
    """
    chosen = round or session.latest_round()
    if chosen is None:
        raise InputError(f"The session {session.path} has no trained round yet; train it first.")
    folder, stem = (path.parent, path.stem) if path.suffix == ".safetensors" else (path, "model")
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        contents = {
            f"{stem}{suffix}": (chosen.path / f"model{suffix}").read_bytes() for suffix in (".safetensors", ".json")
        }
    write_files(folder, contents)
    return [folder / name for name in contents]


def accept_prediction(session: Session, volume: str, plane: int, *, overwrite: bool = False) -> int:
    """Take the prediction of a plane into the annotation; the plane becomes complete, unless it was reviewed.

    Parameters
    ----------
    session : Session
    volume : str
    plane : int
    overwrite : bool
        Replace what was painted too; by default painted voxels stay, but not those of a mere proposal.

    Returns
    -------
    int
        Number of voxels that changed.

    Raises
    ------
    InputError
        If there is no prediction, or no such plane.
    StorageError
    """
    planes = session.annotation(volume).said.shape[0]
    if not 0 <= plane < planes:
        raise InputError(f"{session.volumes[volume].name} has slices 0 to {planes - 1}, but no slice {plane}.")
    found = session.latest_prediction(volume)
    if found is None:
        raise InputError(f"The volume {session.volumes[volume].name} has no prediction yet; train first.")
    annotation = session.annotation(volume)
    before = annotation.said[plane].copy()
    overwrite = overwrite or annotation.states[plane] == SliceState.PROPOSED
    after = accepted(before, known(found.labels[plane], session.class_ids), overwrite=overwrite)
    annotation.set_plane(plane, after)
    if annotation.states[plane] != SliceState.REVIEWED:
        annotation.set_state(plane, SliceState.COMPLETE)
    annotation.flush()
    session.slice_changed.emit(volume, plane)
    return int(np.count_nonzero(before != after))
