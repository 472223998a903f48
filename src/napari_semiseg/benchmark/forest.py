"""A random forest that classifies pixels by their surroundings at several scales: what ilastik and APOC do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.errors import InputError
from napari_semiseg.regions.walker import to_unit_range

_TREES, _DEPTH = 50, 10
_MOST = 50_000  # pixels that trees learn from
_WIDEST = 16.0  # pixels


def segment_by_forest(volumes: Sequence[TrainingVolume], seed: int, threads: int | None = None) -> list[np.ndarray]:
    """Learn from what is said in any of the volumes and classify all their pixels, plane by plane.

    Features are intensity, gradient and eigenvalues of the Hessian after Gaussians of 1 to 16 pixels.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
    seed : int
    threads : int, optional
        All by default.

    Returns
    -------
    list of ndarray of uint8, shape (planes, rows, columns)
        Class indices; what is said as given.

    Raises
    ------
    InputError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError:
        raise InputError(
            "The peer forest needs scikit-learn, which is not installed; run pip install napari-semiseg[benchmark], or "
            "leave it out of the peers."
        ) from None
    images = [to_unit_range(volume.image).numpy() for volume in volumes]
    features, labels = [], []
    for volume, image in zip(volumes, images, strict=True):
        for plane in volume.labelled_planes():
            said = volume.labels[plane] != UNSAID
            features.append(_features(image[plane])[said])
            labels.append(volume.labels[plane][said])
    x, y = np.concatenate(features), np.concatenate(labels)
    chosen = np.random.default_rng(seed).permutation(len(y))[:_MOST]
    forest = RandomForestClassifier(_TREES, max_depth=_DEPTH, n_jobs=threads or -1, random_state=seed)
    forest.fit(x[chosen], y[chosen])
    found = []
    for volume, image in zip(volumes, images, strict=True):
        planes = [forest.predict(_features(p).reshape(-1, x.shape[1])).reshape(p.shape) for p in image]
        found.append(np.where(volume.labels != UNSAID, volume.labels, np.stack(planes)).astype(np.uint8))
    return found


def _features(plane: np.ndarray) -> np.ndarray:
    """Return the features of every pixel, shape (rows, columns, features)."""
    from skimage.feature import multiscale_basic_features

    return multiscale_basic_features(plane, sigma_min=1.0, sigma_max=_WIDEST)
