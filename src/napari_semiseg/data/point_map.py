"""Maps of points in mm from one image to another, and images seen through them (methods.md 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_semiseg.data.volumes import UNSAID


@dataclass(frozen=True)
class PointMap:
    """φ: a point in mm of image *a* to the corresponding point in mm of image *b*, of 2 or 3 axes.

    Points are in the order (plane,) row, column and counted from the outer corner of the first voxel: the centre of
    voxel *i* is at (i+½)·spacing whatever grid an image is resampled to.

    Attributes
    ----------
    matrix : Tensor of float32, shape (d, d)
    offset : Tensor of float32, shape (d,), mm
    displacement : Tensor of float32, shape (d, …), or None
        Added in *b*, mm; given on a grid over *a*, beyond which its border is repeated.
    step : tuple of d floats
        Spacing of that grid in mm; node *i* is at (i+½)·step.
    """

    matrix: Tensor
    offset: Tensor
    displacement: Tensor | None = None
    step: tuple[float, ...] = ()

    def __call__(self, points: Tensor) -> Tensor:
        """Map points in mm, shape (n, d)."""
        mapped = points @ self.matrix.T + self.offset
        if self.displacement is None:
            return mapped
        return mapped + sample(self.displacement, points / points.new_tensor(self.step)).T

    @property
    def axes(self) -> int:
        """2 or 3."""
        return len(self.offset)

    @classmethod
    def translation(cls, offset: Sequence[float]) -> PointMap:
        """Return the map that adds an offset in mm."""
        return cls(torch.eye(len(offset)), torch.tensor(offset, dtype=torch.float32))

    def turned(self, a: float | None, b: float | None) -> PointMap:
        """Return the map for images whose planes are counted from the other end.

        Parameters
        ----------
        a, b : float or None
            How far *a* or *b* extends along axis 0, mm; None where it stays as it is.
        """
        matrix, offset = self.matrix.clone(), self.offset.clone()
        displacement = None if self.displacement is None else self.displacement.clone()
        if a is not None:
            offset += matrix[:, 0] * a
            matrix[:, 0] *= -1
            displacement = None if displacement is None else displacement.flip(1)
        if b is not None:
            matrix[0] *= -1
            offset[0] = b - offset[0]
            if displacement is not None:
                displacement[0] *= -1
        return dataclasses.replace(self, matrix=matrix, offset=offset, displacement=displacement)

    def to(self, device: torch.device) -> PointMap:
        """Return the map on another device."""
        moved = None if self.displacement is None else self.displacement.to(device)
        return dataclasses.replace(
            self, matrix=self.matrix.to(device), offset=self.offset.to(device), displacement=moved
        )


def sample(channels: Tensor, places: Tensor) -> Tensor:
    """Sample channels (c, …) of d axes linearly at places (n, d), of which (i+½) is voxel i; shape (c, n).

    Beyond the outermost voxels their values are repeated.
    """
    sizes = places.new_tensor(channels.shape[1:])
    grid = (2 * places / sizes - 1).flip(-1)  # grid_sample wants columns first
    grid = grid.view(1, *(1,) * (places.shape[1] - 1), *places.shape)
    return functional.grid_sample(
        channels[None], grid.to(channels.dtype), mode="bilinear", padding_mode="border", align_corners=False
    ).view(len(channels), -1)


def centres(shape: Sequence[int], spacing: Sequence[float], first: int = 0, last: int | None = None) -> Tensor:
    """Return the centres in mm of the voxels of the slabs ``first`` … ``last``−1 along axis 0, shape (n, d)."""
    ranges = [torch.arange(n, dtype=torch.float32) for n in shape]
    ranges[0] = ranges[0][first:last]
    places = torch.stack(torch.meshgrid(*ranges, indexing="ij"), dim=-1).view(-1, len(shape))
    return (places + 0.5) * torch.tensor(spacing, dtype=torch.float32)


def warp_image(
    image: Tensor, spacing: Sequence[float], phi: PointMap, shape: Sequence[int], onto: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return W_{a←b} v_b: an image *b* seen on the grid of *a*, linearly, by φ_{a→b}.

    Parameters
    ----------
    image : Tensor of float32, shape of b
    spacing : sequence of float
        mm, of b.
    phi : PointMap
        From a to b.
    shape, onto : sequence
        Shape and spacing (mm) of a.

    Returns
    -------
    image : Tensor of float32, shape of a
    inside : Tensor of bool, shape of a
        Where a lies within b.
    """
    values, inside = [], []
    for first in range(0, shape[0], _slabs(shape)):
        places = phi(centres(shape, onto, first, first + _slabs(shape))) / torch.tensor(spacing)
        inside.append(_within(places, image.shape))
        values.append(sample(image[None], places)[0])
    return torch.cat(values).view(*shape), torch.cat(inside).view(*shape)


def warp_labels(
    labels: Tensor, spacing: Sequence[float], phi: PointMap, shape: Sequence[int], onto: Sequence[float]
) -> Tensor:
    """Return W_{a←b} y_b by the nearest voxel; what lies outside of b is not said (255).

    Parameters
    ----------
    labels : Tensor of uint8, shape of b
    spacing, phi, shape, onto
        See `warp_image`.
    """
    found = []
    for first in range(0, shape[0], _slabs(shape)):
        places = phi(centres(shape, onto, first, first + _slabs(shape))) / torch.tensor(spacing)
        inside = _within(places, labels.shape)
        index = places.floor().to(torch.int64)
        index = index.clamp(min=0).minimum(torch.tensor(labels.shape) - 1)
        found.append(torch.where(inside, labels[tuple(index.T)], UNSAID).to(labels.dtype))
    return torch.cat(found).view(*shape)


def _within(places: Tensor, shape: Sequence[int]) -> Tensor:
    return ((places >= 0) & (places < places.new_tensor(shape))).all(dim=1)


def _slabs(shape: Sequence[int]) -> int:
    """Return how many slabs along axis 0 are computed at once: the points of a whole CT would need gigabytes."""
    voxels = 1
    for n in shape[1:]:
        voxels *= n
    return max(1, 1_000_000 // voxels)
