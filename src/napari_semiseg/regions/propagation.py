"""From labelled planes to the planes between them, without learning."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

UNSAID = 255
_MARGIN = 12  # pixels around the labelled structures that the random walker sees


def interpolate_signed_distance(labels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Shape-based interpolation: signed distance maps of labelled planes, linearly in between.

    Every class, background included, competes with its interpolated distance, so that touching structures leave no
    gap between them. A structure that one of two neighbouring labelled planes lacks ends halfway (Raya & Udupa 1990,
    doi:10.1109/42.52951).

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
    said = labels != UNSAID
    result = np.where(said, labels, 0).astype(np.uint8)
    for below, above in pairwise(np.flatnonzero(said.all(axis=(1, 2)))):
        if above == below + 1:
            continue
        classes = np.union1d(labels[below], labels[above])
        ends = [_distances(labels[below] == c, labels[above] == c, spacing[1:]) for c in classes]
        first, last = (np.stack(maps) for maps in zip(*ends, strict=True))
        for plane in range(below + 1, above):
            part = (plane - below) / (above - below)
            nearest = classes[((1 - part) * first + part * last).argmax(axis=0)]
            result[plane] = np.where(said[plane], labels[plane], nearest)
    return result


def _distances(below: np.ndarray, above: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances of a structure in two planes, positive inside, in mm.

    A plane without it is as far outside as the other plane reaches inside, a plane full of it as far inside as the
    other reaches outside: so it, or the rest, ends halfway.
    """
    masks = (below, above)
    known = [_signed(mask, spacing) if mask.any() and not mask.all() else None for mask in masks]
    reference = next((distance for distance in known if distance is not None), np.array([-1.0, 1.0]))
    first, last = (
        distance if distance is not None else np.full(mask.shape, -(reference.min() if mask.all() else reference.max()))
        for mask, distance in zip(masks, known, strict=True)
    )
    return first, last


def _signed(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance to the border of a structure in mm, positive inside."""
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return inside - outside


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
        mm; plane, row, column.
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
    from skimage.segmentation import random_walker as walk

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
            low, high = np.percentile(image[part], (1, 99))
            cropped = np.clip((image[part].astype(np.float64) - low) / max(float(high - low), 1e-9), 0, 1)
            within = walk(
                cropped, seeds, beta=beta, mode="cg_j", tol=1e-3, spacing=tuple(spacing), return_full_prob=True
            )
        probabilities[(slice(None), *part)] = 0
        for c, probability in zip(present, within, strict=True):
            probabilities[(c, *part)] = probability
        probabilities[:, said] = np.arange(classes)[:, None] == labels[said]
    result = np.where(said, labels, probabilities.argmax(axis=0)).astype(np.uint8)
    return result, probabilities


def _box_around_structures(labels: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the planes between the outermost labelled ones, and the structures' rows and columns with a margin."""
    said = labels != UNSAID
    planes = np.flatnonzero(said.any(axis=(1, 2)))
    box = ndimage.find_objects((said & (labels > 0)).any(axis=0).astype(np.uint8))[0]
    rows, columns = (
        slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(box, labels.shape[1:], strict=True)
    )
    return slice(int(planes[0]), int(planes[-1]) + 1), rows, columns
