"""Random transforms: drawn as parameters, applied by a deterministic twin."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_semiseg.data.volumes import UNSAID


@dataclass(frozen=True)
class Augmentation:
    """How strongly samples are varied; zeros switch a part off.

    Attributes
    ----------
    turns : bool
        With probability ½ a quarter-turn and a flip instead of the small rotation (SSL4MIS' recipe).
    rotation : float
        Largest rotation in degrees.
    scale : float
        Largest relative change of size.
    elastic : float
        Standard deviation of the smooth displacement in pixels.
    contrast : float
        Largest relative change of contrast; brightness varies by half of it (in standard deviations).
    noise : float
        Largest standard deviation of added noise.
    """

    turns: bool = True
    rotation: float = 20.0
    scale: float = 0.0
    elastic: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Geometric:
    """Where the pixels of a crop lie in the plane they come from.

    Attributes
    ----------
    affine : ndarray of float64, shape (2, 3)
        Pixel (row, column) of the crop, counted from its centre, to pixel (row, column) of the plane.
    displacement : ndarray of float32, shape (2, 5, 5), or None
        Coarse displacement in plane pixels, added after the affine map.
    """

    affine: np.ndarray
    displacement: np.ndarray | None = None


@dataclass(frozen=True)
class Photometric:
    """Change of intensities: ``image * gain + offset`` and noise of a given deviation from a given seed."""

    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.0
    seed: int = field(default=0)


def draw_geometric(rng: np.random.Generator, strength: Augmentation, centre: tuple[float, float]) -> Geometric:
    """Draw the geometry of one crop around a centre (row, column) of the plane."""
    matrix = np.eye(2)
    if strength.turns and rng.random() < 0.5:
        matrix = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), int(rng.integers(4)))
        if rng.random() < 0.5:
            matrix = matrix @ np.diag([1.0, -1.0])
    elif strength.rotation > 0:
        angle = math.radians(rng.uniform(-strength.rotation, strength.rotation))
        matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if strength.scale > 0:
        matrix = matrix * math.exp(rng.uniform(-1, 1) * math.log1p(strength.scale))
    displacement = None
    if strength.elastic > 0:
        displacement = (rng.standard_normal((2, 5, 5)) * strength.elastic).astype(np.float32)
    return Geometric(np.column_stack([matrix, np.asarray(centre, dtype=float)]), displacement)


def draw_photometric(rng: np.random.Generator, strength: Augmentation) -> Photometric:
    """Draw the change of intensities of one crop."""
    return Photometric(
        gain=math.exp(rng.uniform(-1, 1) * math.log1p(strength.contrast)),
        offset=rng.uniform(-1, 1) * strength.contrast / 2,
        noise=rng.uniform(0, strength.noise) if strength.noise > 0 else 0.0,
        seed=int(rng.integers(2**31)),
    )


def sampling_grid(transform: Geometric, crop: int, plane_shape: tuple[int, int]) -> Tensor:
    """Return the grid for `torch.nn.functional.grid_sample`, shape (1, crop, crop, 2)."""
    offsets = torch.arange(crop, dtype=torch.float32) - (crop - 1) / 2
    rows, columns = torch.meshgrid(offsets, offsets, indexing="ij")
    affine = torch.from_numpy(transform.affine.astype(np.float32))
    places = [affine[i, 0] * rows + affine[i, 1] * columns + affine[i, 2] for i in range(2)]
    if transform.displacement is not None:
        field_ = functional.interpolate(
            torch.from_numpy(transform.displacement)[None], size=(crop, crop), mode="bicubic", align_corners=True
        )[0]
        places = [place + field_[i] for i, place in enumerate(places)]
    # grid_sample counts from −1 to 1 between the outer edges of the pixels, columns first.
    normalised = [(2 * place + 1) / size - 1 for place, size in zip(places, plane_shape, strict=True)]
    return torch.stack([normalised[1], normalised[0]], dim=-1)[None]


def crop_image(planes: Tensor, grid: Tensor) -> Tensor:
    """Sample planes (channels, rows, columns) linearly; beyond the plane its border value is repeated."""
    return functional.grid_sample(planes[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def crop_labels(planes: Tensor, grid: Tensor) -> Tensor:
    """Sample label planes (planes, rows, columns) by the nearest pixel; beyond the plane nothing is said (255)."""
    shifted = planes[None].float() - UNSAID
    sampled = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (sampled[0] + UNSAID).round().to(torch.int64)


def crop_map(planes: Tensor, grid: Tensor) -> Tensor:
    """Sample planes (planes, rows, columns): floating ones as `crop_image`, integer ones as `crop_labels`."""
    return crop_image(planes, grid) if planes.is_floating_point() else crop_labels(planes, grid)


def inside(grid: Tensor) -> Tensor:
    """Return which pixels of the crop lie within the plane, shape (crop, crop), bool."""
    return (grid[0].abs() <= 1).all(dim=-1)


def change_intensity(image: Tensor, change: Photometric) -> Tensor:
    """Apply a change of intensities to an image of any shape."""
    image = image * change.gain + change.offset
    if change.noise > 0:
        generator = torch.Generator().manual_seed(change.seed)
        image = image + change.noise * torch.randn(image.shape, generator=generator)
    return image
