"""Felzenszwalb superpixels of a slice.

Felzenszwalb & Huttenlocher, IJCV 2004, doi:10.1023/B:VISI.0000022288.19776.77.
"""

from __future__ import annotations

import numpy as np


def felzenszwalb_plane(
    image: np.ndarray, *, scale: float = 100.0, sigma: float = 0.8, min_size: int = 20
) -> np.ndarray:
    """Divide a slice into superpixels.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Brought to 0…1 between its 1st and 99th percentile, so that the settings mean the same for CT and MRI.
    scale : float
        Larger values give larger superpixels.
    sigma : float
        Standard deviation of the smoothing in pixels.
    min_size : int
        Smaller superpixels are merged, in pixels.

    Returns
    -------
    ndarray of int32, shape (rows, columns)
        Region numbers from 0.
    """
    from skimage.segmentation import felzenszwalb

    low, high = (float(v) for v in np.percentile(image, (1, 99)))
    if high <= low:
        low, high = float(image.min()), float(image.max())
    if high <= low:
        return np.zeros(image.shape, np.int32)
    normalised = np.clip((image.astype(np.float32) - low) / (high - low), 0, 1)
    return felzenszwalb(normalised, scale=scale, sigma=sigma, min_size=min_size).astype(np.int32)


def contours(regions: np.ndarray) -> np.ndarray:
    """Return 1 on the inner border of every region and 0 elsewhere, uint8, shape (rows, columns)."""
    border = np.zeros(regions.shape, np.uint8)
    border[:-1] |= regions[:-1] != regions[1:]
    border[:, :-1] |= regions[:, :-1] != regions[:, 1:]
    return border
