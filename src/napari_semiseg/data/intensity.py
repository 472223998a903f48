"""Bringing intensities of any scanner to one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_semiseg.data.volumes import UNSAID, TrainingVolume

_SAMPLE = 2_000_000  # voxels looked at per volume: percentiles of a whole CT would take seconds


@dataclass(frozen=True)
class IntensityRule:
    """How images become network input: clipped to a window, then zero mean and unit variance.

    Attributes
    ----------
    window : tuple of 2 floats or None
        Fixed window in the units of the files (HU for CT), one for all volumes. None: each volume is
        clipped to its own 0.5th and 99.5th percentile, as suits MRI, whose units are arbitrary.
    """

    window: tuple[float, float] | None = None

    @classmethod
    def of(cls, volumes: Sequence[TrainingVolume]) -> IntensityRule:
        """Choose the rule from what the volumes look like.

        Values far below zero mean Hounsfield units. There the organs lie within some hundred units of each other
        and would drown between air and bone, so the window is that of the labelled structures, widened by 100 HU;
        without labels it is −200…300 HU.
        """
        if not volumes or not all(np.percentile(_sample(volume.image), 1) < -300 for volume in volumes):
            return cls()
        foreground = [v.image[(v.labels != UNSAID) & (v.labels > 0)] for v in volumes]
        values = np.concatenate([part.astype(np.float32) for part in foreground])
        if values.size == 0:
            return cls((-200.0, 300.0))
        low, high = np.percentile(values, (0.5, 99.5))
        return cls((float(low) - 100.0, float(high) + 100.0))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the normalised image.

        Parameters
        ----------
        image : ndarray, shape (planes, rows, columns)

        Returns
        -------
        ndarray of float32, same shape
            Zero mean, unit variance within the window; zeros for a constant image.
        """
        sample = _sample(image).astype(np.float32)
        window = self.window if self.window is not None else np.percentile(sample, (0.5, 99.5))
        low, high = (float(bound) for bound in window)  # NumPy scalars would turn the image into float64
        sample = np.clip(sample, low, high)
        deviation = float(sample.std())
        result = np.clip(image.astype(np.float32), low, high)
        result -= float(sample.mean())
        if deviation > 0:
            result /= deviation
        return result


def _sample(image: np.ndarray) -> np.ndarray:
    """Return an evenly spaced sample of the voxels, flattened."""
    return image.reshape(-1)[:: max(1, image.size // _SAMPLE)]
