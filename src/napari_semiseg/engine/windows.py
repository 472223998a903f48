"""Predicting a volume by windows that slide over it; where they overlap, their probabilities are averaged.

MONAI's `sliding_window_inference` computes the same (the tests compare the two), but keeps the sums of the whole volume
and returns at its end: here planes are handed out as soon as the last window has passed them, which bounds the memory,
and the caller gets a turn after every window, so that a stop does not wait for the volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slab:
    """Probabilities of finished planes.

    Attributes
    ----------
    first : int
        Plane of the volume that the first one is.
    probabilities : list of Tensor, shape (planes, C, rows, columns)
        One for each network.
    """

    first: int
    probabilities: list[Tensor]


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along an axis: evenly spread, as few as cover it and overlap by at least ``overlap``.

    Parameters
    ----------
    size, window : int
        Voxels; a window as long as the axis or longer begins at 0.
    overlap : float
        Part of a window, 0 up to but not including 1.
    """
    if size <= window:
        return [0]
    step = max(1, math.floor(window * (1 - overlap)))
    gaps = math.ceil((size - window) / step)
    return [round(i * (size - window) / gaps) for i in range(gaps + 1)]


def count_windows(size: Sequence[int], window: Sequence[int], overlap: float) -> int:
    """Return how many windows `slide` looks at."""
    return math.prod(len(window_starts(s, w, overlap)) for s, w in zip(size, window, strict=True))


def slide(
    predict: Callable[[Tensor], list[Tensor]], image: Tensor, window: Sequence[int], overlap: float
) -> Iterator[Slab | None]:
    """Predict a volume by overlapping windows.

    Parameters
    ----------
    predict : callable
        From patches (1, 1, planes, rows, columns) to the probabilities of each network (1, C, planes, rows, columns).
    image : Tensor, shape (planes, rows, columns)
    window : sequence of 3 ints
    overlap : float

    Yields
    ------
    Slab or None
        None after every window; a slab as soon as no further window sees its planes, without gaps from the first plane
        to the last.
    """
    size = tuple(image.shape)
    starts = [window_starts(s, w, overlap) for s, w in zip(size, window, strict=True)]
    depth = min(size[0], window[0])
    sums: list[Tensor] = []
    hits = torch.zeros(0)
    for first, following in pairwise([*starts[0], size[0]]):
        for row in starts[1]:
            for column in starts[2]:
                part = (slice(row, row + window[1]), slice(column, column + window[2]))
                found = predict(image[first : first + depth, part[0], part[1]][None, None])
                if not sums:
                    sums = [f.new_zeros((depth, f.shape[1], *size[1:])) for f in found]
                    hits = found[0].new_zeros((depth, 1, *size[1:]))
                for total, values in zip(sums, found, strict=True):
                    total[..., part[0], part[1]] += values[0].transpose(0, 1)
                hits[..., part[0], part[1]] += 1
                yield None
        done = following - first
        yield Slab(first, [total[:done] / hits[:done] for total in sums])
        sums = [_moved(total, done) for total in sums]
        hits = _moved(hits, done)


def _moved(total: Tensor, planes: int) -> Tensor:
    """Drop planes at the front and put empty ones at the end."""
    return torch.cat([total[planes:], torch.zeros_like(total[:planes])])
