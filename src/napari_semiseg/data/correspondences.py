"""Which points of other slices show the same anatomy as a point of a slice (methods.md 6, REPS)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_semiseg.data.point_map import PointMap


@dataclass(frozen=True)
class Correspondences:
    """Maps between volumes, and between slices of one volume.

    Attributes
    ----------
    shapes : sequence of (planes, rows, columns)
        Of each volume on the working grid.
    spacings : sequence of 3 floats
        mm, of each volume on the working grid.
    volumes : mapping of (from, to) to PointMap
        3D, by volume index.
    slices : mapping of (volume, from plane, to plane) to PointMap
        2D.
    """

    shapes: Sequence[tuple[int, int, int]]
    spacings: Sequence[tuple[float, float, float]]
    volumes: Mapping[tuple[int, int], PointMap] = field(default_factory=dict)
    slices: Mapping[tuple[int, int, int], PointMap] = field(default_factory=dict)

    @property
    def planes(self) -> int:
        """Number of slices of all volumes."""
        return sum(shape[0] for shape in self.shapes)

    def reach(self, volume: int, plane: int, pixels: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield where the points of a slice are elsewhere.

        Parameters
        ----------
        volume, plane : int
        pixels : Tensor, shape (n, 2)
            Row and column of points on the working grid; pixel i has its centre at i.

        Yields
        ------
        volume : int
        planes : Tensor of int64, shape (n,)
            The plane whose slab holds the point, −1 where it lies outside of the volume.
        pixels : Tensor, shape (n, 2)
        """
        spacing = pixels.new_tensor(self.spacings[volume])
        points = (pixels + 0.5) * spacing[1:]
        for (v, origin, plane_there), phi in self.slices.items():
            if (v, origin) == (volume, plane):
                planes = torch.full((len(points),), plane_there, device=pixels.device)
                yield v, planes, phi(points) / spacing[1:] - 0.5
        height = ((plane + 0.5) * spacing[0]).expand(len(points), 1)
        for (origin, other), phi in self.volumes.items():
            if origin == volume:
                there = phi(torch.cat([height, points], dim=1)) / pixels.new_tensor(self.spacings[other])
                planes = there[:, 0].floor().to(torch.int64)
                outside = (planes < 0) | (planes >= self.shapes[other][0])
                yield other, torch.where(outside, -1, planes), there[:, 1:] - 0.5

    def to(self, device: torch.device) -> Correspondences:
        """Return them on another device."""
        return dataclasses.replace(
            self,
            volumes={key: phi.to(device) for key, phi in self.volumes.items()},
            slices={key: phi.to(device) for key, phi in self.slices.items()},
        )
