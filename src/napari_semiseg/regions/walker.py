"""A random walker on the voxel grid, without a matrix: fast enough to run before every training.

Grady 2006 (doi:10.1109/TPAMI.2006.233): the probability that a walk from a voxel first meets a seed of class c is
harmonic, the solution of a sparse linear system. Here conjugate gradients solve it for all classes at once with tensor
operations. Planes that are labelled completely cut the volume into slabs that do not know of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

UNSAID = 255
_BETA_PER_PLANE = 70.0  # of the distance between annotated planes
_LEAST_BETA, _MOST_BETA = 130.0, 2000.0
_MARGIN = 12  # pixels around the labelled structures that take part
_VALUES = 2_500_000  # voxels × classes of a slab that are solved for at once; larger slabs are solved more coarsely
_STEPS = 150
_COARSEST = 16  # rows or columns
_TOLERANCE = 5e-3
_WEAKEST = 1e-6  # no voxel is cut off from all others


def random_walk(image: Tensor, labels: Tensor, classes: int, *, beta: float | None = None) -> Tensor:
    """Return the probability of every class between the outermost annotated planes.

    Parameters
    ----------
    image : Tensor of float32, shape (planes, rows, columns)
        Intensities, clipped to 0…1.
    labels : Tensor of uint8, shape (planes, rows, columns)
        Class indices 0…C−1, 255 not said.
    classes : int
        C, background included.
    beta : float, optional
        Penalty of intensity differences; a step costs exp(−β·g²/10σ), σ the standard deviation of the image. By default
        the higher the farther annotated planes are from each other.

    Returns
    -------
    Tensor of float32, shape (C, planes, rows, columns)
        Sums to 1; background outside a box of 12 pixels around the structures and beyond the outermost annotated
        planes.
    """
    result = torch.zeros((classes, *labels.shape))
    result[0] = 1
    for place, found in walked_slabs(image, labels, classes, beta=beta):
        result[(slice(None), *place)] = found
    return result


def walked_slabs(
    image: Tensor, labels: Tensor, classes: int, *, beta: float | None = None
) -> Iterator[tuple[tuple[slice, slice, slice], Tensor]]:
    """Yield where `random_walk` is not simply background, slab by slab, and the probabilities there.

    Neighbouring slabs share the completely labelled plane between them.

    Yields
    ------
    place : tuple of 3 slices
        Planes, rows, columns.
    probabilities : Tensor of float32, shape (C, planes, rows, columns) of the slab
    """
    box = _box(labels)
    if box is None:
        return
    annotated = torch.nonzero((labels != UNSAID).flatten(1).any(dim=1))[:, 0].tolist()
    for below, above in _slabs(labels, annotated[0], annotated[-1]):
        place = (slice(below, above + 1), *box)
        yield place, _solve(image[place], labels[place], classes, beta or _penalty(labels[place]))


def _penalty(labels: Tensor) -> float:
    """Return β for a slab: across wide gaps a walk that pays little for edges shrinks what it carries."""
    annotated = int((labels != UNSAID).flatten(1).any(dim=1).sum())
    gap = (len(labels) - 1) / max(1, annotated - 1)
    return min(max(_BETA_PER_PLANE * gap, _LEAST_BETA), _MOST_BETA)


def _box(labels: Tensor) -> tuple[slice, slice] | None:
    """Return the rows and columns of all labelled structures with a margin, or None where there are none."""
    seen = ((labels != UNSAID) & (labels > 0)).any(dim=0)
    if not bool(seen.any()):
        return None
    spans = []
    for axis, size in enumerate(seen.shape):
        found = torch.nonzero(seen.any(dim=1 - axis))[:, 0]
        spans.append(slice(max(0, int(found[0]) - _MARGIN), min(size, int(found[-1]) + 1 + _MARGIN)))
    return spans[0], spans[1]


def _slabs(labels: Tensor, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of planes between which nothing is cut: complete planes, and the outermost annotated ones."""
    complete = torch.nonzero((labels != UNSAID).flatten(1).all(dim=1))[:, 0].tolist()
    cuts = sorted({first, last, *(p for p in complete if first <= p <= last)})
    yield from pairwise(cuts) if len(cuts) > 1 else [(first, first)]


def _solve(image: Tensor, labels: Tensor, classes: int, beta: float) -> Tensor:
    """Solve one slab, on a coarser in-plane grid if it is large; shape (C, planes, rows, columns)."""
    if bool((labels != UNSAID).all()):
        return _first_guess(labels, classes)
    factor = (labels.numel() * classes / _VALUES) ** 0.5
    if factor <= 1:
        return _harmonic(image, labels, classes, beta)
    return _on_coarser_grid(image, labels, classes, beta, factor)


