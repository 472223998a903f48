"""The planes between labelled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np

UNSAID = 255

Weights = Sequence[tuple[float, float]]
"""How near each plane of a gap is to the labelled one below and to that above; both sum to 1."""
Between = Callable[[np.ndarray, np.ndarray, Weights], Iterable[np.ndarray]]
"""Gets the labelled planes below and above and the weights of the planes between them; gives these."""


def fill_gaps(labels: np.ndarray, between: Between) -> np.ndarray:
    """Fill the planes between labelled ones, gap by gap.

    Parameters
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        Class ids, 0 background, 255 not said; planes without any 255 are the labelled ones.
    between : callable

    Returns
    -------
    ndarray of uint8, same shape
        Said voxels as given; else background beyond the outermost labelled planes.
    """
    said = labels != UNSAID
    result = np.where(said, labels, 0).astype(np.uint8)
    for below, above in pairwise(np.flatnonzero(said.all(axis=(1, 2)))):
        planes = range(below + 1, above)
        weights = [((above - plane) / (above - below), (plane - below) / (above - below)) for plane in planes]
        for plane, found in zip(planes, between(labels[below], labels[above], weights), strict=True):
            result[plane] = np.where(said[plane], labels[plane], found)
    return result
