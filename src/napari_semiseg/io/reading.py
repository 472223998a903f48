"""Read a volume of any format; say in a sentence why it cannot be read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import ChoiceNeeded, InputError, NonFiniteError
from napari_semiseg.io.geometry import Geometry
from napari_semiseg.io.guard import reading
from napari_semiseg.io.sniff import check_readable, identify, image_stem
from napari_semiseg.io.volume import RawImage, SeriesInfo, Volume


def read_volume(
    path: str | Path,
    *,
    axis: int | None = None,
    frame: int | None = None,
    series: str | None = None,
    replace_nonfinite: bool = False,
) -> Volume:
    """Read a three-dimensional greyscale image.

    Parameters
    ----------
    path : str or Path
        NIfTI, NRRD, MHA/MHD, MGH, TIFF or DICOM file, or a folder with a DICOM series. The content decides, not the
        name.
    axis : int, optional
        File axis (0, 1 or 2) along which planes are stacked; without it the axis with by far the largest spacing,
        else the last.
    frame : int, optional
        Which volume of a file that holds several (time points, channels).
    series : str, optional
        SeriesInstanceUID, for a folder that holds several DICOM series.
    replace_nonfinite : bool
        Replace NaN and infinite voxels by the smallest finite value instead of raising.

    Returns
    -------
    Volume
        Array in the order plane, row, column, and its geometry.

    Raises
    ------
    ChoiceNeeded
        If ``frame`` or ``series`` is needed.
    NonFiniteError
        If voxels are NaN or infinite.
    InputError
        If the file cannot be used; the message says why and what would work.
    """
    path = Path(path).expanduser()
    raw = open_image(path, series)
    chosen = choose_frame(path, raw, frame)
    geometry = geometry_of(path, raw, axis)
    data, notes = checked_intensities(path, load_frame(path, raw, chosen), replace_nonfinite)
    return Volume(
        data=np.require(geometry.to_display(data), requirements=["C", "W"]),  # the only copy of what a file holds
        geometry=geometry,
        name=image_stem(path),
        source=path,
        frame=chosen if len(raw.frames) > 1 else None,
        series=raw.series,
        notes=(*raw.notes, *notes),
    )


def read_geometry(path: str | Path, *, axis: int | None = None) -> Geometry:
    """Return the grid of an image or mask; unlike `read_volume` it takes constant and empty ones too.

    Parameters
    ----------
    path : str or Path
        As in `read_volume`.
    axis : int, optional
        As in `read_volume`.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    path = Path(path).expanduser()
    return geometry_of(path, open_image(path), axis)


def open_image(path: Path, series: str | None = None) -> RawImage:
    """Open a file or DICOM folder with the reader that its content asks for.

    Raises
    ------
    InputError
        If it does not exist, may not be read or is no image that can be used.
    """
    check_readable(path)
    if path.is_dir():
        kind = "dicom"
    else:
        kind = identify(path)
        if series is not None and kind != "dicom":
            raise InputError(f"'{path}' is not a DICOM file, so it has no series '{series}' to choose.")
    if kind == "dicom":
        from napari_semiseg.io.dicom import read_dicom

        return read_dicom(path, series)
    if kind in ("nifti", "analyze"):
        from napari_semiseg.io.nifti import read_nifti

        return read_nifti(path)
    if kind == "mgh":
        from napari_semiseg.io.nifti import read_mgh

        return read_mgh(path)
    if kind == "tiff":
        from napari_semiseg.io.tiff import read_tiff

        return read_tiff(path)
    from napari_semiseg.io.itk import read_meta, read_nrrd

    return read_nrrd(path) if kind == "nrrd" else read_meta(path)


def list_series(path: str | Path) -> list[SeriesInfo]:
    """List the DICOM image series of a folder, or of the folder of a file; empty if there are none.

    Raises
    ------
    InputError
        If the path does not exist or may not be read.
    """
    from napari_semiseg.io.dicom import list_dicom

    path = Path(path).expanduser()
    check_readable(path)
    return list_dicom(path)


def geometry_of(path: Path, raw: RawImage, axis: int | None = None) -> Geometry:
    """Lay out a raw image for display; a damaged affine is reported with the file's name."""
    try:
        return Geometry.from_affine(raw.format, raw.shape, raw.affine, axis=axis, header=raw.header)
    except InputError as error:
        raise InputError(f"'{path}' cannot be used. {error}") from error


def choose_frame(path: Path, raw: RawImage, frame: int | None) -> int:
    """Return the index of the volume to take.

    Raises
    ------
    ChoiceNeeded
        If there are several and none was chosen.
    InputError
        If the chosen one does not exist.
    """
    count = len(raw.frames)
    if frame is None:
        if count == 1:
            return 0
        raise ChoiceNeeded(
            f"'{path}' holds {count} volumes (time points or channels); choose one by its number from 0 "
            f"to {count - 1}.",
            "frame",
            list(enumerate(raw.frames)),
        )
    if not 0 <= frame < count:
        span = "only volume 0" if count == 1 else f"the volumes 0 to {count - 1}"
        raise InputError(f"'{path}' has {span}, but volume {frame} was asked for.")
    return frame


def load_frame(path: Path, raw: RawImage, frame: int) -> np.ndarray:
    """Decode one volume in file order; damaged voxels give an `InputError`."""
    with reading(path, raw.format.upper()):
        array = raw.load(frame)
    if array.dtype.kind == "c":
        raise InputError(f"'{path}' holds complex numbers; save its magnitude as a new file and open that.")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return array


