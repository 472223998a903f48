"""Images as registration looks at them: nearly isotropic, on one intensity scale, with a fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import resample_image

_LEAST_SIDE = 64  # pixels along the longer side of a plane, so that a small animal is more than a few voxels


@dataclass(frozen=True)
class Image:
    """A volume or a slice to register.

    Attributes
    ----------
    values : ndarray of float32, 2 or 3 axes
    spacing : tuple of floats
        mm per axis; nearly the same for all.
    """

    values: np.ndarray
    spacing: tuple[float, ...]

    @cached_property
    def digest(self) -> str:
        """Fingerprint of the content."""
        head = f"{self.values.shape} {self.spacing}".encode()
        return hashlib.blake2b(head + np.ascontiguousarray(self.values).tobytes(), digest_size=16).hexdigest()


def volume_image(volume: TrainingVolume, spacing: float) -> Image:
    """Bring a volume to a nearly isotropic grid of at most ``spacing`` mm; labels have no say in it.

    Intensities are normalised as for networks, except that the window of a CT is the same whatever is annotated:
    otherwise each annotation would change the fingerprint. Planes are in the order of the patient, not of the file: an
    affine map that begins with the centres on each other would never turn a volume over.
    """
    values, in_plane = _in_plane(volume, spacing)
    depth = values.shape[0] * volume.spacing[0]
    planes = max(1, round(depth / in_plane[0]))
    if planes != values.shape[0]:
        size = (planes, *values.shape[1:])
        values = functional.interpolate(values[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    upright = values.flip(0) if volume.descending else values
    return Image(upright.numpy(), (depth / planes, *in_plane))


def slice_images(volume: TrainingVolume, spacing: float) -> list[Image]:
    """Bring every plane of a volume to square pixels of at most ``spacing`` mm."""
    values, in_plane = _in_plane(volume, spacing)
    return [Image(plane.numpy(), in_plane) for plane in values]


def _in_plane(volume: TrainingVolume, spacing: float) -> tuple[torch.Tensor, tuple[float, float]]:
    unsaid = dataclasses.replace(volume, labels=np.full_like(volume.labels, UNSAID))
    extents = [n * s for n, s in zip(volume.image.shape[1:], volume.spacing[1:], strict=True)]
    step = min(spacing, max(extents) / _LEAST_SIDE)
    rows, columns = (max(1, round(extent / step)) for extent in extents)
    values = resample_image(torch.from_numpy(IntensityRule.of([unsaid]).apply(volume.image)), (rows, columns))
    return values, (extents[0] / rows, extents[1] / columns)
