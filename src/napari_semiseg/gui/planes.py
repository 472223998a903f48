"""Array-likes that napari slices lazily: one plane is read when it is shown, and single planes can be put in place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_semiseg.errors import DamagedError

KEPT = 16
"""Planes of a stored array that stay in memory."""
FEW = 4
"""So many planes are read one by one, so that those in memory are not read again."""


class PlaneStack:
    """A volume of planes over an optional stored array, with planes that were computed meanwhile on top.

    napari keeps one such object per overlay as long as its layer lives; what is shown changes by `rest_on`, `put` and
    `drop`, followed by ``layer.refresh()``. Nothing is read before a plane is asked for, so a prediction of
    300 × 512 × 512 opens at once.

    Parameters
    ----------
    shape : (planes, rows, columns)
    divisor : int, optional
        Stored integers are shown divided by it, as float32: 255 turns a stored map into 0…1.
        None shows them as they are.
    """

    def __init__(self, shape: tuple[int, int, int], *, divisor: int | None = None):
        self.shape = shape
        self.divisor = divisor
        self._base: Any = None
        self._channel: int | None = None
        self._planes: dict[int, NDArray[np.uint8]] = {}
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._keeping = Lock()
        self.on_damage: Callable[[DamagedError], object] = lambda error: None
        """Hears, once for every stored array, that it cannot be read; nothing is shown where it cannot."""
        self._damaged = False

    @property
    def dtype(self) -> np.dtype:
        """Data type of what indexing returns."""
        return np.dtype(np.uint8 if self.divisor is None else np.float32)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 3

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def rest_on(self, base: Any, channel: int | None = None) -> None:
        """Show a stored array (or nothing, for None) and forget the planes put on top.

        Parameters
        ----------
        base : array-like of uint8, shape (planes, rows, columns) or (channels, planes, rows, columns)
        channel : int, optional
            Which channel of a four-dimensional array is shown.
        """
        shape = None if base is None else tuple(base.shape)
        expected = self.shape if channel is None else (None, *self.shape)
        if shape is not None and (len(shape) != len(expected) or shape[-3:] != self.shape):
            raise ValueError(f"the stored array is {shape}, but this volume is {self.shape}")
        with self._keeping:
            self._base, self._channel = base, channel
            self._kept.clear()
        self._damaged = False
        self._planes.clear()

    def put(self, planes: Mapping[int, NDArray[np.uint8]]) -> None:
        """Put newly computed planes on top."""
        for index, plane in planes.items():
            if plane.shape != self.shape[1:]:
                raise ValueError(f"the plane is {plane.shape}, but planes of this volume are {self.shape[1:]}")
            self._planes[index] = plane

    def drop(self) -> None:
        """Forget the planes put on top."""
        self._planes.clear()

    @property
    def has_planes(self) -> bool:
        """Whether any plane was put on top."""
        return bool(self._planes)

    def __getitem__(self, key: Any) -> NDArray:
        entries = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in entries:
            at = entries.index(Ellipsis)
            entries[at : at + 1] = [slice(None)] * (3 - len(entries) + 1)
        first = entries[0] if entries else slice(None)
        rest = tuple(entries[1:])
        if isinstance(first, (int, np.integer)):
            index = int(first) + (self.shape[0] if first < 0 else 0)
            return self._shown(self._plane(index)[rest] if rest else self._plane(index))
        chosen = range(self.shape[0])[first] if isinstance(first, slice) else [int(i) for i in first]
        block = self._block(first, chosen)
        return self._shown(block[(slice(None), *rest)] if rest else block)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        return np.asarray(self[:], dtype=dtype)

    def fetch(self, index: int) -> None:
        """Read a plane that will be shown soon; may run in another thread, and leaves damage to who shows it."""
        with suppress(DamagedError):
            if 0 <= index < self.shape[0] and index not in self._planes:
                self._read(index)

    def _plane(self, index: int) -> NDArray[np.uint8]:
        if index in self._planes:
            return self._planes[index]
        return self._stored(index, self.shape[1:])

    def _read(self, index: int) -> NDArray[np.uint8]:
        """Return a stored plane; the latest are kept, since several ask for the shown one."""
        base, channel = self._base, self._channel
        if base is None:
            return np.zeros(self.shape[1:], np.uint8)
        with self._keeping:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        found = np.asarray(base[index] if channel is None else base[channel, index])
        with self._keeping:
            if base is self._base and channel == self._channel:
                self._kept[index] = found
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return found

    def _block(self, key: Any, chosen: Any) -> NDArray[np.uint8]:
        if self._base is None:
            block = np.zeros((len(chosen), *self.shape[1:]), np.uint8)
        elif isinstance(key, slice) and len(chosen) > FEW:
            block = self._stored(key, (len(chosen), *self.shape[1:])).copy()
        else:
            return np.stack([self._plane(index) for index in chosen])
        for position, index in enumerate(chosen):
            if index in self._planes:
                block[position] = self._planes[index]
        return block

    def _stored(self, key: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        try:
            if isinstance(key, int):
                return self._read(key)
            return np.asarray(self._base[key] if self._channel is None else self._base[self._channel, key])
        except DamagedError as error:
            if not self._damaged:
                self._damaged = True
                self.on_damage(error)
            return np.zeros(shape, np.uint8)

    def _shown(self, values: NDArray[np.uint8]) -> NDArray:
        if self.divisor is None:
            return np.asarray(values, dtype=np.uint8)
        return np.asarray(values, dtype=np.float32) / np.float32(self.divisor)
