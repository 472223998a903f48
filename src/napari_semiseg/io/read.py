"""Opening any supported file as a volume."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.errors import ChoiceNeeded, InputError, NonFiniteError
from napari_semiseg.io import dicom, itk, nifti, tiff
from napari_semiseg.io.geometry import Geometry
from napari_semiseg.io.volume import Decoded, Volume

_SUPPORTED = "NIfTI (.nii, .nii.gz), NRRD, MHA/MHD, a DICOM series or a TIFF stack"


def read_volume(
    path: str | Path,
    *,
    axis: int | None = None,
    frame: int | None = None,
    series: str | None = None,
    replace_nonfinite: bool = False,
) -> Volume:
    """Open a greyscale volume.

    Parameters
    ----------
    path : path
        A file, a folder of a DICOM series or any file of one.
    axis : int, optional
        File axis along which slices run; see `Geometry.of_file`.
    frame : int, optional
        Time point or channel of a 4D file.
    series : str, optional
        SeriesInstanceUID.
    replace_nonfinite : bool
        Replace NaN and infinite voxels by the smallest finite value.

    Returns
    -------
    Volume
        Data in plane, row, column order.

    Raises
    ------
    ChoiceNeeded
        For several series or time points of which none was chosen.
    NonFiniteError
        For NaN or infinite voxels, unless they are to be replaced.
    InputError
        For everything else that cannot be opened.
    """
    path = Path(path)
    kind, decoded = _decode(path, series)
    data, frame = _one_frame(path, decoded.data, frame)
    notes = list(decoded.notes)
    data = _finite(path, data, replace_nonfinite, notes)
    if data.size and data.min() == data.max():
        raise InputError(
            f"{path} has the same value {data.flat[0]:g} in every voxel, so there is nothing to see; check its export."
        )
    geometry = Geometry.of_file(kind, data.shape, decoded.affine, axis=axis, header=decoded.header)
    shown = np.ascontiguousarray(geometry.to_display(data))
    return Volume(shown, geometry, decoded.name or stem(path), path, frame, decoded.series, tuple(notes))


def read_geometry(path: str | Path, *, axis: int | None = None) -> Geometry:
    """Return the grid of an image or mask file; constant and empty masks have one too.

    Raises
    ------
    InputError
        If the file cannot be opened.
    """
    path = Path(path)
    kind, decoded = _decode(path, None)
    data, _ = _one_frame(path, decoded.data, None)
    return Geometry.of_file(kind, data.shape, decoded.affine, axis=axis, header=decoded.header)


def describe(path: str | Path, *, series: str | None = None, frame: int | None = None) -> dict[str, Any]:
    """Return what a file holds, JSON-able, for ``semiseg info``.

    A file with several series or time points is described too: its choices are listed.

    Raises
    ------
    InputError
        If the file cannot be opened.
    """
    path = Path(path)
    try:
        volume = read_volume(path, series=series, frame=frame, replace_nonfinite=True)
    except ChoiceNeeded as choice:
        return {
            "path": str(path),
            "choose": choice.parameter,
            "choices": [{"value": value, "description": text} for value, text in choice.choices],
        }
    geometry = volume.geometry
    return {
        "path": str(path),
        "name": volume.name,
        "format": geometry.format,
        "shape": list(geometry.shape),
        "spacing_mm": [round(s, 6) for s in geometry.spacing],
        "axes": ["".join(pair) for pair in geometry.letters],
        "slice_axis": geometry.axes[0],
        "dtype": str(volume.data.dtype),
        "range": [float(volume.data.min()), float(volume.data.max())],
        "affine": geometry.affine.tolist(),
        "series": volume.series,
        "frame": volume.frame,
        "notes": list(volume.notes),
    }


def list_series(path: str | Path) -> list[dicom.SeriesInfo]:
    """Return the DICOM image series of a folder, the largest first; empty for other files."""
    path = Path(path)
    return dicom.list_series(path) if path.is_dir() or dicom.is_dicom(path) else []


def content_hash(path: str | Path, series: str | None = None) -> str:
    """Return the SHA-256 of a file, or of all files of a DICOM series in the order of their names.

    Raises
    ------
    InputError
        If the file is gone.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        if path.is_dir() or dicom.is_dicom(path):
            folder = path if path.is_dir() else path.parent
            groups, _ = dicom._groups(folder)
            files = sorted(s.path for uid, group in groups.items() for s in group if series in (None, uid))
        else:
            files = [path]
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check that it is still there.") from None
    return digest.hexdigest()