def _on_coarser_grid(
    image: Tensor, labels: Tensor, classes: int, beta: float, factor: float, pixel: float = 1.0
) -> Tensor:
    """Solve with pixels that are ``factor`` times as large, and return to the grid; what is said is kept."""
    shape = (labels.shape[1], labels.shape[2])
    coarse = (max(8, round(shape[0] / factor)), max(8, round(shape[1] / factor)))
    small = functional.interpolate(image[None], size=coarse, mode="bilinear", antialias=True)[0]
    seeds = functional.interpolate(labels[None], size=coarse, mode="nearest-exact")[0]
    found = _harmonic(small, seeds, classes, beta, factor * pixel)
    found = functional.interpolate(found, size=shape, mode="bilinear", align_corners=False)
    said = labels != UNSAID
    found[:, said] = functional.one_hot(labels[said].long(), classes).T.to(found.dtype)
    return found


def _harmonic(image: Tensor, labels: Tensor, classes: int, beta: float, pixel: float = 1.0) -> Tensor:
    """Preconditioned conjugate gradients for all classes, from the solution with pixels twice as large.

    Conjugate gradients carry a label one plane further per step, but few steps mend the details of a coarse solution.
    """
    known = labels != UNSAID
    free = (~known).to(torch.float32)
    weights = _weights(image, beta, pixel)
    diagonal = torch.zeros(labels.shape)
    for axis, weight in enumerate(weights):
        _ends(diagonal, axis, 0).add_(weight)
        _ends(diagonal, axis, 1).add_(weight)
    diagonal.clamp_(min=_WEAKEST)

    def laplacian(values: Tensor) -> Tensor:
        out = diagonal * values
        for axis, weight in enumerate(weights, start=1):
            _ends(out, axis, 0).sub_(weight * _ends(values, axis, 1))
            _ends(out, axis, 1).sub_(weight * _ends(values, axis, 0))
        return out

    if min(labels.shape[1:]) < 2 * _COARSEST:
        found = _first_guess(labels, classes)
    else:
        found = _on_coarser_grid(image, labels, classes, beta, 2.0, pixel)
    residual = laplacian(found).neg_().mul_(free)
    scaled = residual / diagonal
    direction = scaled.clone()
    power = (residual * scaled).sum(dim=(1, 2, 3), keepdim=True)
    for _ in range(_STEPS):
        if float(scaled.abs().max()) < _TOLERANCE:
            break
        along = laplacian(direction).mul_(free)
        step = power / (direction * along).sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-20)
        found += step * direction
        residual -= step * along
        scaled = residual / diagonal
        now = (residual * scaled).sum(dim=(1, 2, 3), keepdim=True)
        direction = scaled + now / power.clamp(min=1e-20) * direction
        power = now
    found.clamp_(0, 1)
    return found / found.sum(dim=0, keepdim=True).clamp(min=1e-9)


def _weights(image: Tensor, beta: float, pixel: float) -> list[Tensor]:
    """Return the ease of a step along each axis.

    A step from plane to plane counts like one within a plane; where pixels are larger, a walk crosses them more slowly.
    """
    scale = beta / (10 * max(float(image.std()), 1e-6))
    ease = [torch.exp(-scale * image.diff(dim=axis).square()) + _WEAKEST for axis in range(3)]
    return [ease[0], ease[1] / pixel**2, ease[2] / pixel**2]


def _ends(values: Tensor, axis: int, start: int) -> Tensor:
    """Return all but the last (start 0) or all but the first (start 1) entries of an axis."""
    return values.narrow(axis, start, values.shape[axis] - 1)


def _first_guess(labels: Tensor, classes: int) -> Tensor:
    """Return one-hot classes where said, elsewhere those of the nearest annotated plane, or background."""
    said = labels != UNSAID
    annotated = torch.nonzero(said.flatten(1).any(dim=1))[:, 0]
    nearest = annotated[(torch.arange(len(labels))[:, None] - annotated[None]).abs().argmin(dim=1)]
    guess = torch.where(said, labels, labels[nearest])
    guess = torch.where(guess == UNSAID, torch.zeros_like(guess), guess)
    return functional.one_hot(guess.long(), classes).movedim(-1, 0).to(torch.float32).contiguous()


def to_unit_range(image: np.ndarray | Tensor) -> Tensor:
    """Map the 1st and 99th percentile of an image to 0 and 1 and clip, float32; a constant image is 0."""
    values = torch.as_tensor(np.asarray(image, dtype=np.float32))
    sample = values.flatten()[:: max(1, values.numel() // 1_000_000)]
    low, high = (float(torch.quantile(sample, q)) for q in (0.01, 0.99))
    if high <= low:
        return torch.zeros_like(values)
    return ((values - low) / (high - low)).clamp_(0, 1)
