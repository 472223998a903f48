from __future__ import annotations

import numpy as np

from napari_semiseg.data.volumes import UNSAID, TrainingVolume


def discs(planes=8, side=48, labelled=(2, 5), seed=0, name="discs", classes=2):
    """Bright discs that move from plane to plane, on noise; ring and disc for three classes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side))
    image = rng.normal(0, 0.4, (planes, side, side)).astype(np.float32)
    truth = np.zeros(image.shape, np.uint8)
    for plane in range(planes):
        distance = np.hypot(rows - side / 2 - plane + planes / 2, columns - side / 2 + plane - planes / 2)
        truth[plane][distance < side / 4] = 1
        if classes > 2:
            truth[plane][distance < side / 8] = 2
    image += 2.0 * truth
    labels = np.full(truth.shape, UNSAID, np.uint8)
    labels[list(labelled)] = truth[list(labelled)]
    return TrainingVolume(name, image, (5.0, 1.0, 1.0), labels), truth
