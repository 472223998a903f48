"""Find the DICOM files of a folder and read their headers with pydicom."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import InputError
from napari_semiseg.io.guard import quiet
from napari_semiseg.io.sniff import looks_like_bare_dicom

WITHOUT_UID = "without-uid"
"""Stands for the SeriesInstanceUID of files that have none."""

NOT_IMAGES = {
    "SEG": "a DICOM segmentation",
    "RTSTRUCT": "an RT structure set (contours)",
    "RTPLAN": "an RT plan",
    "RTRECORD": "an RT treatment record",
    "RTDOSE": "an RT dose grid",
    "SR": "a structured report",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "REG": "a registration",
    "DOC": "a document",
    "RWV": "a real-world value map",
}


@dataclass(frozen=True)
class Slice:
    """One plane of a DICOM file, placed in the patient (LPS, mm).

    Attributes
    ----------
    file : Path
        Where it is.
    frame : int
        Index within a multi-frame file, 0 otherwise.
    position, row_direction, column_direction : tuple of 3 floats
        Centre of the first pixel; unit vector along a row (growing column index) and along a column.
    spacing : tuple of 2 floats
        Between rows and between columns, mm.
    shape : tuple of 2 ints
        Rows, columns.
    order : tuple of floats
        What sorts several images at one position: time, echo, acquisition, instance.
    thickness : float or None
        Spacing between slices or slice thickness, if given.
    placed : bool
        Whether the file says where the plane lies; if not, position and directions are made up.
    """

    file: Path
    frame: int
    position: tuple[float, ...]
    row_direction: tuple[float, ...]
    column_direction: tuple[float, ...]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    order: tuple[float, ...]
    thickness: float | None
    placed: bool = True


@dataclass
class Series:
    """The files of one series, before they are put in order.

    Attributes
    ----------
    headers : dict
        Header of each file (a pydicom data set without pixels).
    uid, description, modality : str
        As the files say.
    """

    uid: str
    description: str
    modality: str
    headers: dict[Path, Any] = field(default_factory=dict)


@dataclass
class Scan:
    """What a folder holds.

    Attributes
    ----------
    series : list of Series
        Image series, in order of folder and name.
    others : dict
        Files that are DICOM but no images, and what they are.
    unreadable : dict
        Files that look like DICOM but cannot be read, and why.
    """

    series: list[Series] = field(default_factory=list)
    others: dict[Path, str] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)


def is_dicom(path: Path) -> bool:
    """Tell whether a file starts like DICOM, with or without preamble."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
        return head[128:132] == b"DICM" or looks_like_bare_dicom(path)
    except OSError:
        return False


def read_header(path: Path) -> Any:
    """Read a file's elements without its pixels.

    Raises
    ------
    Exception
        Whatever pydicom raises on a damaged file.
    """
    import pydicom

    with quiet():
        return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def scan(path: Path) -> Scan:
    """Group the DICOM files of a folder (and its subfolders), or of the folder of a file, by series."""
    found = Scan()
    by_key: dict[tuple[str, str], Series] = {}
    with quiet():
        _sort(path, found, by_key)
    return found


def _sort(path: Path, found: Scan, by_key: dict[tuple[str, str], Series]) -> None:
    """Put every file under ``path`` where it belongs in ``found``."""
    for file in _candidates(path):
        if not is_dicom(file):
            if file.suffix.lower() in (".dcm", ".ima"):
                found.unreadable[file] = "it is empty" if file.stat().st_size == 0 else "it is not DICOM inside"
            continue
        try:
            header = read_header(file)
            modality = text(header, "Modality")
            kind = _not_an_image(header, modality)
            uid, description = text(header, "SeriesInstanceUID") or WITHOUT_UID, text(header, "SeriesDescription")
        except Exception as error:  # pydicom raises nearly anything on damaged files
            found.unreadable[file] = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            continue
        if kind is not None:
            if kind:
                found.others[file] = kind
            continue
        # Without a UID only the folder tells what belongs together.
        key = (uid, str(file.parent) if uid == WITHOUT_UID else "")
        if key not in by_key:
            by_key[key] = Series(uid, description, modality)
            found.series.append(by_key[key])
        by_key[key].headers[file] = header


def text(header: Any, name: str) -> str:
    """Return an element as text, empty if it is absent."""
    value = getattr(header, name, None)
    return "" if value is None else str(value).strip()


