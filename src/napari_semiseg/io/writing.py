"""Write masks and maps with exactly the geometry of the image they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from napari_semiseg.errors import InputError, SemisegError, StorageError
from napari_semiseg.io.atomic import write_files
from napari_semiseg.io.encoding import encode
from napari_semiseg.io.geometry import Geometry
from napari_semiseg.io.reading import open_image
from napari_semiseg.io.segments import Colour, complete_classes, side_json, slicer_segments
from napari_semiseg.io.sniff import image_stem

_AFFINE_TOLERANCE_MM = 1e-3
"""NIfTI keeps the affine in float32, which is off by less than this within metres of the origin."""


def write_mask(
    path: str | Path,
    labels: np.ndarray,
    geometry: Geometry,
    class_names: Mapping[int, str],
    colours: Mapping[int, Colour] | None = None,
) -> Path:
    """Write class ids as an image, and names and colours as ``<stem>.json`` beside it.

    Parameters
    ----------
    path : str or Path
        The suffix chooses the format: .nii, .nii.gz, .nrrd, .seg.nrrd, .mha, .mhd, .tif or .tiff.
    labels : ndarray of uint8, shape (planes, rows, columns)
        0 background, 1…254 classes, 255 not said.
    geometry : Geometry
        Of the image that was labelled. A NIfTI mask of a NIfTI image has the image's own header.
    class_names : mapping of int to str
        Names by class id.
    colours : mapping of int to (red, green, blue), optional
        0…255 each, by class id.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError
        If array, class ids or suffix are not valid.
    StorageError
        If the disk is full, the folder missing or permission denied, or if reading the file again gives anything else
        than what was written. An older file of the name is untouched then.
    """
    path = Path(path).expanduser()
    labels = np.asarray(labels)
    if labels.dtype != np.uint8:
        raise InputError(f"A mask must be an array of uint8, but it is {labels.dtype}.")
    geometry = _in_file(path, geometry)
    stored = geometry.to_file(labels)
    classes = complete_classes(labels, class_names, colours)
    contents = encode(path.name, stored, geometry, slicer_segments(stored, classes))
    side = path.with_name(image_stem(path) + ".json")
    # The side file comes first, so that a mask never appears without its names.
    write_files(path.parent, {side.name: side_json(path.name, classes), **contents}, _checker(path, stored, geometry))
    return path


def write_map(path: str | Path, values: np.ndarray, geometry: Geometry) -> Path:
    """Write one map of numbers, such as the entropy of a prediction.

    Parameters
    ----------
    path : str or Path
        As in `write_mask`.
    values : ndarray of float32, shape (planes, rows, columns)
        The map.
    geometry : Geometry
        Of the image it belongs to.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError, StorageError
        As in `write_mask`.
    """
    path = Path(path).expanduser()
    geometry = _in_file(path, geometry)
    stored = geometry.to_file(np.asarray(values, np.float32))
    write_files(path.parent, encode(path.name, stored, geometry, {}), _checker(path, stored, geometry))
    return path


def write_maps(path: str | Path, values: np.ndarray, geometry: Geometry) -> Path:
    """Write several maps of one grid as a four-dimensional image, such as the probability of each class.

    Parameters
    ----------
    path : str or Path
        As in `write_mask`.
    values : ndarray of float32, shape (maps, planes, rows, columns)
        The maps; in the file they are the last axis (the components of each voxel in NRRD and MetaImage).
    geometry : Geometry
        Of the image they belong to.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError, StorageError
        As in `write_mask`.
    """
    path = Path(path).expanduser()
    values = np.asarray(values, np.float32)
    if values.ndim != 4 or not len(values):
        raise InputError(f"Maps must have the shape (maps, planes, rows, columns), but they have {values.shape}.")
    geometry = _in_file(path, geometry)
    stored = np.stack([geometry.to_file(value) for value in values], axis=-1)
    write_files(path.parent, encode(path.name, stored, geometry, {}), _checker(path, stored, geometry))
    return path


def _in_file(path: Path, geometry: Geometry) -> Geometry:
    """Return the order in which voxels are stored: the input's, but pages of a TIFF are always the planes."""
    return geometry.paged() if path.suffix.lower() in (".tif", ".tiff") else geometry


def _checker(path: Path, stored: np.ndarray, geometry: Geometry) -> Callable[[Path], None]:
    """Return a function that reads a written file again and compares voxels and affine."""

    def check(folder: Path) -> None:
        try:
            raw = open_image(folder / path.name)
            frames = [raw.load(index) for index in range(len(raw.frames))]
        except (SemisegError, ValueError) as error:
            raise StorageError(f"'{path}' was not saved: what was written cannot be read again ({error}).") from error
        written = stored if stored.ndim == 4 else stored[..., None]
        same = len(frames) == written.shape[3] and all(
            frame.shape == written.shape[:3]
            and np.array_equal(frame, written[..., index], equal_nan=frame.dtype.kind == "f")
            for index, frame in enumerate(frames)
        )
        if not same:
            raise StorageError(
                f"'{path}' was not saved: the voxels read back differ from those written. Check the disk."
            )
        off = float(np.abs(_corners(raw.affine, geometry) - _corners(geometry.affine, geometry)).max())
        if off > _AFFINE_TOLERANCE_MM:
            raise StorageError(
                f"'{path}' was not saved: this format would move voxels by {off:.3g} mm; save as .nii.gz or "
                ".nrrd instead."
            )

    return check


def _corners(affine: np.ndarray, geometry: Geometry) -> np.ndarray:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in geometry.file_shape], indexing="ij")).reshape(3, -1)
    return affine[:3, :3] @ corners + affine[:3, 3:]
