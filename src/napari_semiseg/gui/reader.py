"""npe2 reader: volumes and session folders by drag and drop, menu and command line.

This module is imported when napari looks for a reader, so it imports nothing heavy; torch never.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".tif", ".tiff")
NOTHING: list[tuple[Any, ...]] = [(None,)]
"""napari's sign for "read, but no layer comes of it"."""


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[tuple[Any, ...]]] | None:
    """Return `read` when the path looks like a volume, a DICOM folder or a session folder, else None."""
    if isinstance(path, list):
        return read if path and all(get_reader(entry) is not None for entry in path) else None
    place = Path(path)
    if place.is_dir():
        return read if is_session(place) or any(is_dicom(entry) for entry in _first_files(place)) else None
    if place.name.lower().endswith(SUFFIXES) or is_dicom(place):
        return read
    return None


def is_session(place: Path) -> bool:
    """Return whether a folder is a session."""
    return (place / "session.json").is_file()


def is_dicom(place: Path) -> bool:
    """Return whether a file has DICOM's mark after its preamble, whatever its name."""
    try:
        with place.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _first_files(folder: Path, count: int = 20) -> list[Path]:
    """Return some files of a folder and of its subfolders of first rank; enough to see what it holds."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        found = [Path(entry.path) for entry in entries if entry.is_file()][:count]
        for entry in entries[:count]:
            if entry.is_dir():
                inner = (Path(e.path) for e in os.scandir(entry.path) if e.is_file())
                found += [file for file, _ in zip(inner, range(3), strict=False)]
    except OSError:
        return []
    return found


def read(path: str | list[str]) -> list[tuple[Any, ...]]:
    """Read volumes as napari layer data; a session folder is opened in the panel.

    With a window, choices (DICOM series, time point, NaN voxels) are asked and errors are shown as one sentence;
    without one they are raised.

    Raises
    ------
    InputError
        The file cannot be used, and there is no window to say so.
    """
    from napari_semiseg.errors import SemisegError

    paths = [path] if isinstance(path, str) else list(path)
    layers: list[tuple[Any, ...]] = []
    for entry in paths:
        try:
            layers += _read_one(Path(entry))
        except SemisegError as error:
            if not _has_window():
                raise
            from napari.utils.notifications import show_error

            print(error, file=sys.stderr)
            show_error(str(error))
    return layers or NOTHING


def _has_window() -> bool:
    """Return whether a Qt application runs, without importing Qt."""
    if "qtpy" not in sys.modules:
        return False
    from qtpy.QtWidgets import QApplication

    return QApplication.instance() is not None


def _read_one(place: Path) -> list[tuple[Any, ...]]:
    if place.is_dir() and is_session(place):
        return _open_session(place)
    from napari_semiseg.gui.metadata import image_attributes
    from napari_semiseg.io import read_volume

    if not _has_window():
        volume = read_volume(place)
        return [(volume.data, image_attributes(volume), "image")]

    from napari_semiseg.gui.choices import read_asking

    answer = read_asking(place)
    if answer is None:
        return NOTHING
    volume, replaced = answer
    return [(volume.data, image_attributes(volume, replaced=replaced), "image")]


def _open_session(place: Path) -> list[tuple[Any, ...]]:
    """Open the panel with a session folder."""
    from napari_semiseg.errors import InputError

    if not _has_window():
        raise InputError(f"{place} is a session folder: open it in napari's window, in the panel Semiseg.")
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        raise InputError(f"{place} is a session folder: open a napari window first, then drop it there.")
    from napari_semiseg.gui.panel import dock

    dock(viewer).desk.binder.open(place)
    return NOTHING
