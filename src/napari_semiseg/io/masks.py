"""Read a label mask onto the grid of a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_semiseg.errors import ChoiceNeeded, InputError
from napari_semiseg.io import orientation
from napari_semiseg.io.geometry import GRID_TOLERANCE, Geometry
from napari_semiseg.io.reading import geometry_of, load_frame, open_image
from napari_semiseg.io.volume import RawImage

UNSAID = 255
MAX_CLASSES = 254
INTEGER_TOLERANCE = 1e-3


def read_mask(path: str | Path, geometry: Geometry, *, allow_unsaid: bool = True) -> np.ndarray:
    """Read class ids and bring them onto the grid of a volume.

    A mask whose axes are permuted or flipped against the volume is turned through the affines; one on another grid is
    refused, as resampling would change the labels.

    Parameters
    ----------
    path : str or Path
        Mask of any format that `read_volume` reads.
    geometry : Geometry
        Of the volume that the mask belongs to.
    allow_unsaid : bool
        Whether 255, "not said", may occur.

    Returns
    -------
    ndarray of uint8, shape (planes, rows, columns)
        0 background, 1…254 classes, 255 not said.

    Raises
    ------
    InputError
        If shape, place or values do not fit; the sentence gives both sides.
    """
    path = Path(path).expanduser()
    try:
        raw = open_image(path)
    except ChoiceNeeded as choice:
        raise InputError(f"'{path}' holds several DICOM series; a mask must be one image.") from choice
    if len(raw.frames) > 1:
        raise InputError(
            f"'{path}' holds {len(raw.frames)} volumes, but a mask has one, with the class id in each voxel; save one "
            "volume, or merge overlapping segments into one label map."
        )
    mask = geometry_of(path, raw)
    array = load_frame(path, raw, 0)
    placed = _placed(path, raw, mask, array, geometry)
    return np.ascontiguousarray(as_class_ids(path, placed, allow_unsaid=allow_unsaid))


def as_class_ids(path: Path, values: np.ndarray, *, allow_unsaid: bool = True) -> np.ndarray:
    """Turn mask values into uint8 class ids.

    Raises
    ------
    InputError
        If values are not whole numbers from 0 to 254 (255 if ``allow_unsaid``), or there are more than 254 classes.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError(f"'{path}' has NaN or infinite voxels; a mask holds whole numbers from 0 to 254.")
        rounded = np.rint(values)
        off = np.abs(values - rounded) > INTEGER_TOLERANCE
        if off.any():
            example = values[off][0]
            raise InputError(
                f"'{path}' holds values that are not whole numbers, such as {example:g} (in {int(off.sum())} "
                "voxels); a mask "
                "holds class ids. It may be a probability map or have been resampled with interpolation: threshold "
                "it, or resample with nearest neighbours."
            )
        values = rounded
    low, high = values.min(), values.max()
    if low < 0:
        raise InputError(
            f"'{path}' holds negative values, down to {low:g}; class ids are 1 to 254 and 0 is background."
        )
    if high > UNSAID:
        _refuse_large(path, values)
    ids = values.astype(np.uint8)
    if not allow_unsaid and high == UNSAID:
        raise InputError(
            f"'{path}' holds the value 255, which stands for 'not said' and is not possible here; use "
            "class ids 1 to 254."
        )
    return ids


def _refuse_large(path: Path, values: np.ndarray) -> None:
    present = [int(v) for v in np.unique(values) if v != 0]
    if len(present) > MAX_CLASSES:
        raise InputError(
            f"'{path}' holds {len(present)} classes, from {present[0]} to {present[-1]}; at most {MAX_CLASSES} are "
            "possible. Merge some, or check that it is a mask and not an image."
        )
    wanted = ", ".join(f"{old}→{new}" for new, old in enumerate(present[:6], start=1))
    more = ", …" if len(present) > 6 else ""
    raise InputError(
        f"'{path}' holds class ids up to {present[-1]}, but ids are 1 to 254 and 255 means 'not said'; remap them, for "
        f"instance {wanted}{more}, and give the remapped mask."
    )


