"""Volumes as the networks see them: one in-plane spacing, one intensity scale, tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_semiseg.data.guide import Guide
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.volumes import UNSAID, TrainingVolume


@dataclass(frozen=True)
class WorkingGrid:
    """The in-plane grid on which networks work; planes are never resampled across each other.

    Attributes
    ----------
    spacing : float
        Pixel size in mm, rows and columns alike.
    plane_spacing : float or None
        Median distance of planes in mm, by which networks of volumes choose their strides. None: not known.
    planes : int or None
        Planes of the deepest volume; patches need not be deeper.
    """

    spacing: float
    plane_spacing: float | None = None
    planes: int | None = None

    @classmethod
    def of(cls, volumes: Sequence[TrainingVolume], longest_side: int) -> WorkingGrid:
        """Take the median spacings; in-plane coarsened until no plane is longer than ``longest_side`` pixels."""
        median = float(np.median([s for volume in volumes for s in volume.spacing[1:]]))
        extents = [max(v.image.shape[1] * v.spacing[1], v.image.shape[2] * v.spacing[2]) for v in volumes]
        return cls(
            spacing=max(median, max(extents) / longest_side),
            plane_spacing=float(np.median([volume.spacing[0] for volume in volumes])),
            planes=max(len(volume.image) for volume in volumes),
        )

    def shape(self, plane_shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
        """Return rows and columns of a plane of given shape and spacing (mm) on this grid."""
        rows, columns = (
            max(1, math.floor(n * s / self.spacing + 0.5)) for n, s in zip(plane_shape, spacing, strict=True)
        )
        return rows, columns


def resample_image(planes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample planes linearly, with a low-pass filter where they shrink.

    Parameters
    ----------
    planes : Tensor, shape (planes, rows, columns)
    shape : tuple of 2 ints
    """
    if tuple(planes.shape[1:]) == tuple(shape):
        return planes
    return functional.interpolate(planes[None], size=shape, mode="bilinear", antialias=True, align_corners=False)[0]


def resample_labels(planes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample label planes (uint8, 255 not said) by the nearest pixel.

    Parameters
    ----------
    planes : Tensor of uint8, shape (planes, rows, columns)
    shape : tuple of 2 ints
    """
    if tuple(planes.shape[1:]) == tuple(shape):
        return planes
    return functional.interpolate(planes[None], size=shape, mode="nearest-exact")[0]


@dataclass(frozen=True)
class WorkingVolume:
    """One volume on the working grid.

    Attributes
    ----------
    id : str
    image : Tensor of float32, shape (planes, rows, columns)
        Normalised.
    labels : Tensor of uint8, shape (planes, rows, columns)
        Class indices, 255 not said.
    plane_spacing : float
        Distance of planes in mm.
    corrected : frozenset of int
    extras : mapping of str to Tensor, shape (planes, rows, columns)
        Further maps that a method prepared: integer ones are sampled like labels, floating ones like images.
    guide : Guide or None
        What the annotated planes say about the others.
    unsought : frozenset of int
        Class indices that nobody looked for: label 0 means background or one of these.
    """

    id: str
    image: Tensor
    labels: Tensor
    plane_spacing: float
    corrected: frozenset[int]
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    guide: Guide | None = None
    unsought: frozenset[int] = field(default_factory=frozenset)

    def said(self) -> Tensor:
        """Return per plane the part of pixels that is labelled, shape (planes,)."""
        return (self.labels != UNSAID).float().mean(dim=(1, 2))


def to_working(volumes: Iterable[TrainingVolume], grid: WorkingGrid, rule: IntensityRule) -> list[WorkingVolume]:
    """Bring volumes to the working grid and intensity scale."""
    return [_to_working(volume, grid, rule) for volume in volumes]


def _to_working(volume: TrainingVolume, grid: WorkingGrid, rule: IntensityRule) -> WorkingVolume:
    shape = grid.shape(volume.image.shape[1:], volume.spacing[1:])
    return WorkingVolume(
        id=volume.id,
        image=resample_image(torch.from_numpy(rule.apply(volume.image)), shape).contiguous(),
        labels=resample_labels(torch.from_numpy(np.ascontiguousarray(volume.labels)), shape).contiguous(),
        plane_spacing=float(volume.spacing[0]),
        corrected=volume.corrected,
        unsought=volume.unsought,
    )
