"""What is damaged is set aside and named, never deleted; the rest of a session opens."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_semiseg.errors import InputError, NewerError
from napari_semiseg.session.annotation import UNSAID, Annotation
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.rounds import DAMAGED, Round
from napari_semiseg.session.storage import read_json, storing
from napari_semiseg.session.versions import SLICES

_FILES = ("annotation.zarr", "slices.json")
_LEFTOVERS = (".semiseg-*", "*/.semiseg-*", "*/annotation.zarr/**/.semiseg-*")
_YOUNG = 60.0  # s that a round may be without its configuration: somebody is creating it


def set_aside(session: Path, *places: Path) -> Path:
    """Move damaged files or folders of a session to its folder ``damaged``.

    Returns
    -------
    Path
        The folder where they are now; their paths in it are those that they had in the session.

    Raises
    ------
    StorageError
    """
    folder = session / DAMAGED / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    for place in places:
        target = folder / place.relative_to(session)
        with storing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                place.rename(target)
    return folder


def sweep(volumes: Path) -> None:
    """Remove what a killed program had begun to write beside its place."""
    for pattern in _LEFTOVERS:
        for leftover in volumes.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


# -- annotations ------------------------------------------------------------------------------------------------


def mended_annotation(session: Path, folder: Path, shape: tuple[int, int, int]) -> tuple[Annotation, str]:
    """Open an annotation of which something cannot be read: what can be is kept, the damaged files are set aside.

    A slice whose voxels are lost counts as unlabelled; painted slices whose states are lost count as scribbled.

    Parameters
    ----------
    session : Path
    folder : Path
        Of the volume.
    shape : tuple of 3 ints
        Planes, rows, columns.

    Returns
    -------
    annotation : Annotation
    sentence : str
        What was lost and where the damaged files are.

    Raises
    ------
    NewerError
        If a newer program wrote it: it is not damaged.
    StorageError
    """
    beside = folder / ".mended"
    if (beside / "slices.json").exists() and not (folder / "annotation.zarr").exists():
        what = "it was being mended when the program ended"  # the damaged files had been set aside already
    else:
        what = _mend_beside(folder, beside, shape)
    moved = set_aside(session, *(folder / name for name in _FILES))
    with storing(folder):
        for name in _FILES:
            (beside / name).rename(folder / name)
    shutil.rmtree(beside, ignore_errors=True)
    return Annotation.open(folder, shape), f"{what}; the damaged files are in {moved}."


def _mend_beside(folder: Path, beside: Path, shape: tuple[int, int, int]) -> str:
    """Write what can be read to a folder beside; returns what cannot be."""
    shutil.rmtree(beside, ignore_errors=True)
    said, lost = _readable_planes(folder, shape)
    record = _readable_record(folder, shape)
    Annotation.create(beside, shape, said=said, record=record, lost=range(shape[0]) if lost is None else lost)
    what = []
    if lost is None:
        what.append("what was painted could not be read")
    elif lost:
        slices, count = ("slice", "counts") if len(lost) == 1 else ("slices", "count")
        what.append(f"{slices} {', '.join(map(str, lost))} could not be read and {count} as unlabelled")
    if record is None:
        what.append("the states of its slices could not be read, painted slices count as scribbled")
    return "; ".join(what) or "its description could not be read, everything that was painted is there"


def _readable_record(folder: Path, shape: tuple[int, int, int]) -> dict[str, Any] | None:
    try:
        record = SLICES.read(folder / "slices.json")
        Annotation(folder, shape).take_record(record)
        return record
    except NewerError:
        raise
    except InputError:
        return None


def _readable_planes(folder: Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[int] | None]:
    """Return what can be read, and which planes cannot; None for all, because the array itself is damaged."""
    said = np.full(shape, UNSAID, np.uint8)
    try:
        stored = zarr.open_array(folder / "annotation.zarr", mode="r")
        if stored.shape != shape or stored.dtype != np.uint8:
            raise ValueError(f"shape {stored.shape}")
    except (ValueError, TypeError, OSError, KeyError, RuntimeError, zarr.errors.BaseZarrError):
        return _chunks_without_description(folder, said)
    lost = []
    for plane in range(shape[0]):
        try:
            said[plane] = stored[plane]
        except (ValueError, TypeError, OSError, KeyError, RuntimeError, zarr.errors.BaseZarrError):
            said[plane] = UNSAID
            lost.append(plane)
    return said, lost


def _chunks_without_description(folder: Path, said: np.ndarray) -> tuple[np.ndarray, list[int] | None]:
    """Read the planes of an array whose description is lost: it is known, since it is the same for all of them."""
    chunks = folder / "annotation.zarr" / "c"
    if not chunks.is_dir():
        return said, None
    beside = folder / f".semiseg-{uuid.uuid4().hex[:8]}"
    try:
        with storing(beside):
            Annotation.create(beside, (said.shape[0], said.shape[1], said.shape[2]))
            shutil.copytree(chunks, beside / "annotation.zarr" / "c", dirs_exist_ok=True)
        found, lost = _readable_planes(beside, (said.shape[0], said.shape[1], said.shape[2]))
        return found, lost
    finally:
        shutil.rmtree(beside, ignore_errors=True)


# -- rounds -----------------------------------------------------------------------------------------------------


def check_rounds(session: Path) -> list[str]:
    """Set damaged parts of rounds aside, or whole rounds; rounds that are being written are left alone.

    Returns
    -------
    list of str
        What was found, one sentence each.

    Raises
    ------
    StorageError
    """
    folder = session / "rounds"
    found = []
    numbered = [path for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    for path in sorted(numbered, key=lambda path: int(path.name)):
        round_ = Round(path)
        if round_.is_alive():
            continue
        try:
            sentence = _checked(session, round_)
        except NewerError as error:
            sentence = str(error)
        if sentence:
            found.append(sentence)
    return found


def _checked(session: Path, round_: Round) -> str:
    """Return what was set aside of a round as a sentence, empty if it is whole."""
    path = round_.path
    try:
        round_.config  # noqa: B018
    except NewerError:
        raise
    except InputError:
        if not any(not entry.name.startswith(".") for entry in path.iterdir()):
            _remove_unless_young(path)  # the program was killed before it had written what the round is about
            return ""
        return f"Round {round_.number} cannot be read any more; it was moved to {set_aside(session, path)}."
    aside: dict[str, list[Path]] = {}
    for title, stem in (("model", "model"), ("training state", "state")):
        files = [path / f"{stem}.safetensors", path / f"{stem}.json"]
        if not all(is_whole(file) for file in files if file.exists()):
            aside[title] = [file for file in files if file.exists()]
    if (path / "metrics.json").exists() and not is_whole(path / "metrics.json"):
        aside["measurements"] = [path / "metrics.json"]
    stored = path / "predictions"
    for prediction in sorted(stored.glob("[!.]*.zarr")) if stored.is_dir() else []:
        if StoredPrediction.open(prediction) is None:
            aside[f"prediction of {prediction.stem}"] = [prediction]
    if not aside:
        return ""
    moved = set_aside(session, *(file for files in aside.values() for file in files))
    return f"Round {round_.number}: its {', its '.join(aside)} cannot be read any more; moved to {moved}."


def _remove_unless_young(path: Path) -> None:
    """Remove an empty round, unless another program may be creating it now."""
    if time.time() - path.stat().st_mtime > _YOUNG:
        shutil.rmtree(path, ignore_errors=True)


def is_whole(path: Path) -> bool:
    """Return whether a JSON file can be read, or a safetensors file is as long as its header says."""
    try:
        if path.suffix == ".json":
            return isinstance(read_json(path), dict)
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                return False
            header = json.loads(file.read(length))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        return size == 8 + length + max(ends, default=0)
    except (InputError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return False
