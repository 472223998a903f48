"""A second view of a batch: one random smooth deformation for images and region maps (methods.md 10)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def draw_warp(
    count: int,
    size: tuple[int, int],
    *,
    largest: float = 8.0,
    smoothness: float = 10.0,
    rotation: float = 0.0,
    scale: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw one deformation per image: white noise smoothed by a Gaussian, after a turn and a change of size.

    Parameters
    ----------
    count : int
    size : tuple of 2 ints
        Rows and columns.
    largest : float
        Largest displacement of each image's elastic field in pixels.
    smoothness : float
        σ of the Gaussian in pixels.
    rotation : float
        Largest rotation in degrees.
    scale : float
        Largest relative change of size.
    device : torch.device

    Returns
    -------
    Tensor, shape (count, rows, columns, 2)
        Where each pixel comes from, for `torch.nn.functional.grid_sample`: columns first, −1…1 between the outer edges.
    """
    turn = torch.deg2rad((2 * torch.rand(count, device=device) - 1) * rotation)
    growth = torch.exp((2 * torch.rand(count, device=device) - 1) * math.log1p(scale))
    half = torch.tensor([size[1] / 2, size[0] / 2], device=device)
    matrix = (
        torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=1).view(-1, 2, 2) * growth[:, None, None]
    )
    # Turned in pixels, so that oblong images are not sheared.
    matrix = matrix * half[None, None] / half[None, :, None]
    affine = torch.cat([matrix, matrix.new_zeros(count, 2, 1)], dim=2)
    grid = functional.affine_grid(affine, [count, 1, *size], align_corners=False)
    return grid + _elastic(count, size, largest, smoothness, device).movedim(1, -1) / half


def _elastic(
    count: int, size: tuple[int, int], largest: float, smoothness: float, device: torch.device | str
) -> Tensor:
    """Return displacements in pixels, shape (count, 2, rows, columns), the longest of each image being ``largest``."""
    field = torch.randn(count, 2, *size, device=device)
    reach = math.ceil(3 * smoothness)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=device) / max(smoothness, 1e-6)) ** 2)
    kernel = (kernel / kernel.sum()).expand(2, 1, -1)
    # Zeros beyond the border keep the field finite where the image is narrower than the kernel.
    field = functional.conv2d(field, kernel[:, :, :, None], padding=(reach, 0), groups=2)
    field = functional.conv2d(field, kernel[:, :, None, :], padding=(0, reach), groups=2)
    longest = field.square().sum(dim=1).amax(dim=(1, 2)).sqrt().clamp(min=1e-12)
    return field * (largest / longest)[:, None, None, None]


def warp_image(image: Tensor, grid: Tensor) -> Tensor:
    """Warp images (B, channels, H, W) linearly; beyond the border its value is repeated."""
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def warp_numbers(numbers: Tensor, grid: Tensor, outside: int = 255) -> Tensor:
    """Warp maps of whole numbers (B, H, W) by the nearest pixel; beyond the border they are ``outside``."""
    shifted = (numbers - outside)[:, None].float()
    warped = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (warped[:, 0] + outside).round().to(torch.int64)
