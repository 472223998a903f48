"""Overlays that are computed for the shown slice: off the UI thread, cached, late answers dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_semiseg.gui.background import Lane

Plane = NDArray[np.uint8]
R = TypeVar("R")


@dataclass(frozen=True)
class SuperpixelSettings:
    """Settings of Felzenszwalb's superpixels.

    Attributes
    ----------
    scale : float
        Larger values give larger superpixels.
    sigma : float
        Width of the smoothing before, pixels.
    min_size : int
        Smallest superpixel, pixels.
    """

    scale: float = 100.0
    sigma: float = 0.8
    min_size: int = 20


@dataclass(frozen=True)
class BoundarySettings:
    """Settings of the boundary regions.

    Attributes
    ----------
    radius : int
        Width of the edge band, pixels.
    of : str
        ``"annotation"`` or ``"prediction"``.
    """

    radius: int = 3
    of: str = "prediction"


@dataclass(frozen=True)
class Superpixels:
    """The superpixels of a slice.

    Attributes
    ----------
    numbers : ndarray of int32, shape (rows, columns)
    outlines : ndarray of uint8, same shape
        1 on an outline.
    """

    numbers: NDArray[np.int32]
    outlines: Plane


def superpixels_of(plane: NDArray, settings: SuperpixelSettings) -> Superpixels:
    """Return the superpixels of a slice."""
    from napari_semiseg.regions.superpixels import contours, felzenszwalb_plane

    numbers = felzenszwalb_plane(plane, scale=settings.scale, sigma=settings.sigma, min_size=settings.min_size)
    return Superpixels(numbers, contours(numbers))


def boundary_plane(labels: Plane, class_id: int, settings: BoundarySettings) -> Plane:
    """Return edge (1) and interior (2) of a class in a slice."""
    from napari_semiseg.regions.boundary import boundary_regions

    return np.asarray(boundary_regions(labels, class_id, radius=settings.radius)).astype(np.uint8)


class PlaneComputer(Generic[R]):
    """Computes one plane at a time and remembers the latest results.

    Parameters
    ----------
    lane : Lane
        Where it is computed.
    deliver : callable
        Gets (plane, result) on the UI thread, if nothing newer was asked for meanwhile.
    busy : callable
        Gets True when a computation begins and False when the wanted one has arrived.
    cached : int
        How many results are kept.
    """

    def __init__(
        self,
        lane: Lane,
        deliver: Callable[[int, R], None],
        busy: Callable[[bool], None] = lambda _: None,
        *,
        cached: int = 32,
    ):
        self._lane = lane
        self._deliver = deliver
        self._busy = busy
        self._cached = cached
        self._results: OrderedDict[Hashable, R] = OrderedDict()
        self._underway: set[Hashable] = set()
        self._wanted: Hashable | None = None
        self._epoch = 0
        self.computed = 0
        """How many planes were really computed."""

    def want(self, plane: int, key: Hashable, work: Callable[[], R]) -> None:
        """Deliver the plane from the cache or have it computed, once however often it is asked for meanwhile.

        Parameters
        ----------
        plane : int
        key : hashable
            All that the result depends on.
        work : callable
            Computes it; runs on the lane, unless something else was asked for before its turn came.
        """
        wanted = self._epoch, key
        self._wanted = wanted
        if wanted in self._results:
            self._results.move_to_end(wanted)
            self._busy(False)
            self._deliver(plane, self._results[wanted])
            return
        self._busy(True)
        if wanted in self._underway:
            return

        def unless_late() -> R | None:
            return work() if self._wanted == wanted else None

        def arrived(values: R | None) -> None:
            self._underway.discard(wanted)
            if values is None:
                if self._wanted == wanted:  # Asked for again after its turn had passed.
                    self.want(plane, key, work)
                return
            self.computed += 1
            if wanted[0] == self._epoch:
                self._keep(wanted, values)
            if self._wanted == wanted:
                self._busy(False)
                self._deliver(plane, values)

        def failed(error: BaseException) -> None:
            self._underway.discard(wanted)
            if self._wanted == wanted:
                self._busy(False)
            self._lane.failed(error)

        self._underway.add(wanted)
        self._lane.run(unless_late, arrived, failed)

    def _keep(self, key: Hashable, values: R) -> None:
        self._results[key] = values
        while len(self._results) > self._cached:
            self._results.popitem(last=False)

    def drop(self) -> None:
        """Drop answers that are still to come."""
        self._wanted = None
        self._busy(False)

    def forget(self) -> None:
        """Drop the cache, too: another volume is shown, of which the same keys mean something else."""
        self.drop()
        self._epoch += 1
        self._results.clear()