def stem(path: Path) -> str:
    """Return the name without the suffixes of image files."""
    name = path.name
    for suffix in (
        ".nii.gz",
        ".hdr.gz",
        ".img.gz",
        ".seg.nrrd",
        *nifti.SUFFIXES,
        *itk.SUFFIXES,
        *tiff.SUFFIXES,
        ".dcm",
    ):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] or name
    return name


def _decode(path: Path, series: str | None) -> tuple[str, Decoded]:
    """Find the format by content, the name helping where the content does not tell, and decode."""
    try:
        if path.is_dir():
            return "dicom", _decode_folder(path, series)
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
        with path.open("rb") as file:
            start = file.read(352)
        if not start:
            raise InputError(f"{path} is empty (0 bytes); copy or download it again.")
        name = path.name.lower()
        if start[128:132] == b"DICM":
            return "dicom", dicom.read(path, series)
        if name.endswith(itk.SUFFIXES):
            return name.rsplit(".", 1)[1].replace("nhdr", "nrrd").replace("mhd", "mha"), itk.read(path)
        if name.endswith(nifti.SUFFIXES) or nifti.is_nifti(start):
            return "mgh" if name.endswith((".mgz", ".mgh")) else "nifti", nifti.read(path)
        if name.endswith(tiff.SUFFIXES) or start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return "tiff", tiff.read(path)
        if name.endswith((".dcm", ".dicom", ".ima")):
            raise InputError(f"{path} has no DICOM file header; export it again as a DICOM file.")
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied; change its permissions or copy it.") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); check the disk or copy it again."
        ) from None
    raise InputError(f"{path} is not an image that can be opened; use {_SUPPORTED}.")


def _decode_folder(path: Path, series: str | None) -> Decoded:
    if not any(dicom.is_dicom(file) for file in path.iterdir() if file.is_file()):
        below = [sub for sub in sorted(path.iterdir()) if sub.is_dir() and any(map(dicom.is_dicom, sub.iterdir()))]
        if len(below) == 1:
            return dicom.read(below[0], series)
        hint = f"; open one of its folders, such as {below[0].name}" if below else f"; use {_SUPPORTED}"
        raise InputError(f"{path} holds no DICOM images{hint}.")
    return dicom.read(path, series)


def _one_frame(path: Path, data: np.ndarray, frame: int | None) -> tuple[np.ndarray, int | None]:
    """Return a 3D array: a 2D image becomes one slice, of a 4D one the chosen frame is taken."""
    if data.dtype.kind == "c":
        raise InputError(f"{path} holds complex numbers; a greyscale volume is needed (export its magnitude).")
    if data.dtype.kind not in "iufb":
        raise InputError(f"{path} holds values of type {data.dtype}; a greyscale volume is needed.")
    data = data.reshape(*data.shape, *[1] * (3 - data.ndim)) if data.ndim < 3 else data
    if 0 in data.shape:
        raise InputError(f"{path} has the shape {data.shape} and so no voxels; check its export.")
    if data.ndim == 3:
        if frame not in (None, 0):
            raise InputError(f"{path} is 3D and has no time point or channel {frame}; leave the frame out.")
        return data, None
    count = data.shape[3]
    if frame is None and count == 1:
        return data[..., 0], None
    if frame is None:
        choices: list[tuple[object, str]] = [(i, f"time point or channel {i}") for i in range(count)]
        raise ChoiceNeeded(
            f"{path} is 4D with {count} time points or channels; choose one by its number, 0 to {count - 1}.",
            "frame",
            choices,
        )
    if not 0 <= frame < count:
        raise InputError(f"{path} has the time points or channels 0 to {count - 1}, not {frame}.")
    return data[..., frame], frame


def _finite(path: Path, data: np.ndarray, replace: bool, notes: list[str]) -> np.ndarray:
    if data.dtype.kind != "f":
        return data.astype(np.uint8) if data.dtype.kind == "b" else data
    good = np.isfinite(data)
    bad = data.size - int(np.count_nonzero(good))
    if not bad:
        return data
    if bad == data.size:
        raise InputError(f"{path} has no finite voxel at all; check its export.")
    lowest = data[good].min()
    if not replace:
        raise NonFiniteError(
            f"{path} has {bad} voxels that are NaN or infinite; allow their replacement by the smallest value {lowest:g} to open it."
        )
    notes.append(f"{bad} NaN or infinite voxels were replaced by {lowest:g}.")
    return np.where(good, data, lowest)