def number(header: Any, name: str) -> float | None:
    """Return an element as a number, None if it is absent or no number."""
    try:
        value = float(getattr(header, name))
    except (AttributeError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def slices(path: Path, header: Any, *, lone: bool = False) -> list[Slice]:
    """Return the planes of a file; several for an enhanced multi-frame file.

    A file that is the only one of its series (``lone``) need not say where it lies.

    Raises
    ------
    InputError
        If the file does not say where its planes lie, or is in colour.
    """
    if int(number(header, "SamplesPerPixel") or 1) != 1:
        raise InputError(
            f"'{path}' is a colour (RGB) DICOM image; only greyscale volumes can be used. Give the original scan."
        )
    count_text = text(header, "NumberOfFrames") or "1"
    try:
        count = int(count_text)
    except ValueError as error:
        raise InputError(
            f"'{path}' says it has '{count_text}' frames, which is not a number; its header is damaged."
        ) from error
    groups = list(getattr(header, "PerFrameFunctionalGroupsSequence", None) or [])
    if count == 1 and not groups:
        return [_slice(path, header, 0, [header], lone)]
    if len(groups) != count or count < 1:
        raise InputError(
            f"'{path}' is a multi-frame DICOM file with {count} frames that does not say where each lies; convert it "
            "to NIfTI (for instance with dcm2niix) and open that."
        )
    shared = list(getattr(header, "SharedFunctionalGroupsSequence", None) or [])
    return [_slice(path, header, frame, [group, *shared]) for frame, group in enumerate(groups)]


def _candidates(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield from (p for p in sorted(path.parent.iterdir()) if p.is_file() and not p.name.startswith("."))
        return
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder) / name
            if not name.startswith(".") and name.upper() != "DICOMDIR" and file.is_file():
                yield file


def _not_an_image(header: Any, modality: str) -> str | None:
    """Return what a file is if it is no image, empty if it does not matter, and None if it is one."""
    if modality in NOT_IMAGES and not (modality == "RTDOSE" and "Rows" in header):
        return NOT_IMAGES[modality]
    if "Rows" in header and "Columns" in header:
        return None
    if not modality and "SOPInstanceUID" not in header:
        raise ValueError("it has no image in it")
    return f"DICOM of modality {modality or 'unknown'} without an image"


def _slice(path: Path, header: Any, frame: int, groups: list[Any], lone: bool = False) -> Slice:
    position = _vector(_find(groups, "PlanePositionSequence", "ImagePositionPatient"), 3)
    orientation = _vector(_find(groups, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing = _vector(_find(groups, "PixelMeasuresSequence", "PixelSpacing"), 2)
    if spacing is None and groups[0] is header:
        spacing = _vector(getattr(header, "ImagerPixelSpacing", None), 2)
    placed = position is not None and orientation is not None
    if lone and not placed:
        position, orientation, spacing = (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing or (1.0, 1.0)
    if position is None or orientation is None or spacing is None:
        raise InputError(
            f"'{path}' does not say where it lies (image position, orientation and pixel spacing are "
            "needed); it may be "
            "a projection, a secondary capture or an ultrasound clip. Give an axial, coronal or sagittal series."
        )
    rows, columns = np.array(orientation[:3]), np.array(orientation[3:])
    if min(spacing) <= 0:
        raise InputError(f"'{path}' has the pixel spacing {spacing[0]:g} x {spacing[1]:g} mm; both must be above 0.")
    if min(np.linalg.norm(rows), np.linalg.norm(columns)) < 0.5 or abs(float(rows @ columns)) > 0.01:
        raise InputError(
            f"'{path}' has the image orientation {orientation}, which are not two perpendicular directions."
        )
    shape = (int(header.Rows), int(header.Columns))
    if min(shape) < 1:
        raise InputError(f"'{path}' has {shape[0]} rows and {shape[1]} columns; both must be at least 1.")
    order = [number(header, n) for n in ("TemporalPositionIdentifier", "EchoTime", "TriggerTime", "AcquisitionNumber")]
    content = getattr(groups[0], "FrameContentSequence", None) if groups[0] is not header else None
    if content:
        order[0] = number(content[0], "TemporalPositionIndex")
    order += [number(header, "InstanceNumber"), float(frame)]
    between = _find([header, *groups], "PixelMeasuresSequence", "SpacingBetweenSlices")
    thick = _find([header, *groups], "PixelMeasuresSequence", "SliceThickness")
    thickness = next((abs(float(v)) for v in (between, thick) if v not in (None, "") and float(v) != 0), None)
    return Slice(
        path, frame, position, tuple(rows / np.linalg.norm(rows)), tuple(columns / np.linalg.norm(columns)),
        (spacing[0], spacing[1]), shape, tuple(-1.0 if v is None else v for v in order), thickness, placed,
    )  # fmt: skip


def _find(groups: list[Any], sequence: str, name: str) -> Any:
    """Return an element of the groups, directly or within one of their sequences."""
    for group in groups:
        value = getattr(group, name, None)
        if value is not None:
            return value
        items = getattr(group, sequence, None)
        if items and getattr(items[0], name, None) is not None:
            return getattr(items[0], name)
    return None


def _vector(value: Any, size: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == size and all(map(math.isfinite, numbers)) else None
