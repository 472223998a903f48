"""How well networks agree with what was labelled before (methods.md 12-H)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.predict import predict_planes

# Planes looked at per volume: this runs before the first step, which should come soon.
_PLANES = {2: 8, 3: 2}


def agreement(model: Model, volumes: Sequence[WorkingVolume], dtype: torch.dtype) -> float | None:
    """Return the mean Dice over classes on labelled planes that were not corrected since the last round.

    Parameters
    ----------
    model : Model
    volumes : sequence of WorkingVolume
    dtype : torch.dtype

    Returns
    -------
    float or None
        None where there is no such plane.
    """
    scores: list[float] = []
    for volume in volumes:
        labelled = torch.nonzero(volume.said() > 0)[:, 0].tolist()
        shape = (volume.image.shape[1], volume.image.shape[2])
        for plane in [p for p in labelled if p not in volume.corrected][: _PLANES[model.method.spatial_axes]]:
            predicted = predict_planes(model, volume.image, [plane], shape, dtype).labels[0]
            scores += _dice(predicted, volume.labels[plane].numpy(), model.class_ids)
    return sum(scores) / len(scores) if scores else None


def _dice(predicted: np.ndarray, truth: np.ndarray, class_ids: Sequence[int]) -> list[float]:
    """Return the Dice of every structure that the truth (class indices, 255 not said) shows."""
    scores = []
    for index, class_id in enumerate(class_ids[1:], start=1):
        a, b = (predicted == class_id) & (truth != UNSAID), truth == index
        if b.any():
            scores.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return scores
