"""Labels carried over by registration, for a whole session of volumes (CCT-R's RSL; methods.md 6, 12-F)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from napari_semiseg.data.correspondences import Correspondences
from napari_semiseg.data.point_map import PointMap, warp_labels
from napari_semiseg.data.volumes import COMPLETE_SHARE, UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.registration.cache import Cache
from napari_semiseg.registration.images import slice_images, volume_image
from napari_semiseg.registration.pairs import Pair, Registrar
from napari_semiseg.registration.slices import BetweenSlices, between_slices, trust
from napari_semiseg.registration.volumes import BetweenVolumes, between_volumes
from napari_semiseg.steps import told

Source = Literal["volumes", "slices", "both"]
"""Where labels come from: other volumes, the nearest labelled slices of the same one, or slices before volumes."""


@dataclass(frozen=True)
class Options:
    """How to register; the fields of `napari_semiseg.methods.registered.Registered` explain them."""

    source: Source = "both"
    deformable: bool = False
    spacing: float = 2.0
    best: bool = True
    direct_weight: float = 0.5
    candidates: int = 100
    nearest: int = 3


@dataclass
class Carried:
    """What registration found, on the working grids; filled in by `carry`.

    Attributes
    ----------
    labels : list of Tensor of uint8, shape (planes, rows, columns)
        Class indices carried over to each volume, 255 where there are none.
    trust : list of Tensor of float32, same shape
        Their weight.
    correspondences : Correspondences
    pairs : list of Pair
    """

    labels: list[Tensor]
    trust: list[Tensor]
    correspondences: Correspondences
    pairs: list[Pair] = field(default_factory=list)


def carry(
    volumes: Sequence[WorkingVolume],
    sources: Sequence[TrainingVolume],
    options: Options,
    stopped: Callable[[], bool],
    cache: Cache,
) -> Generator[tuple[str, float], None, Carried]:
    """Register volumes, slices or both, and carry labels from where they are to where they are not.

    Parameters
    ----------
    volumes : sequence of WorkingVolume
        Whose labels are carried.
    sources : sequence of TrainingVolume
        The same volumes as they came, which are registered.
    options : Options
    stopped : callable
    cache : Cache

    Yields
    ------
    tuple of str and float
        What is done and the part done.

    Raises
    ------
    Stopped
    """
    job = _Job(volumes, sources, options, stopped, cache)
    alone = len(volumes) == 1
    if not alone and options.source != "slices":
        steps = job.between_volumes()
        job.take_volumes((yield from told(steps, partial(_named, "registering volumes"))))
    if alone or options.source != "volumes":
        for v, source in enumerate(sources):
            slices = job.between_slices(v)
            job.take_slices(v, (yield from told(slices, partial(_named, f"registering slices of {source.id}"))))
    return job.result()


class _Job:
    """The state of one `carry`."""

    def __init__(
        self,
        volumes: Sequence[WorkingVolume],
        sources: Sequence[TrainingVolume],
        options: Options,
        stopped: Callable[[], bool],
        cache: Cache,
    ) -> None:
        self.volumes, self.sources, self.options = volumes, sources, options
        self.registrar = Registrar(deformable=options.deformable, stopped=stopped, cache=cache)
        # Between slices B-splines would fit the anatomy that really differs.
        self.flat = Registrar(deformable=False, stopped=stopped, cache=cache)
        self.spacings = [_spacing(volume, source) for volume, source in zip(volumes, sources, strict=True)]
        self.said = [volume.said() for volume in volumes]
        self.given = [_given(volume) for volume in volumes]
        self.labels = [torch.full_like(each, UNSAID) for each in self.given]
        self.trust = [torch.ones(len(each), 1, 1) for each in self.given]
        self.maps: dict[tuple[int, int], PointMap] = {}
        self.slices: dict[tuple[int, int, int], PointMap] = {}
        self.pairs: list[Pair] = []

    def between_volumes(self) -> Generator[float, None, BetweenVolumes]:
        images = []
        for source in self.sources:
            yield 0.0
            images.append(volume_image(source, self.options.spacing))
        found = yield from between_volumes(
            self.registrar,
            [volume.id for volume in self.volumes],
            images,
            [v for v, part in enumerate(self.said) if bool((part > 0).any())],
            [v for v, part in enumerate(self.said) if bool((part < COMPLETE_SHARE).any())],
            best=self.options.best,
            direct_weight=self.options.direct_weight,
            candidates=self.options.candidates,
            nearest=self.options.nearest,
        )
        return found

    def between_slices(self, v: int) -> Generator[float, None, BetweenSlices]:
        source = self.sources[v]
        labelled = torch.nonzero(self.said[v] > 0)[:, 0].tolist()
        return between_slices(
            self.flat,
            source.id,
            slice_images(source, self.options.spacing) if labelled else [],
            labelled,
            torch.nonzero(self.said[v] < COMPLETE_SHARE)[:, 0].tolist(),
            source.spacing[0],
            direct_weight=self.options.direct_weight,
        )

    def take_volumes(self, found: BetweenVolumes) -> None:
        self.maps.update({(a, b): phi.turned(*map(self._turned, (a, b))) for (a, b), phi in found.maps.items()})
        self.pairs += found.pairs
        for j, q in found.sources.items():
            self.labels[j] = warp_labels(
                self.given[q], self.spacings[q], self.maps[j, q], self.given[j].shape, self.spacings[j]
            )

    def _turned(self, v: int) -> float | None:
        """Return how far a volume extends across its planes, mm, if it was turned over to be registered."""
        source = self.sources[v]
        return len(source.image) * source.spacing[0] if source.descending else None

    def take_slices(self, v: int, found: BetweenSlices) -> None:
        self.slices.update({(v, a, b): phi for (a, b), phi in found.maps.items()})
        self.pairs += found.pairs
        given, spacing = self.given[v], self.spacings[v]
        for j, planes in found.sources.items():
            carried = [
                warp_labels(given[q], spacing[1:], found.maps[j, q], given[q].shape, spacing[1:]) for q in planes
            ]
            self.labels[v][j] = merged(carried, [abs(q - j) for q in planes])
            self.trust[v][j] = trust(abs(planes[0] - j) * spacing[0])

    def result(self) -> Carried:
        shapes = [(len(each), each.shape[1], each.shape[2]) for each in self.labels]
        return Carried(
            self.labels,
            # One number per plane: a whole map of them would take four times the memory of the labels.
            [trust.expand(shape) for trust, shape in zip(self.trust, shapes, strict=True)],
            Correspondences(shapes, self.spacings, self.maps, self.slices),
            self.pairs,
        )


def merged(carried: Sequence[Tensor], distances: Sequence[int]) -> Tensor:
    """Merge labels of one plane from up to two sides.

    The nearer side speaks, the other one where it says nothing; where both are as near and differ, nobody does (255).
    """
    first, *others = carried
    result = first
    for other, distance in zip(others, distances[1:], strict=True):
        differ = (first != other) & (first != UNSAID) & (other != UNSAID)
        result = torch.where(first == UNSAID, other, first)
        if distance == distances[0]:
            result = torch.where(differ, UNSAID, result)
    return result.to(first.dtype)


def _named(task: str, part: float) -> tuple[str, float]:
    return task, part


def _spacing(volume: WorkingVolume, source: TrainingVolume) -> tuple[float, float, float]:
    """Return the exact voxel size of a volume on the working grid, mm: rows and columns are whole numbers there."""
    rows, columns = (
        n * s / m for n, s, m in zip(source.image.shape[1:], source.spacing[1:], volume.image.shape[1:], strict=True)
    )
    return volume.plane_spacing, rows, columns


def _given(volume: WorkingVolume) -> Tensor:
    """Return what can be carried over: where some classes were not looked for, 0 says nothing for certain."""
    if not volume.unsought:
        return volume.labels
    return torch.where(volume.labels == 0, UNSAID, volume.labels).to(volume.labels.dtype)
