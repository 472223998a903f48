from __future__ import annotations

import numpy as np

from napari_semiseg.benchmark.cases import Case


def rings(planes=9, side=40, name="rings", seed=0) -> Case:
    """A bright disc (class 5) in a ring (class 2), on planes 1 to planes − 2, a little further along on each."""
    rows, columns = np.indices((side, side))
    reference = np.zeros((planes, side, side), np.uint8)
    for plane in range(1, planes - 1):
        distance = np.hypot(rows - side / 2 - 0.5 * plane, columns - side / 2)
        reference[plane][distance < side / 4] = 2
        reference[plane][distance < side / 8] = 5
    noise = np.random.default_rng(seed).normal(0, 5, reference.shape)
    image = (100 * (reference > 0) + 80 * (reference == 5) + noise).astype(np.float32)
    return Case(name, image, (4.0, 1.0, 1.0), reference)
