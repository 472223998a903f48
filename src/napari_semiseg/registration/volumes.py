"""Registration between volumes: which pairs, and from which labelled volume each one takes labels (BRS)."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from napari_semiseg.data.point_map import PointMap
from napari_semiseg.registration.images import Image
from napari_semiseg.registration.pairs import Pair, Registrar, judged
from napari_semiseg.registration.similarity import likeness
from napari_semiseg.steps import told


@dataclass(frozen=True)
class BetweenVolumes:
    """What was found.

    Attributes
    ----------
    maps : mapping of (from, to) to PointMap
    sources : mapping of int to int
        The volume from which each one takes labels.
    pairs : list of Pair
    """

    maps: Mapping[tuple[int, int], PointMap]
    sources: Mapping[int, int]
    pairs: list[Pair]


def between_volumes(
    registrar: Registrar,
    names: Sequence[str],
    images: Sequence[Image],
    labelled: Sequence[int],
    wanting: Sequence[int],
    *,
    best: bool = True,
    direct_weight: float = 0.5,
    candidates: int = 100,
    nearest: int = 3,
) -> Generator[float, None, BetweenVolumes]:
    """Register labelled and unlabelled volumes both ways, independently, and every volume to those most like it.

    Parameters
    ----------
    registrar : Registrar
    names : sequence of str
    images : sequence of Image
    labelled, wanting : sequence of int
        Volumes with labels, volumes that want some. One may be both; it takes none from itself.
    best : bool
        Choose the source by the lowest score (BRS); else it is the first labelled one.
    direct_weight : float
        See `Quality.score`.
    candidates : int
        Labelled volumes that are tried for each, those most like it first.
    nearest : int
        Volumes to which each one is registered for registered positives, besides its sources.

    Yields
    ------
    float
        Part done; 0 while it is found out which volumes look alike.

    Raises
    ------
    Stopped
    """
    sources: dict[int, list[int]] = {}
    for j in wanting:
        others = [q for q in labelled if q != j]
        sources[j] = (yield from _most_alike(images, j, others, candidates)) if best else others[:1]
    ordered = [pair for j, chosen in sources.items() for q in chosen for pair in ((j, q), (q, j))]
    everyone = range(len(images))
    for a in everyone:
        alike = yield from _most_alike(images, a, [b for b in everyone if b != a], nearest)
        ordered += [(a, b) for b in alike]
    wanted = list(dict.fromkeys(ordered))
    maps: dict[tuple[int, int], PointMap] = {}
    for done, (a, b) in enumerate(wanted):

        def share(part: float, done: int = done) -> float:
            return (done + part) / len(wanted)

        found_map = yield from told(registrar.map(images[a], images[b]), share)
        if found_map is not None:
            maps[a, b] = found_map
    chosen: dict[int, int] = {}
    pairs: list[Pair] = []
    for j, tried in sources.items():
        yield 1.0
        qualities = {q: judged(images[j], images[q], maps.get((j, q)), maps.get((q, j))) for q in tried}
        scores = {q: found.score(direct_weight) for q, found in qualities.items() if found is not None}
        if scores:
            chosen[j] = min(scores, key=lambda q: scores[q])
        pairs += [
            Pair(names[j], names[q], None, None, found, scores.get(q), chosen.get(j) == q)
            for q, found in qualities.items()
        ]
    return BetweenVolumes(maps, chosen, pairs)


def _most_alike(
    images: Sequence[Image], index: int, others: Sequence[int], count: int
) -> Generator[float, None, list[int]]:
    """Return the ``count`` volumes that look most like one, in the order of the session where all are taken."""
    if len(others) <= count or count == 0:
        return list(others)[:count]
    alike: dict[int, float] = {}
    for other in others:
        yield 0.0  # there is a turn for whoever wants to stop after every look
        alike[other] = likeness(images[index], images[other])
    return sorted(others, key=lambda other: -alike[other])[:count]
