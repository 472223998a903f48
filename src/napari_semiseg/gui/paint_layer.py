"""The Labels layer that an annotator paints on: it keeps locked classes, and strokes within a range of intensities.

napari has no hook between a tool and the voxels. Its tools all go through four public methods; each is let do its
work, what it must not have changed is put back at once, and both make one undo step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal


@dataclass(frozen=True)
class PlaneEdit:
    """How a plane changes, within the smallest box around what does.

    Attributes
    ----------
    region : tuple of int, slice, slice
        Index of the box in the volume.
    before, after : ndarray of uint8, shape (rows, columns) of the box
    count : int
        How many voxels change.
    """

    region: tuple[int, slice, slice]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    count: int

    @classmethod
    def of(cls, plane: int, before: NDArray[np.uint8], wanted: NDArray[np.uint8], locked: Collection[int]) -> PlaneEdit:
        """Compare a plane with what it shall be, voxels of locked classes excepted; no layer is needed for that.

        Parameters
        ----------
        plane : int
        before, wanted : ndarray of uint8, shape (rows, columns)
        locked : collection of int
            Values that stay.
        """
        after = np.where(np.isin(before, list(locked)), before, wanted) if locked else wanted
        changed = before != after
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows.size else (slice(0), slice(0))
        return cls((plane, *box), before[box].copy(), after[box].copy(), int(np.count_nonzero(changed)))


class PaintLayer(Labels):
    """A Labels layer of uint8 with three axes.

    Attributes
    ----------
    image : array-like, shape (planes, rows, columns), or None
        Intensities under the labels.
    window : tuple of 2 floats or None
        Brush, fill, polygon and superpixels paint only voxels of ``image`` within it; erasing is free.

    Signals
    -------
    refused(str)
        Something was not done, and why.
    """

    refused = Signal(str)

    def __init__(self, data: NDArray[np.uint8], **attributes: Any):
        self._protected = np.zeros(256, bool)
        self._in_step = False
        self.image: Any = None
        self.window: tuple[float, float] | None = None
        super().__init__(data, **attributes)

    @property
    def _type_string(self) -> str:
        """What napari calls this kind of layer in files and menus."""
        return "labels"

    @property
    def protected(self) -> list[int]:
        """Values that nothing overwrites or erases."""
        return np.flatnonzero(self._protected).tolist()

    def protect(self, values: Collection[int]) -> None:
        """Lock these values, and no others."""
        self._protected[:] = False
        self._protected[list(values)] = True

    def count_locked(self, plane: int, values: NDArray[np.uint8]) -> int:
        """Return how many voxels of a plane have other values here and are locked, so that they would stay.

        Parameters
        ----------
        plane : int
        values : ndarray of uint8, shape (rows, columns)
        """
        now = self._data[plane]
        return int(np.count_nonzero(self._protected[now] & (now != values)))

    @property
    def data(self) -> NDArray[np.uint8]:
        """The voxels. Setting them writes into the array: the undo history belongs to it, and must not outlive it."""
        return self._data

    @data.setter
    def data(self, values: ArrayLike) -> None:
        wanted = np.asarray(values)
        if wanted.shape != self._data.shape:
            raise ValueError(f"the labels are {wanted.shape}, but this annotation is {self._data.shape}")
        where = np.nonzero(self._data != wanted)
        if where[0].size:
            self.data_setitem(where, wanted[where].astype(np.uint8))

    @contextmanager
    def block_history(self) -> Iterator[None]:
        """Make one undo step of what is done within; may be nested."""
        if self._in_step:
            yield
            return
        self._in_step = True
        try:
            with super().block_history():
                yield
        finally:
            self._in_step = False

    def paint(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        """Paint with the brush."""
        with self._stroke(coord, refresh):
            super().paint(coord, new_label, refresh=False)

    def fill(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        """Fill a region; one of a locked class stays."""
        place = tuple(int(np.round(c)) for c in coord)
        if all(0 <= c < n for c, n in zip(place, self._data.shape, strict=True)) and self._protected[self._data[place]]:
            self.refused.emit("This class is locked; unlock it in the class table to fill here.")
            return
        with self._stroke(coord, refresh):
            super().fill(coord, new_label, refresh=False)

    def paint_polygon(self, points: list | NDArray, new_label: int) -> None:
        """Paint a polygon."""
        if len(points):
            with self._stroke(points[0], refresh=True):
                super().paint_polygon(points, new_label)

    def paint_region(self, plane: int, mask: NDArray[np.bool_], new_label: int) -> None:
        """Paint a region of a plane as with the brush.

        Parameters
        ----------
        plane : int
        mask : ndarray of bool, shape (rows, columns)
        new_label : int
            0 erases.
        """
        if self.window is not None and new_label != 0:
            mask = mask & ~self._outside((plane, slice(None), slice(None)))
        rows, columns = np.nonzero(mask)
        if rows.size:
            self.data_setitem((np.full(rows.size, plane), rows, columns), new_label)

    def data_setitem(self, indices: tuple, value: Any, refresh: bool = True) -> None:
        """Write voxels as an undo step, except those of locked classes."""
        if self._protected.any():
            free = ~self._protected[self._data[indices]]
            indices = tuple(np.asarray(index)[free] for index in indices)
            value = np.asarray(value)[free] if np.ndim(value) else value
        if len(indices[0]):
            super().data_setitem(indices, value, refresh=refresh)

    def write(self, edits: Iterable[PlaneEdit]) -> None:
        """Write planes as one undo step: boxes, which cost a hundredth of the time and memory of lists of voxels."""
        with self.block_history():
            for edit in edits:
                if edit.count:
                    self._data[edit.region] = edit.after
                    self._save_history((edit.region, edit.before, edit.after))
        self.refresh()

    def undo(self) -> None:
        """Take the last step back, unless a class was locked since then that would lose voxels."""
        self._travel(super().undo, super().redo, "undo")

    def redo(self) -> None:
        """Repeat the step that was taken back, unless a locked class would lose voxels."""
        self._travel(super().redo, super().undo, "redo")

    def forget_history(self) -> None:
        """Make what was done so far final: undo and redo would bring voxels back that must not come back."""
        self._reset_history()

    def _travel(self, go: Callable[[], None], back: Callable[[], None], name: str) -> None:
        if not self.editable:
            return
        if not self._protected.any():
            go()
            return
        before = self._data.copy()
        go()
        if self._protected[before[before != self._data]].any():
            back()
            self.refused.emit(f"This step changed a class that is locked now; unlock it to {name} the step.")

    @contextmanager
    def _stroke(self, coord: Sequence[float], refresh: bool) -> Iterator[None]:
        """Put back what a tool of napari must not change."""
        guarded = self.window is not None or bool(self._protected.any())
        with self.block_history():
            if guarded:
                painted = self._get_dims_to_paint()
                region = tuple(slice(None) if axis in painted else int(np.round(c)) for axis, c in enumerate(coord))
                before = self._data[region].copy()
            yield
            if guarded:
                self._put_back(region, before)
        if refresh:
            self._partial_labels_refresh()

    def _put_back(self, region: tuple, before: NDArray[np.uint8]) -> None:
        after = self._data[region]
        changed = before != after
        wrong = changed & self._protected[before]
        if self.window is not None:
            wrong |= changed & (after != 0) & self._outside(region)
        if wrong.any():
            found = iter(np.nonzero(wrong))
            size = int(wrong.sum())
            indices = tuple(next(found) if isinstance(part, slice) else np.full(size, part) for part in region)
            super().data_setitem(indices, before[wrong], refresh=False)

    def _outside(self, region: tuple) -> NDArray[np.bool_]:
        """Return where the intensity is outside the window, in a region of the image."""
        assert self.window is not None
        values, (low, high) = np.asarray(self.image[region]), self.window
        return ~((values >= low) & (values <= high))
