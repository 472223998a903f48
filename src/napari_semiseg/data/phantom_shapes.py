"""Smooth shapes and noise that the phantoms are made of; coordinates in mm, (plane, row, column)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Space:
    """Coordinates of every voxel centre, in mm from the middle of the volume, gently bent so that nothing is straight.

    Attributes
    ----------
    z, y, x : ndarray of float32, shape (planes, rows, columns)
        Towards superior, posterior and the patient's left.
    """

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @classmethod
    def of(
        cls, shape: tuple[int, int, int], spacing: tuple[float, float, float], rng: np.random.Generator, bend: float
    ) -> Space:
        """Make the coordinates; ``bend`` is the standard deviation of the displacement in mm."""
        axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
        grid = np.meshgrid(*axes, indexing="ij")
        # Planes bend together: the displacement varies slowly from plane to plane.
        moved = [g + bend * smooth_noise(shape, (40.0, 24.0, 24.0), spacing, rng) for g in grid[1:]]
        return cls(grid[0], moved[0], moved[1])

    def ellipsoid(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        """Return (distance from the centre in units of the radii) − 1: negative inside."""
        parts = ((c - m) / r for c, m, r in zip((self.z, self.y, self.x), centre, radii, strict=True))
        return np.sqrt(sum(part * part for part in parts)) - 1

    def tube(self, y: np.ndarray | float, x: np.ndarray | float, radius: np.ndarray | float) -> np.ndarray:
        """Return (distance from a line along z, in radii) − 1; the line may move with z."""
        return np.hypot(self.y - y, self.x - x) / radius - 1


def smooth_noise(
    shape: tuple[int, int, int],
    length: tuple[float, float, float],
    spacing: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return noise of zero mean and unit deviation that varies over ``length`` mm, float32."""
    sigma = [scale / step for scale, step in zip(length, spacing, strict=True)]
    # Drawn on a coarse grid and enlarged: smoothing a fine one over many voxels would take seconds.
    coarse = [max(2, int(np.ceil(n / max(1.0, s / 2))) + 4) for n, s in zip(shape, sigma, strict=True)]
    rest = [s * c / n for s, c, n in zip(sigma, coarse, shape, strict=True)]
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse), rest)
    noise = ndimage.zoom(
        noise, [n / c for n, c in zip(shape, coarse, strict=True)], order=1, grid_mode=True, mode="nearest"
    )
    noise = noise[tuple(slice(0, n) for n in shape)]
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """Return 1 inside, 0 outside and a ramp of the given width between: partial volume at a border."""
    return np.clip(0.5 - distance / width, 0, 1).astype(np.float32)


def blend(image: np.ndarray, value: float | np.ndarray, part: np.ndarray) -> None:
    """Lay a tissue over the image, in place, where ``part`` (0–1) says."""
    image += (value - image) * part
