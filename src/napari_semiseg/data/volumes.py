"""What the engine learns from: an image, its spacing and what was said about its voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

UNSAID = 255
"""Label value of a voxel about which nobody said anything."""

COMPLETE_SHARE = 0.5
"""Below this share of labelled pixels a plane counts as scribbled (methods.md 12-A)."""


@dataclass(frozen=True)
class TrainingVolume:
    """A volume as the engine sees it.

    Attributes
    ----------
    id : str
        Identity of the volume, used in events and file names.
    image : ndarray, shape (planes, rows, columns)
        Intensities in the units of the file.
    spacing : tuple of 3 floats
        Voxel size in mm: plane, row, column.
    labels : ndarray of uint8, shape (planes, rows, columns)
        Class *indices* 0…C−1, 0 is background where somebody said so; 255 is not said.
    corrected : frozenset of int
        Planes whose labels changed after the last round; they weigh more in the next one.
    unsought : frozenset of int
        Class indices that nobody looked for in this volume: its 0 means background *or one of these*.
    held_out : mapping of int to ndarray of uint8, shape (rows, columns)
        Labels of planes that are set aside: they say nothing in ``labels``.
    judged : frozenset of int
        Those of them that no earlier round learned from: by them the model is judged.
    descending : bool
        Plane numbers rise towards the left, the back or the feet, and not the other way (`Geometry.descending`).
    """

    id: str
    image: np.ndarray
    spacing: tuple[float, float, float]
    labels: np.ndarray
    corrected: frozenset[int] = field(default_factory=frozenset)
    unsought: frozenset[int] = field(default_factory=frozenset)
    held_out: Mapping[int, np.ndarray] = field(default_factory=dict)
    judged: frozenset[int] = frozenset()
    descending: bool = False

    def labelled_planes(self) -> list[int]:
        """Planes on which at least one voxel is labelled."""
        return [int(plane) for plane in np.flatnonzero((self.labels != UNSAID).any(axis=(1, 2)))]

    def all_labels(self) -> np.ndarray:
        """Return the labels with those that are set aside, uint8, shape (planes, rows, columns)."""
        if not self.held_out:
            return self.labels
        labels = self.labels.copy()
        for plane, said in self.held_out.items():
            labels[plane] = said
        return labels
