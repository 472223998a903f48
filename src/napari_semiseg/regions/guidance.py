"""Carry annotated planes to the others by a random walk: it knows where structures must be, not what they look like.

It is CCT-R's supervision by registration (T§6) between the slices of one volume: a source that is independent of the
errors of the network that it teaches.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from napari_semiseg.data.guide import Guide
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.regions.walker import to_unit_range, walked_slabs
from napari_semiseg.steps import completed


def make_guide(image: Tensor, labels: Tensor, classes: int, *, closed: bool = True) -> Guide | None:
    """Carry the annotated planes of a volume to the others: `guiding`, to its end."""
    return completed(guiding(image, labels, classes, closed=closed))


def guiding(
    image: Tensor, labels: Tensor, classes: int, *, closed: bool = True
) -> Generator[float, None, Guide | None]:
    """Carry the annotated planes of a volume to the others.

    Parameters
    ----------
    image : Tensor of float32, shape (planes, rows, columns)
        On the working grid.
    labels : Tensor of uint8, shape (planes, rows, columns)
        Class indices 0…C−1, 255 not said.
    classes : int
        C, background included.
    closed : bool
        Whether structures end at the outermost annotated planes, if these are completely annotated.

    Yields
    ------
    float
        Which part of the work is done, 0…1, after every piece of a walk.

    Returns
    -------
    Guide or None
        None where fewer than two planes are annotated, or no structure is.
    """
    said = labels != UNSAID
    annotated = torch.nonzero(said.flatten(1).any(dim=1))[:, 0]
    if len(annotated) < 2 or not bool((said & (labels > 0)).any()):
        return None
    unit = to_unit_range(image)
    ends = _ends(labels) if closed else (None, None)
    probabilities = torch.zeros((classes, *labels.shape), dtype=torch.uint8)
    probabilities[0] = 255
    yield 0.0
    for place, found in walked_slabs(unit, _closed(labels, ends), classes):
        probabilities[(slice(None), *place)] = _bytes(found)
        yield place[0].stop / len(labels)
    return Guide(
        probabilities=probabilities.transpose(0, 1).contiguous(),
        covers=_covered(torch.arange(len(labels)), annotated, ends) & ~said.flatten(1).all(dim=1),
        ends=ends,
    )


def _ends(labels: Tensor) -> tuple[int | None, int | None]:
    """Return the outermost annotated planes, each None unless it is completely annotated."""
    annotated = torch.nonzero((labels != UNSAID).flatten(1).any(dim=1))[:, 0]
    complete = (labels[annotated] != UNSAID).flatten(1).all(dim=1)
    return (
        int(annotated[0]) if bool(complete[0]) else None,
        int(annotated[-1]) if bool(complete[-1]) else None,
    )


def _closed(labels: Tensor, ends: tuple[int | None, int | None]) -> Tensor:
    """Return the labels with background beyond the ends."""
    closed = labels.clone()
    if ends[0] is not None:
        closed[: ends[0]] = 0
    if ends[1] is not None:
        closed[ends[1] + 1 :] = 0
    return closed


def _covered(planes: Tensor, annotated: Tensor, ends: tuple[int | None, int | None]) -> Tensor:
    between = (planes > annotated[0]) & (planes < annotated[-1])
    below = (planes < annotated[0]) & (ends[0] is not None)
    above = (planes > annotated[-1]) & (ends[1] is not None)
    return between | below | above


def _bytes(values: Tensor) -> Tensor:
    return values.mul(255).add(0.5).clamp_(0, 255).to(torch.uint8)
