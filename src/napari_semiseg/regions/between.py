"""Filling the slices between annotated ones, by choice of means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from napari_semiseg.regions.morphing import interpolate_morphological
from napari_semiseg.regions.propagation import interpolate_signed_distance

UNSAID = 255
Means = Literal["distance", "morphology", "walker"]
MEANS: dict[Means, str] = {
    "distance": "Signed distance",
    "morphology": "Morphological contours",
    "walker": "Random walker",
}
"""Means and their titles. Only the random walker looks at the image, and only it learns from scribbles."""


def fill_between(image: np.ndarray, labels: np.ndarray, spacing: Sequence[float], means: Means) -> np.ndarray:
    """Fill what is not said on the planes between the outermost annotated ones.

    Parameters
    ----------
    image : ndarray, shape (planes, rows, columns)
    labels : ndarray of uint8, same shape
        Class ids, 0 background, 255 not said.
    spacing : sequence of 3 floats
        mm; plane, row, column.
    means : {"distance", "morphology", "walker"}

    Returns
    -------
    ndarray of uint8, same shape
        Said voxels as given.

    Raises
    ------
    ValueError
        For unknown means.
    """
    if means == "distance":
        return interpolate_signed_distance(labels, spacing)
    if means == "morphology":
        return interpolate_morphological(labels)
    if means == "walker":
        return _walked(image, labels)
    raise ValueError(f"the means {means!r} are unknown; choose one of {', '.join(MEANS)}")


def _walked(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Most probable class of a random walk from what is said."""
    import torch

    from napari_semiseg.regions.walker import random_walk, to_unit_range

    ids = np.union1d([0], labels[labels != UNSAID]).astype(np.uint8)
    table = np.full(256, UNSAID, np.uint8)
    table[ids] = np.arange(len(ids))
    found = random_walk(to_unit_range(image), torch.from_numpy(table[labels]), len(ids)).argmax(dim=0).numpy()
    return np.where(labels != UNSAID, labels, ids[found]).astype(np.uint8)
