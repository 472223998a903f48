"""Registration between the slices of one volume (methods.md 12-F)."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from napari_semiseg.data.point_map import PointMap
from napari_semiseg.registration.images import Image
from napari_semiseg.registration.pairs import Pair, Registrar, judged
from napari_semiseg.steps import completed

_REACH_PLANES = 3
_REACH_MM = 10.0
_DECAY_MM = 5.0


@dataclass(frozen=True)
class BetweenSlices:
    """What was found.

    Attributes
    ----------
    maps : mapping of (from plane, to plane) to PointMap
    sources : mapping of int to tuple of int
        The labelled planes from which each one takes labels, the nearer one first.
    pairs : list of Pair
    """

    maps: Mapping[tuple[int, int], PointMap]
    sources: Mapping[int, tuple[int, ...]]
    pairs: list[Pair]


def neighbours(plane: int, labelled: Sequence[int], spacing: float) -> tuple[int, ...]:
    """Return the nearest labelled planes on either side within 3 planes or 10 mm, the nearer one first."""
    below = max((q for q in labelled if q < plane), default=None)
    above = min((q for q in labelled if q > plane), default=None)
    found = [q for q in (below, above) if q is not None]
    near = [q for q in found if abs(q - plane) <= _REACH_PLANES or abs(q - plane) * spacing <= _REACH_MM]
    return tuple(sorted(near, key=lambda q: abs(q - plane)))


def trust(distance: float) -> float:
    """exp(−(Δz/5 mm)²): the weight of labels from a slice ``distance`` mm away."""
    return math.exp(-((distance / _DECAY_MM) ** 2))


def between_slices(
    registrar: Registrar,
    name: str,
    images: Sequence[Image],
    labelled: Sequence[int],
    wanting: Sequence[int],
    spacing: float,
    *,
    direct_weight: float = 0.5,
) -> Generator[float, None, BetweenSlices]:
    """Register the planes of a volume that want labels with the nearest labelled ones, in-plane and both ways.

    Parameters
    ----------
    registrar : Registrar
    name : str
    images : sequence of Image
        One per plane.
    labelled, wanting : sequence of int
        Planes.
    spacing : float
        Distance of planes, mm.
    direct_weight : float
        See `Quality.score`.

    Yields
    ------
    float
        Part done.

    Raises
    ------
    Stopped
    """
    wanted = [(j, q) for j in wanting for q in neighbours(j, [p for p in labelled if p != j], spacing)]
    maps: dict[tuple[int, int], PointMap] = {}
    sources: dict[int, tuple[int, ...]] = {}
    pairs: list[Pair] = []
    for done, (j, q) in enumerate(wanted):
        for a, b in ((j, q), (q, j)):
            # Registering slices takes too little time to tell of.
            if (a, b) not in maps and (found := completed(registrar.map(images[a], images[b]))) is not None:
                maps[a, b] = found
        found_quality = judged(images[j], images[q], maps.get((j, q)), maps.get((q, j)))
        if found_quality is not None:
            sources[j] = (*sources.get(j, ()), q)
        score = None if found_quality is None else found_quality.score(direct_weight)
        pairs.append(Pair(name, name, j, q, found_quality, score, found_quality is not None))
        yield (done + 1) / len(wanted)
    return BetweenSlices(maps, sources, pairs)
