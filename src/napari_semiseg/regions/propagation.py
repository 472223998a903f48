"""From labelled planes to the planes between them, without learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from napari_semiseg.regions.gaps import UNSAID, Weights, fill_gaps

_MARGIN = 12  # pixels around the labelled structures that the random walker sees


def interpolate_signed_distance(labels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Shape-based interpolation: distances to labelled planes' structures, linearly in between.

    First structures against background, which is the interpolation of signed distances (Raya & Udupa 1990,
    doi:10.1109/42.52951), then class against class inside, so that structures that touch leave no gap. A structure
    that one of two neighbouring labelled planes lacks ends halfway.

    Parameters
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        Class indices, 255 not said; planes without any 255 are the labelled ones.
    spacing : sequence of 3 floats
        mm; plane, row, column.

    Returns
    -------
    ndarray of uint8, same shape
        Said voxels as given; else background beyond the outermost labelled planes.
    """
    return fill_gaps(labels, lambda below, above, weights: _nearer(below, above, weights, spacing[1:]))


def _nearer(below: np.ndarray, above: np.ndarray, weights: Weights, spacing: Sequence[float]) -> Iterator[np.ndarray]:
    structures = np.union1d(below, above)
    structures = structures[structures > 0]
    if not weights or len(structures) == 0:
        yield from (np.zeros_like(below) for _ in weights)
        return
    against_background = (_distances(below > 0, above > 0, spacing), _distances(below == 0, above == 0, spacing))
    between_classes = [_distances(below == c, above == c, spacing) for c in structures]
    for weight in np.array(weights):
        to_any, to_background = (np.tensordot(weight, pair, 1) for pair in against_background)
        nearest = structures[np.argmin([np.tensordot(weight, pair, 1) for pair in between_classes], axis=0)]
        yield np.where(to_any < to_background, nearest, 0)


def _distances(below: np.ndarray, above: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance to a structure in two planes, 0 inside, in mm, shape (2, rows, columns).

    A plane that lacks it is as far from it as it is deep in the other plane.
    """
    return np.stack(
        [
            ndimage.distance_transform_edt(~mask, sampling=spacing)
            if mask.any()
            else np.full(mask.shape, _depth(other, spacing))
            for mask, other in ((below, above), (above, below))
        ]
    )


def _depth(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Largest distance to the border of a structure, inside it; 1 where it has no border, infinite if there is none."""
    if not mask.any():
        return np.inf
    return 1.0 if mask.all() else float(ndimage.distance_transform_edt(mask, sampling=spacing).max())


def random_walker(
    image: np.ndarray, labels: np.ndarray, spacing: Sequence[float], *, beta: float = 130.0
) -> tuple[np.ndarray, np.ndarray]:
    """Random walker seeded with everything that is labelled (Grady 2006, doi:10.1109/TPAMI.2006.233).

    Parameters
    ----------
    image : ndarray, shape (planes, rows, columns)
        Intensities of any range.
    labels : ndarray of uint8, same shape
        Class indices 0…C−1, 255 not said.
    spacing : sequence of 3 floats
        mm; plane, row, column. Of these only the ratio of rows to columns matters.
    beta : float
        Penalty of intensity differences.

    Returns
    -------
    labels : ndarray of uint8, same shape
        Said voxels as given. Elsewhere background outside a box of 12 pixels around the labelled structures and on
        planes beyond the outermost labelled ones.
    probabilities : ndarray of float32, shape (C, planes, rows, columns)
        Sum to 1; 1 for the class of said voxels.
    """
    said = labels != UNSAID
    classes = int(labels[said].max(initial=0)) + 1
    probabilities = np.zeros((classes, *labels.shape), np.float32)
    probabilities[0] = 1
    if classes > 1:
        part = _box_around_structures(labels)
        present, seeds = np.unique(labels[part], return_inverse=True)
        present = present[present != UNSAID]
        # 255 sorts last, so classes get seeds 1, 2, … and what is not said gets 0.
        seeds = np.where(said[part], seeds.reshape(said[part].shape) + 1, 0).astype(np.int32)
        if len(present) == 1:
            within = np.ones((1, *seeds.shape))
        elif said[part].all():
            within = np.stack([labels[part] == c for c in present])
        else:
            within = _walk(image[part], seeds, spacing, beta)
        probabilities[(slice(None), *part)] = 0
        for c, probability in zip(present, within, strict=True):
            probabilities[(c, *part)] = probability
        probabilities[:, said] = np.arange(classes)[:, None] == labels[said]
    result = np.where(said, labels, probabilities.argmax(axis=0)).astype(np.uint8)
    return result, probabilities


def _walk(image: np.ndarray, seeds: np.ndarray, spacing: Sequence[float], beta: float) -> np.ndarray:
    """Probabilities of seeds 1, 2, … where a voxel's seed is 0, shape (seeds, planes, rows, columns)."""
    from skimage.segmentation import random_walker as walk

    low, high = (float(v) for v in np.percentile(image, (1, 99)))
    if high > low:
        image = np.clip((image.astype(np.float64) - low) / (high - low), 0, 1)
    else:
        # skimage divides by the standard deviation; without contrast only distances count.
        image, beta = np.linspace(0, 1, image.size).reshape(image.shape), 0.0
    # skimage divides differences by the spacing, so that borders between thick planes would be no obstacle: a step from
    # plane to plane counts like one within the plane.
    in_plane = min(spacing[1:])
    steps = (1.0, spacing[1] / in_plane, spacing[2] / in_plane)
    # The solver stops near enough to the solution for labels, where probabilities may leave 0…1 by a little.
    found = walk(image, seeds, beta=beta, mode="cg_j", tol=1e-3, spacing=steps, return_full_prob=True, prob_tol=1.0)
    found = found.clip(0, 1)
    return found / found.sum(axis=0).clip(min=1e-9)


def _box_around_structures(labels: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the planes between the outermost labelled ones, and the structures' rows and columns with a margin."""
    said = labels != UNSAID
    planes = np.flatnonzero(said.any(axis=(1, 2)))
    box = ndimage.find_objects((said & (labels > 0)).any(axis=0).astype(np.uint8))[0]
    rows, columns = (
        slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(box, labels.shape[1:], strict=True)
    )
    return slice(int(planes[0]), int(planes[-1]) + 1), rows, columns
