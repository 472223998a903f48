"""Tidying a class: closing its holes, keeping its largest component."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

UNSAID = 255


def fill_holes(labels: np.ndarray, class_id: int, *, largest: float = np.inf) -> np.ndarray:
    """Close the holes of a class, plane by plane.

    A hole is what cannot be reached from the border of the plane without crossing the class (diagonal steps count as
    crossing). Only what is not said is filled: other classes and background strokes in a hole stay.

    Parameters
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        0 background, 255 not said.
    class_id : int
    largest : float
        Larger holes stay open, in pixels.

    Returns
    -------
    ndarray of uint8, same shape
    """
    result = labels.copy()
    for plane in result:
        mask = plane == class_id
        if not mask.any():
            continue
        numbers, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)
        wanted = sizes <= largest
        wanted[0] = False
        plane[wanted[numbers] & (plane == UNSAID)] = class_id
    return result


def keep_largest(labels: np.ndarray, class_id: int) -> np.ndarray:
    """Keep the largest component of a class; the rest of it becomes not said.

    Voxels are connected through their faces. Of several components of one size the first stays.

    Parameters
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        0 background, 255 not said. Planes that follow each other here count as neighbours, so that the annotated
        slices of a volume can be given without those between them.
    class_id : int

    Returns
    -------
    ndarray of uint8, same shape
    """
    numbers, count = ndimage.label(labels == class_id)
    result = labels.copy()
    if count > 1:
        sizes = np.bincount(numbers.ravel())
        sizes[0] = 0
        result[(numbers > 0) & (numbers != sizes.argmax())] = UNSAID
    return result
