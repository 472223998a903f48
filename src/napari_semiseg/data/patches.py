"""Batches of patches of volumes, for networks of three dimensions (methods.md 12-E)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_semiseg.data import augmentation as aug
from napari_semiseg.data.sampling import PlaneSampler
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.data.working import WorkingVolume


class PatchSampler(PlaneSampler):
    """Draws batches of patches around planes of the labelled and the unlabelled stream, repeatably.

    A patch shows the plane that it is drawn for and its neighbours through one in-plane transform: planes keep their
    distance and their order. What lies beyond the volume repeats its border, is not said and not inside.

    Parameters
    ----------
    volumes : sequence of WorkingVolume
    patch : sequence of 3 ints
        Planes, rows and columns; rows and columns are equal.
    labelled, unlabelled, strength, seed
        Those of `PlaneSampler`.
    """

    def __init__(
        self,
        volumes: Sequence[WorkingVolume],
        *,
        patch: Sequence[int],
        labelled: int,
        unlabelled: int,
        strength: aug.Augmentation,
        seed: int = 0,
    ) -> None:
        self.depth = patch[0]
        super().__init__(volumes, labelled=labelled, unlabelled=unlabelled, crop=patch[1], strength=strength, seed=seed)

    def _cut(self, volume: WorkingVolume, p: int, grid: Tensor, change: aug.Photometric) -> dict[str, Any]:
        count = len(volume.image)
        wanted = self._first(p, count) + torch.arange(self.depth)
        planes = wanted.clamp(0, count - 1)
        within = (wanted == planes)[:, None, None]

        def cut(values: Tensor) -> Tensor:
            cropped = aug.crop_map(values[planes], grid)
            return cropped if values.is_floating_point() else torch.where(within, cropped, UNSAID)

        return {
            "image": aug.change_intensity(cut(volume.image), change)[None],
            "label": cut(volume.labels),
            "inside": within & aug.inside(grid),
            "extras": {name: cut(values) for name, values in volume.extras.items()},
        }

    def _first(self, p: int, count: int) -> int:
        """Return the first plane of a patch around ``p``: a little off centre, within the volume where it fits.

        The same plane is not always at the same place of the patch: decoders that enlarge by two have weights of their
        own for even and for odd planes, and would never learn those of planes that are labelled at neither.
        """
        if count <= self.depth:
            return -int(self.rng.integers(self.depth - count + 1))
        jitter = int(np.floor(self.rng.uniform(-self.depth / 4, self.depth / 4) + 0.5))
        return min(max(p - self.depth // 2 + jitter, 0), count - self.depth)
