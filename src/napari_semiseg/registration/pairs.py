"""Registering pairs of images there and back, once each, and judging them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from napari_semiseg.data.point_map import PointMap
from napari_semiseg.registration.cache import Cache
from napari_semiseg.registration.estimate import estimate
from napari_semiseg.registration.images import Image
from napari_semiseg.registration.similarity import Quality, quality


@dataclass(frozen=True)
class Pair:
    """A pair of volumes or slices, as people are told of it.

    Attributes
    ----------
    to, source : str
        Ids of the volume that receives labels and of the one they come from.
    to_plane, source_plane : int or None
        Planes, where slices of one volume were registered.
    quality : Quality or None
        None where the images could not be registered.
    score : float or None
        Lowest is best.
    used : bool
        Whether labels come this way.
    """

    to: str
    source: str
    to_plane: int | None
    source_plane: int | None
    quality: Quality | None
    score: float | None
    used: bool


class Registrar:
    """Registers images, or finds out that this was done before.

    Parameters
    ----------
    deformable : bool
        Affine and B-splines instead of affine only.
    stopped : callable
    cache : Cache
    """

    def __init__(self, *, deformable: bool, stopped: Callable[[], bool], cache: Cache) -> None:
        self.deformable, self.stopped, self.cache = deformable, stopped, cache

    def map(self, fixed: Image, moving: Image) -> Generator[float, None, PointMap | None]:
        """Return φ_{fixed→moving}, None where there is none; yields the part done.

        Raises
        ------
        Stopped
        """
        path = self.cache.path(fixed, moving, deformable=self.deformable)
        known = self.cache.load(path)
        if known is not None and known.axes == fixed.values.ndim:
            yield 1.0
            return known
        found = yield from estimate(fixed, moving, deformable=self.deformable, stopped=self.stopped)
        if found is not None:
            self.cache.store(path, found)
        return found


def judged(fixed: Image, moving: Image, forth: PointMap | None, back: PointMap | None) -> Quality | None:
    """Return the quality of both maps, None if one is missing."""
    return None if forth is None or back is None else quality(fixed, moving, forth, back)
