"""Size and extent of the structures of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Measures:
    """What is measured of one structure.

    Attributes
    ----------
    class_id : int
    voxels : int
    volume_ml : float
    box : ((int, int), (int, int), (int, int)) or None
        First and last plane, row and column; None where there is no voxel.
    extent_mm : (float, float, float) or None
        Size of that box along planes, rows and columns.
    diameter_mm : float
        Maximum Feret diameter in three dimensions: the largest distance of two corners of its voxels; 0 without any.
    slices : int
        Planes on which it occurs.
    """

    class_id: int
    voxels: int
    volume_ml: float
    box: tuple[tuple[int, int], ...] | None
    extent_mm: tuple[float, ...] | None
    diameter_mm: float
    slices: int

    def to_json(self) -> dict[str, Any]:
        """Return the measures as a JSON-able dict."""
        return asdict(self)


def measure(mask: np.ndarray, spacing: Sequence[float], class_ids: Sequence[int]) -> list[Measures]:
    """Measure the structures of a mask.

    Parameters
    ----------
    mask : ndarray of uint8, shape (planes, rows, columns)
        Class ids, 0 background.
    spacing : sequence of 3 floats
        mm; plane, row, column.
    class_ids : sequence of int
        Which to measure; background is not.
    """
    return [_measure(mask == class_id, spacing, class_id) for class_id in class_ids if class_id]


def _measure(inside: np.ndarray, spacing: Sequence[float], class_id: int) -> Measures:
    voxels = int(np.count_nonzero(inside))
    volume = voxels * float(np.prod(spacing)) / 1000
    if not voxels:
        return Measures(class_id, 0, 0.0, None, None, 0.0, 0)
    lines = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    box = tuple((int(line[0]), int(line[-1])) for line in lines)
    extent = tuple((last - first + 1) * float(size) for (first, last), size in zip(box, spacing, strict=True))
    return Measures(class_id, voxels, volume, box, extent, feret_diameter(inside, spacing), len(lines[0]))


def feret_diameter(inside: np.ndarray, spacing: Sequence[float]) -> float:
    """Return the largest distance between two corners of voxels, mm.

    Parameters
    ----------
    inside : ndarray of bool, shape (planes, rows, columns)
    spacing : sequence of 3 floats
        mm; plane, row, column.

    Returns
    -------
    float
        0 without any voxel. The two farthest points of a body are corners of its convex hull; only those are compared.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    rows = inside.any(axis=2)
    if not rows.any():
        return 0.0
    # Of every line of voxels only both ends can be corners of the hull.
    planes, lines = np.nonzero(rows)
    first = inside.argmax(axis=2)[rows]
    last = inside.shape[2] - inside[:, :, ::-1].argmax(axis=2)[rows]
    corners = np.concatenate(
        [np.stack([planes + i, lines + j, column], axis=1) for i in (0, 1) for j in (0, 1) for column in (first, last)]
    ) * np.asarray(spacing, float)
    return float(pdist(corners[ConvexHull(corners).vertices]).max())
