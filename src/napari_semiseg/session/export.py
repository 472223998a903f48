"""Masks and models out of a session."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from napari_semiseg import io
from napari_semiseg.errors import InputError
from napari_semiseg.session.merge import accepted, merged
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.schema import SliceState
from napari_semiseg.session.session import Session
from napari_semiseg.session.storage import storing, write_bytes

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
    resolved = session.annotation(volume).resolved()
    if source == "annotation":
        return np.where(resolved == 255, 0, resolved)
    found = session.latest_prediction(volume)
    if found is None:
        if source == "merged" and not (resolved == 255).any():
            return resolved
        raise InputError(
            f"The volume {session.volumes[volume].name} has no prediction yet; train first or export the annotation "
            "alone."
        )
    predicted = found.labels[:]
    return predicted if source == "prediction" else merged(resolved, predicted)


def export_masks(
    session: Session,
    out: Path,
    *,
    format: str = "nii.gz",
    source: Source = "merged",
    volumes: Sequence[str] | None = None,
) -> list[Path]:
    """Write the masks of volumes with the geometry of their images; each is read back and compared.

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
    if not chosen:
        raise InputError(f"The session {session.path} has no volume to export.")
    masks = {volume: mask_of(session, volume, source) for volume in chosen}
    with storing(out):
        out.mkdir(parents=True, exist_ok=True)
    names = {c.id: c.name for c in session.classes}
    colours = {c.id: c.rgb for c in session.classes}
    stems = file_stems({volume: session.volumes[volume].name for volume in session.volumes})
    return [
        io.write_mask(out / f"{stems[volume]}.{format}", mask, session.volumes[volume].geometry, names, colours)
        for volume, mask in masks.items()
    ]


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
    written = []
    for suffix in (".safetensors", ".json"):
        target = folder / f"{stem}{suffix}"
        write_bytes(target, (chosen.path / f"model{suffix}").read_bytes())
        written.append(target)
    return written


def accept_prediction(session: Session, volume: str, plane: int, *, overwrite: bool = False) -> int:
    """Take the prediction of a plane into the annotation; an unlabelled plane becomes complete.

    Returns
    -------
    int
        Number of voxels that changed.

    Raises
    ------
    InputError
        If there is no prediction.
    """
    found = session.latest_prediction(volume)
    if found is None:
        raise InputError(f"The volume {session.volumes[volume].name} has no prediction yet; train first.")
    annotation = session.annotation(volume)
    before = annotation.said[plane].copy()
    after = accepted(before, np.asarray(found.labels[plane]), overwrite=overwrite)
    annotation.set_plane(plane, after)
    if annotation.states[plane] == SliceState.UNLABELLED:
        annotation.set_state(plane, SliceState.COMPLETE)
    annotation.flush()
    session.slice_changed.emit(volume, plane)
    return int(np.count_nonzero(before != after))
