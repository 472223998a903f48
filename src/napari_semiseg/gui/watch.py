"""Which planes of an annotation were edited: found by comparing, since undo and redo announce nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class PlaneWatch:
    """Compares an array with what was last seen of it, plane by plane.

    Parameters
    ----------
    live : ndarray of uint8, shape (planes, rows, columns)
        The array that is edited in place.

    Notes
    -----
    napari's ``paint`` event tells most edits, but neither undo, redo nor a script that writes into ``layer.data``.
    A comparison of a plane of 512 × 512 takes some 10 µs, so a sweep over all planes is spread over several calls.
    """

    def __init__(self, live: NDArray[np.uint8]):
        self.live = live
        self.seen = live.copy()
        self._next = 0

    def changed(self, planes: Iterable[int]) -> dict[int, NDArray[np.uint8]]:
        """Return copies of those of the planes that differ from what was seen, and remember them as seen."""
        found = {}
        for plane in planes:
            if not np.array_equal(self.live[plane], self.seen[plane]):
                self.seen[plane] = self.live[plane]
                found[plane] = self.seen[plane].copy()
        return found

    def sweep(self, count: int) -> dict[int, NDArray[np.uint8]]:
        """Look at the next ``count`` planes in turn; after ``planes / count`` calls all were looked at."""
        total = len(self.live)
        planes = [(self._next + step) % total for step in range(min(count, total))]
        self._next = (self._next + len(planes)) % total
        return self.changed(planes)

    def all(self) -> dict[int, NDArray[np.uint8]]:
        """Look at every plane."""
        return self.changed(range(len(self.live)))
