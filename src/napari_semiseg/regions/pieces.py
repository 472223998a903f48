"""The part of a predicted slice that a click means. Pure functions of one slice."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy import ndimage

Unit = Literal["slice", "class", "region", "superpixel"]
UNITS: tuple[Unit, ...] = get_args(Unit)


def piece_at(
    predicted: np.ndarray, row: int, column: int, unit: Unit, superpixels: np.ndarray | None = None
) -> np.ndarray:
    """Return the part of a slice that a click means.

    Parameters
    ----------
    predicted : ndarray of uint8, shape (rows, columns)
        Class ids, 0 background.
    row, column : int
        The pixel that was clicked.
    unit : str
        ``slice``: all of it; ``class``: every pixel of the class that is predicted there; ``region``: those of them
        that are connected to it by their edges or corners; ``superpixel``: the superpixel, whatever is predicted in it.
    superpixels : ndarray of int, same shape
        Needed for that.

    Returns
    -------
    ndarray of bool, same shape
        Nothing where a class or region is asked for and background is predicted.
    """
    if unit == "slice":
        return np.ones(predicted.shape, bool)
    if unit == "superpixel":
        if superpixels is None:
            raise ValueError("superpixels are needed")
        return np.asarray(superpixels == superpixels[row, column])
    same = predicted == predicted[row, column]
    if predicted[row, column] == 0:
        return np.zeros(predicted.shape, bool)
    if unit == "class":
        return same
    numbers, _ = ndimage.label(same, structure=np.ones((3, 3)))
    return np.asarray(numbers == numbers[row, column])
