"""Overlap and surface distances of two masks (methods.md 1.5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from napari_semiseg.errors import InputError


@dataclass(frozen=True)
class Score:
    """Agreement of a predicted structure with the reference.

    Attributes
    ----------
    dice, jaccard : float or None
        None when the structure is absent from both masks.
    hd95_mm, asd_mm, hd95_voxels, asd_voxels : float or None
        95th percentile of the symmetric surface distance and its mean, in mm and in voxels. None when either
        mask is empty: an empty prediction has no distance, it does not score 0.
    predicted_voxels, reference_voxels : int
        Voxels within the evaluated planes.
    """

    dice: float | None
    jaccard: float | None
    hd95_mm: float | None
    asd_mm: float | None
    hd95_voxels: float | None
    asd_voxels: float | None
    predicted_voxels: int
    reference_voxels: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return the score as a JSON-able dict."""
        return asdict(self)


def evaluate(
    predicted: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    *,
    skip_planes: Collection[int] = (),
    ignore: np.ndarray | None = None,
) -> dict[int, Score]:
    """Compare two label volumes class by class.

    Parameters
    ----------
    predicted, reference : ndarray of uint8, shape (planes, rows, columns)
        Class ids; 0 is background. Voxels that are 255 in the reference are not judged.
    spacing : sequence of 3 floats
        mm; plane, row, column.
    skip_planes : collection of int
        Planes that were used for training: no voxel and no surface point of them counts.
    ignore : ndarray of bool, same shape, optional
        Further voxels that are not judged.

    Returns
    -------
    dict of int to Score
        For every class id in either mask.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if predicted.shape != reference.shape:
        raise InputError(
            f"The prediction has shape {predicted.shape} and the reference {reference.shape}; "
            "they must lie on one grid."
        )
    unjudged = reference == 255
    if ignore is not None:
        unjudged = unjudged | ignore
    unjudged[list(skip_planes)] = True
    # Where nothing is judged the prediction counts as right, so that surfaces nearby are not cut open.
    predicted = np.where(unjudged, reference, predicted)
    ids = [int(i) for i in np.union1d(np.unique(predicted), np.unique(reference)) if i not in (0, 255)]
    return {i: _score(predicted == i, reference == i, ~unjudged, tuple(spacing)) for i in ids}


def _score(a: np.ndarray, b: np.ndarray, judged: np.ndarray, spacing: tuple[float, ...]) -> Score:
    na, nb = int(np.count_nonzero(a & judged)), int(np.count_nonzero(b & judged))
    both = int(np.count_nonzero(a & b & judged))
    either = na + nb - both
    mm = _surface_distances(a, b, judged, spacing)
    voxels = _surface_distances(a, b, judged, (1.0, 1.0, 1.0))
    return Score(
        dice=2 * both / (na + nb) if na + nb else None,
        jaccard=both / either if either else None,
        hd95_mm=_hd95(mm),
        asd_mm=_mean(mm),
        hd95_voxels=_hd95(voxels),
        asd_voxels=_mean(voxels),
        predicted_voxels=na,
        reference_voxels=nb,
    )


def _surface_distances(
    a: np.ndarray, b: np.ndarray, judged: np.ndarray, spacing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the distances of a's judged surface to b's surface and the other way round."""
    if not (a & judged).any() or not (b & judged).any():
        return None
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    # One voxel of margin, so that structures at the border of the box have a surface there.
    a, b, judged = (np.pad(array[box], 1) for array in (a, b, judged))
    surface_a, surface_b = (mask & ~ndimage.binary_erosion(mask) for mask in (a, b))
    to_b = ndimage.distance_transform_edt(~surface_b, sampling=spacing)[surface_a & judged]
    to_a = ndimage.distance_transform_edt(~surface_a, sampling=spacing)[surface_b & judged]
    return to_b, to_a


def _hd95(distances: tuple[np.ndarray, np.ndarray] | None) -> float | None:
    """The larger of both directions' 95th percentiles."""
    if distances is None or not all(part.size for part in distances):
        return None
    return float(max(np.percentile(part, 95) for part in distances))


def _mean(distances: tuple[np.ndarray, np.ndarray] | None) -> float | None:
    if distances is None or not all(part.size for part in distances):
        return None
    return float(np.concatenate(distances).mean())
