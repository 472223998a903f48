"""From labelled planes to the planes between them, without learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

UNSAID = 255
_MARGIN = 12  # pixels around the labelled structures that the random walker sees


def interpolate_signed_distance(labels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Shape-based interpolation: signed distance maps of labelled planes, linearly in between (Raya & Udupa 1990).

    Parameters
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        Class indices, 255 not said; planes without any 255 are the labelled ones.
    spacing : sequence of 3 floats
        mm; plane, row, column.

    Returns
    -------
    ndarray of uint8, same shape
        Labelled planes as given; background beyond the outermost labelled planes.
    """
    known = np.flatnonzero((labels != UNSAID).all(axis=(1, 2)))
    result = np.zeros_like(labels)
    result[known] = labels[known]
    for below, above in zip(known[:-1], known[1:], strict=True):
        classes = [int(c) for c in np.union1d(np.unique(labels[below]), np.unique(labels[above])) if c != 0]
        for plane in range(below + 1, above):
            part = (plane - below) / (above - below)
            best = np.zeros(labels.shape[1:])
            for c in classes:
                distance = (1 - part) * _signed(labels[below] == c, spacing[1:]) + part * _signed(
                    labels[above] == c, spacing[1:]
                )
                taken = distance > best
                result[plane][taken] = c
                best = np.where(taken, distance, best)
    return result


def _signed(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance to the border in mm, positive inside; a plane without the structure is far outside everywhere."""
    if not mask.any():
        return np.full(mask.shape, -10.0 * max(spacing))
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
    labels : ndarray of uint8, same shape
        Class indices 0…C−1, 255 not said.
    spacing : sequence of 3 floats
        mm; plane, row, column.
    beta : float
        Penalty of intensity differences.

    Returns
    -------
    labels : ndarray of uint8, same shape
        Background outside a box of 12 pixels around the labelled structures, on planes beyond the labelled ones too.
    probabilities : ndarray of float32, shape (C, planes, rows, columns)
    """
    from skimage.segmentation import random_walker as walk

    said = labels != UNSAID
    classes = int(labels[said].max(initial=0)) + 1
    result = np.zeros_like(labels)
    probabilities = np.zeros((classes, *labels.shape), np.float32)
    probabilities[0] = 1
    if classes == 1:
        return result, probabilities
    planes = np.flatnonzero(said.any(axis=(1, 2)))
    box = ndimage.find_objects((said & (labels > 0)).any(axis=0).astype(np.uint8))[0]
    rows, columns = (
        slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(box, labels.shape[1:], strict=True)
    )
    part = (slice(planes[0], planes[-1] + 1), rows, columns)
    seeds = np.where(said[part], labels[part].astype(np.int32) + 1, 0)
    if (seeds == 0).any() and len(np.unique(seeds[seeds > 0])) == classes:
        low, high = np.percentile(image[part], (1, 99))
        cropped = np.clip((image[part] - low) / max(float(high - low), 1e-9), 0, 1).astype(np.float64)
        found = walk(cropped, seeds, beta=beta, mode="cg_j", tol=1e-3, spacing=tuple(spacing), return_full_prob=True)
        probabilities[(slice(None), *part)] = found
    result[part] = probabilities[(slice(None), *part)].argmax(axis=0)
    result[said] = labels[said]
    return result, probabilities
