"""Edge and interior of a structure by average pooling (BCLL; methods.md 7), for display."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

NONE, EDGE, INTERIOR = 0, 1, 2
_TOLERANCE = 1e-6


def boundary_regions(labels: np.ndarray, class_id: int, radius: int = 3) -> np.ndarray:
    """Tell which pixels are edge and which interior of a class, plane by plane.

    Edge is where the mean of y^c = [label = c] over a window of 2r+1 pixels differs from y^c, on both sides of the
    boundary; interior is every other pixel of the class. Borders are replicated, as zero padding would call the border
    of the image an edge. Windows that hold 255 (not said) belong to neither. Where a plane's structure has no interior
    at this radius, the radius shrinks down to 1.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns) or (planes, rows, columns)
        Class ids, 255 not said.
    class_id : int
    radius : int
        Pixels.

    Returns
    -------
    ndarray of uint8, same shape
        0 neither, 1 edge, 2 interior of the class.
    """
    if labels.ndim == 3:
        return np.stack([boundary_regions(plane, class_id, radius) for plane in labels])
    inside = labels == class_id
    result = np.zeros(labels.shape, np.uint8)
    if not inside.any():
        return result
    unsaid = labels == 255
    for r in range(radius, 0, -1):
        size = 2 * r + 1
        mean = ndimage.uniform_filter(inside.astype(np.float64), size, mode="nearest")
        whole = ~ndimage.maximum_filter(unsaid, size, mode="nearest")
        differs = np.abs(mean - inside) > _TOLERANCE
        interior = inside & ~differs & whole
        if interior.any() or r == 1:
            result[differs & whole] = EDGE
            result[interior] = INTERIOR
            break
    return result