def checked_intensities(path: Path, data: np.ndarray, replace_nonfinite: bool) -> tuple[np.ndarray, list[str]]:
    """Refuse what nothing can be learned from.

    Returns
    -------
    data : ndarray
        The intensities, NaN and infinite voxels replaced if that was asked for.
    notes : list of str
        What was replaced.

    Raises
    ------
    NonFiniteError
        If voxels are NaN or infinite and are not to be replaced.
    InputError
        If all voxels have the same value.
    """
    notes = []
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        if not finite.all():
            data, note = _replaced(path, data, finite, replace_nonfinite)
            notes.append(note)
    low, high = data.min(), data.max()
    if low == high:
        raise InputError(
            f"'{path}' has the value {low:g} in every voxel, so there is nothing to see or to learn "
            "from; check that the "
            "right file was given and that its export was complete."
        )
    return data, notes


def _replaced(path: Path, data: np.ndarray, finite: np.ndarray, replace: bool) -> tuple[np.ndarray, str]:
    nans = int(np.isnan(data).sum())
    infinite = int(data.size - finite.sum()) - nans
    count = " and ".join(
        f"{n} {word} voxel{'' if n == 1 else 's'}" for n, word in ((nans, "NaN"), (infinite, "infinite")) if n
    )
    if not finite.any():
        raise InputError(f"'{path}' has no finite voxel ({count}); check the program that wrote it.")
    low = data[finite].min()
    if not replace:
        raise NonFiniteError(
            f"'{path}' has {count}, which cannot be trained on; they can be replaced by the smallest finite value, "
            f"{low:g} (replace_nonfinite=True, or the button offered)."
        )
    return np.where(finite, data, low), f"{count} replaced by the smallest finite value, {low:g}."


def content_hash(path: str | Path, series: str | None = None) -> str:
    """Return a hash of everything a volume is made of.

    Renaming the files of a DICOM series does not change it; a change of any byte does.

    Parameters
    ----------
    path : str or Path
        As given to `read_volume`.
    series : str, optional
        As given to `read_volume`.

    Returns
    -------
    str
        ``"sha256:"`` and 64 hexadecimal digits.

    Raises
    ------
    InputError
        If the file is missing or cannot be read.
    """
    path = Path(path).expanduser()
    check_readable(path)
    files = _files(path, series)
    with reading(path, "an image"):
        digests = [_file_digest(file) for file in files]
    if len(digests) == 1:
        return f"sha256:{digests[0].hex()}"
    return f"sha256:{hashlib.sha256(b''.join(sorted(digests))).hexdigest()}"


def _files(path: Path, series: str | None) -> list[Path]:
    """Return every file that an image is made of, without reading its voxels."""
    kind = "dicom" if path.is_dir() else identify(path)
    if kind == "dicom":
        return open_image(path, series).files
    with reading(path, kind.upper()):
        if kind in ("nifti", "analyze"):
            from napari_semiseg.io.nifti import halves

            return [file for file in halves(path) if file is not None]
        if kind in ("nrrd", "mha"):
            from napari_semiseg.io.itk import parse_meta, parse_nrrd

            header = parse_nrrd(path)[0] if kind == "nrrd" else parse_meta(path)
            return [path, *(file for file in header.files if file != path)]
    return [path]


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def describe(
    path: str | Path, *, axis: int | None = None, frame: int | None = None, series: str | None = None
) -> dict[str, Any]:
    """Describe an image for people and programs.

    Returns
    -------
    dict
        JSON-able: ``path``, ``format``, ``shape``, ``spacing``, ``axes`` (patient letters of plane, row and column),
        ``file_shape``, ``slice_axis``, ``affine``, ``dtype``, ``range``, ``nonfinite``, ``frames``, ``series`` and
        ``notes``. A folder with several series and none chosen gives ``path``, ``format`` and ``series`` only.

    Raises
    ------
    InputError
        If the file cannot be read. NaN voxels and a constant image are described, not refused.
    """
    path = Path(path).expanduser()
    try:
        raw = open_image(path, series)
    except ChoiceNeeded as choice:
        listed = [{"uid": uid, "description": label} for uid, label in choice.choices]
        return {"path": str(path), "format": "dicom", "series": listed, "notes": [str(choice)]}
    geometry = geometry_of(path, raw, axis)
    chosen = choose_frame(path, raw, frame if frame is not None or len(raw.frames) == 1 else 0)
    data = load_frame(path, raw, chosen)
    finite = data[np.isfinite(data)] if data.dtype.kind == "f" else data
    return {
        "path": str(path),
        "format": raw.format,
        "shape": list(geometry.shape),
        "spacing": list(geometry.spacing),
        "axes": ["".join(pair) or "unknown" for pair in geometry.letters],
        "file_shape": list(geometry.file_shape),
        "slice_axis": geometry.axes[0],
        "affine": geometry.affine.tolist(),
        "dtype": str(data.dtype),
        "range": [float(finite.min()), float(finite.max())] if finite.size else None,
        "nonfinite": int(data.size - finite.size),
        "frames": len(raw.frames),
        "series": [] if raw.series is None else [{"uid": raw.series, "description": raw.header.get("modality", "")}],
        "notes": list(raw.notes),
    }
