"""What a model says of planes: labels, probabilities, uncertainty, on the grid of the volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_semiseg.engine.blending import Blend, tempered
from napari_semiseg.engine.model import Model


@dataclass(frozen=True)
class Maps:
    """Prediction of some planes, on the grid of the volume.

    Attributes
    ----------
    labels : ndarray of uint8, shape (planes, rows, columns)
        Class ids.
    entropy : ndarray of uint8, same shape
        Entropy divided by ln C; 255 ≙ 1.
    disagreement : ndarray of uint8, same shape, or None
        Total variation ½‖p₁−p₂‖₁ of two networks; 255 ≙ 1. None where one network predicts.
    probabilities : ndarray of uint8, shape (C, planes, rows, columns)
        255 ≙ 1.
    """

    labels: np.ndarray
    entropy: np.ndarray
    disagreement: np.ndarray | None
    probabilities: np.ndarray


def join(blocks: Sequence[Maps]) -> Maps:
    """Join consecutive blocks of planes."""
    differing = [block.disagreement for block in blocks if block.disagreement is not None]
    return Maps(
        labels=np.concatenate([block.labels for block in blocks]),
        entropy=np.concatenate([block.entropy for block in blocks]),
        disagreement=np.concatenate(differing) if differing else None,
        probabilities=np.concatenate([block.probabilities for block in blocks], axis=1),
    )


def finished(model: Model, blend: Blend) -> Maps:
    """Calibrate what networks and guide say together, and turn it into maps."""
    return _maps(model, tempered(blend[0], model.temperature), blend[1])


def _maps(model: Model, probabilities: Tensor, disagreement: Tensor | None) -> Maps:
    ids = torch.tensor(model.class_ids, dtype=torch.uint8, device=probabilities.device)
    entropy = torch.special.entr(probabilities).sum(dim=1) / math.log(model.setup.classes)
    return Maps(
        labels=ids[probabilities.argmax(dim=1)].cpu().numpy(),
        entropy=_bytes(entropy),
        disagreement=None if disagreement is None else _bytes(disagreement[:, 0]),
        probabilities=_bytes(probabilities.transpose(0, 1)),
    )


def _bytes(values: Tensor) -> np.ndarray:
    """Return values of 0…1 as uint8, 255 ≙ 1."""
    return values.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8).cpu().numpy()
