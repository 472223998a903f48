from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np


def truth(planes=6, side=48):
    """A disc that wanders, ids 0 and 2."""
    rows, columns = np.indices((side, side))
    return np.stack([2 * (np.hypot(rows - 24 - p, columns - 24) < 10) for p in range(planes)]).astype(np.uint8)


def write_image(path: Path, seed=0, planes=6, side=48) -> Path:
    """A bright disc on noise, as NIfTI with an odd affine."""
    rng = np.random.default_rng(seed)
    image = 60 * (truth(planes, side) > 0) + rng.normal(40, 8, (planes, side, side))
    affine = np.array([[-0.7, 0, 0, 3], [0, -0.7, 0, 4], [0, 0, 5, -9], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(image.transpose(2, 1, 0).astype(np.int16), affine), path)
    return path