def _placed(path: Path, raw: RawImage, mask: Geometry, array: np.ndarray, volume: Geometry) -> np.ndarray:
    """Return the mask's values in the display order of the volume."""
    if raw.format == "tiff" and not mask.oriented:
        return _placed_by_order(path, array, volume)
    to_voxels = np.linalg.solve(volume.display_affine, mask.affine)
    turn = np.rint(to_voxels[:3, :3])
    is_turn = np.array_equal(np.abs(turn).sum(axis=0), (1, 1, 1)) and np.array_equal(
        np.abs(turn).sum(axis=1), (1, 1, 1)
    )
    if not is_turn:
        raise InputError(_other_grid(path, mask, volume))
    axes = tuple(int(np.argmax(np.abs(turn[d]))) for d in range(3))
    turned = array.transpose(axes)
    if turned.shape != volume.shape:
        in_file = tuple(turned.shape[d] for d in np.argsort(volume.axes))
        raise InputError(
            f"'{path}' has {_times(in_file)} voxels, but the image has {_times(volume.file_shape)}; a mask must be "
            "drawn on, or resampled to, the very grid of the image."
        )
    flipped = tuple(d for d in range(3) if turn[d, axes[d]] < 0)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in mask.file_shape], indexing="ij")).reshape(3, -1)
    expected = turn @ corners
    for d in flipped:
        expected[d] += volume.shape[d] - 1
    actual = to_voxels[:3, :3] @ corners + to_voxels[:3, 3:]
    if np.abs(actual - expected).max() > GRID_TOLERANCE:
        raise InputError(_other_grid(path, mask, volume))
    return np.flip(turned, flipped)


def _placed_by_order(path: Path, array: np.ndarray, volume: Geometry) -> np.ndarray:
    """Place a TIFF mask, which knows no patient, by the order of its pages, rows and columns."""
    placed = array.transpose(2, 1, 0)
    if placed.shape != volume.shape:
        raise InputError(
            f"'{path}' has {_times(placed.shape)} pages, rows and columns, but the image has "
            f"{_times(volume.shape)} planes, "
            "rows and columns; a mask must be drawn on the very grid of the image."
        )
    return placed


def _other_grid(path: Path, mask: Geometry, volume: Geometry) -> str:
    """Say how the mask's grid differs from the volume's, with both values."""
    differences = []
    mine = np.sort(orientation.voxel_sizes(mask.affine))
    theirs = np.sort(orientation.voxel_sizes(volume.affine))
    if np.abs(mine - theirs).max() > 1e-3 * theirs.min():
        mask_sizes, sizes = (orientation.voxel_sizes(g.affine) for g in (mask, volume))
        differences.append(f"its voxels measure {_millimetres(mask_sizes)}, those of the image {_millimetres(sizes)}")
    centres = [g.affine @ [*((np.array(g.file_shape) - 1) / 2), 1] for g in (mask, volume)]
    shift = (centres[0] - centres[1])[:3]
    if np.abs(shift).max() > 1e-3:
        differences.append(
            f"its centre lies at {_place(centres[0])} mm (right, anterior, superior), that of the image at "
            f"{_place(centres[1])} mm, which is {_place(shift)} mm apart"
        )
    letters = ["".join(last for _, last in orientation.axis_letters(g.affine)) for g in (mask, volume)]
    turned = _relative_turn(mask, volume)
    if turned > 0.05:
        differences.append(
            f"its axes ({letters[0]}) are turned by {turned:.2g} degrees against the image's ({letters[1]})"
        )
    if mask.file_shape != volume.file_shape:
        differences.append(f"it has {_times(mask.file_shape)} voxels, the image {_times(volume.file_shape)}")
    return (
        f"'{path}' lies on another grid than the image: "
        f"{'; '.join(differences) or 'the affines differ'}. Draw the mask "
        "on this image, or resample it to the image with nearest neighbours."
    )


def _relative_turn(mask: Geometry, volume: Geometry) -> float:
    """Return the angle in degrees between the nearest axes of two grids."""
    ours, theirs = (g.affine[:3, :3] / orientation.voxel_sizes(g.affine) for g in (mask, volume))
    nearest = np.clip(np.abs(ours.T @ theirs).max(axis=1), 0, 1)
    return float(np.degrees(np.arccos(nearest.min())))


def _times(values: tuple[int, ...]) -> str:
    return " x ".join(str(int(v)) for v in values)


def _millimetres(values: np.ndarray) -> str:
    return " x ".join(f"{float(v):.5g}" for v in values) + " mm"


def _place(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{float(v):.2f}" for v in values[:3]) + ")"
