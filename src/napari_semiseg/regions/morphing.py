"""Morphological contour interpolation: one outline turns into the other by growing and shrinking.

After Albu, Beugeling & Laurendeau 2008 (doi:10.1109/TBME.2008.921158), as ITK-SNAP and 3D Slicer use too: overlapping
components are laid over each other by their centres; from what they share, each is reached by dilations within it; at a
share t of the way the part of the first that is reached in (1 − t) of its dilations is united with the part of the
second that is reached in t of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from napari_semiseg.regions.gaps import Weights, fill_gaps

_EVERY_NEIGHBOUR = np.ones((3, 3), bool)


def interpolate_morphological(labels: np.ndarray) -> np.ndarray:
    """Fill the planes between labelled ones.

    A component that overlaps none in the other plane shrinks to its core and ends halfway. Where the outlines of two
    classes come to overlap, a pixel goes to the class that is deeper there.

    Parameters
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        Class ids, 0 background, 255 not said; planes without any 255 are the labelled ones.

    Returns
    -------
    ndarray of uint8, same shape
        Said voxels as given; else background beyond the outermost labelled planes.
    """
    return fill_gaps(labels, _between)


def _between(below: np.ndarray, above: np.ndarray, weights: Weights) -> Iterator[np.ndarray]:
    if not weights:
        return
    classes = np.union1d(below, above)
    parts = {int(c): _outlines(below == c, above == c) for c in classes[classes > 0]}
    for _, share in weights:
        depth = np.full(below.shape, -1.0)
        found = np.zeros(below.shape, np.uint8)
        for class_id, (outer, holes) in parts.items():
            here = _depth(outer, share, depth.shape)
            here[_depth(holes, share, depth.shape) >= 0] = -1
            wins = (here >= 0) & (here > depth)
            found[wins], depth[wins] = class_id, here[wins]
        yield found


Pairs = list[tuple[np.ndarray, np.ndarray]]


def _outlines(first: np.ndarray, second: np.ndarray) -> tuple[Pairs, Pairs]:
    """Return the pairs of what lies within outer outlines, and of the holes in it: a wall moves with its cavity."""
    filled = [ndimage.binary_fill_holes(mask) for mask in (first, second)]
    return _pairs(*filled), _pairs(filled[0] & ~first, filled[1] & ~second)


def _pairs(first: np.ndarray, second: np.ndarray) -> Pairs:
    """Split two masks into components that turn into each other; one without a partner comes with an empty mask.

    A component that overlaps several is divided among them by nearness.
    """
    a, count_a = ndimage.label(first, _EVERY_NEIGHBOUR)
    b, count_b = ndimage.label(second, _EVERY_NEIGHBOUR)
    touching = {(i, j) for i, j in np.unique(np.stack([a.ravel(), b.ravel()], axis=1), axis=0).tolist() if i and j}
    divided_a = _divide(a, b, {i: [j for k, j in touching if k == i] for i in range(1, count_a + 1)})
    divided_b = _divide(b, a, {j: [i for i, k in touching if k == j] for j in range(1, count_b + 1)})
    pairs = [(divided_a[i, j], divided_b[j, i]) for i, j in sorted(touching)]
    empty = np.zeros_like(first)
    pairs += [(a == i, empty) for i in range(1, count_a + 1) if all(k != i for k, _ in touching)]
    pairs += [(empty, b == j) for j in range(1, count_b + 1) if all(k != j for _, k in touching)]
    return pairs


def _divide(
    numbers: np.ndarray, others: np.ndarray, partners: dict[int, list[int]]
) -> dict[tuple[int, int], np.ndarray]:
    """Return the share of each component that goes to each of its partners in the other plane."""
    shares = {}
    for own, theirs in partners.items():
        mask = numbers == own
        if len(theirs) == 1:
            shares[own, theirs[0]] = mask
        elif theirs:
            distances = [ndimage.distance_transform_edt(others != other) for other in theirs]
            nearest = np.argmin(distances, axis=0)
            shares |= {(own, other): mask & (nearest == index) for index, other in enumerate(theirs)}
    return shares


def _depth(pairs: Pairs, share: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return how deep a pixel is in the interpolated shapes, 0 on their rim and negative outside."""
    deepest = np.full(shape, -1.0)
    for first, second in pairs:
        if first.any() and second.any():
            found, moved = _morph(first, second, share)
        else:
            found, moved = _vanish(first if first.any() else second, share if first.any() else 1 - share), (0, 0)
        rows, columns = np.nonzero(found >= 0)
        values = found[rows, columns]
        rows, columns = rows + moved[0], columns + moved[1]
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        np.maximum.at(deepest, (rows[inside], columns[inside]), values[inside])
    return deepest


def _morph(first: np.ndarray, second: np.ndarray, share: float) -> tuple[np.ndarray, tuple[int, int]]:
    """Return depths in the frame of the first shape, and how far that frame has moved."""
    centres = [np.mean(np.nonzero(mask), axis=1) for mask in (first, second)]
    way = centres[1] - centres[0]
    placed = _shifted(second, -np.round(way).astype(int))
    common = first & placed
    if not common.any():
        # Shapes that are no more than rings about their centres: meet where they are.
        placed, way, common = second, np.zeros(2), first & second
    depth = np.full(first.shape, -1.0)
    for mask, left in ((first, 1 - share), (placed, share)):
        steps = _steps(common, mask)
        most = max(1, steps.max())
        reached = (steps >= 0) & (steps <= left * most)
        depth = np.maximum(depth, np.where(reached, left - steps / most, -1.0))
    depth[common] = 1.0
    row, column = np.round(share * way).astype(int)
    return depth, (int(row), int(column))


def _steps(start: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Return the number of dilations within a mask that reach each of its pixels, −1 where none does."""
    steps = np.where(start, 0, -1)
    reached, number = start & within, 0
    while True:
        number += 1
        grown = ndimage.binary_dilation(reached, _EVERY_NEIGHBOUR, mask=within)
        new = grown & ~reached
        if not new.any():
            return steps
        steps[new] = number
        reached = grown


def _vanish(mask: np.ndarray, share: float) -> np.ndarray:
    """Return depths of a shape that has no partner, at a share of the way to the plane that lacks it."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.where(mask & (share < 0.5), inside / inside.max() - 2 * share, -1.0)


def _shifted(mask: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Move a mask by whole pixels; what leaves the plane is lost."""
    result = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    rows, columns = rows + by[0], columns + by[1]
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    result[rows[inside], columns[inside]] = True
    return result
