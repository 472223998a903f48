"""Judge a model by slices it did not learn from, and calibrate it on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.data.working import WorkingVolume, to_working
from napari_semiseg.engine import calibration
from napari_semiseg.engine.events import Judged
from napari_semiseg.engine.guides import guide_of
from napari_semiseg.engine.interval import dice_interval
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.predict import predict_probabilities

_VOXELS = 20_000  # looked at per slice for the calibration: millions more would say the same
LEVEL = 0.3  # the entropy whose meaning the panel tells


def judge(model: Model, volumes: Iterable[tuple[WorkingVolume, TrainingVolume]], dtype: torch.dtype) -> Judged | None:
    """Measure the Dice on the slices that are set aside, and set the model's temperature by them.

    Parameters
    ----------
    model : Model
        Its temperature becomes the one that fits best.
    volumes : iterable of (WorkingVolume, TrainingVolume)
        The guide of the former must know nothing of those slices.
    dtype : torch.dtype

    Returns
    -------
    Judged or None
        None where no slice is set aside.
    """
    looks = [
        (volume.id, plane, *_look(model, working, volume, plane, dtype))
        for working, volume in volumes
        for plane in sorted(volume.judged)
    ]
    if not looks:
        return None
    both, sizes = (np.stack([look[index] for look in looks]) for index in (2, 3))
    measured = dice_interval(both, sizes)
    probabilities, truth = (np.concatenate([look[index] for look in looks]) for index in (4, 5))
    model.temperature = calibration.fit_temperature(probabilities, truth)
    return Judged(
        held_out={
            "slices": [[volume, plane] for volume, plane, *_ in looks],
            "dice": measured.dice,
            "low": measured.low,
            "high": measured.high,
            "classes": {str(i): dice for i, dice in zip(model.class_ids[1:], measured.classes, strict=True)},
        },
        calibration=_calibration(probabilities, truth, model.temperature),
    )


def judge_later(model: Model, volumes: Iterable[TrainingVolume], dtype: torch.dtype) -> Judged | None:
    """Do what `judge` does for volumes that are not on the working grid yet."""

    def prepared() -> Iterable[tuple[WorkingVolume, TrainingVolume]]:
        for volume in volumes:
            if volume.judged:
                (working,) = to_working([volume], model.grid, model.rule)
                guide = guide_of(model, working.image, working.labels, volume.unsought)
                yield dataclasses.replace(working, guide=guide), volume

    return judge(model, prepared(), dtype)


def _look(
    model: Model, working: WorkingVolume, volume: TrainingVolume, plane: int, dtype: torch.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the overlap and the sizes of each structure on a slice, and a sample of its probabilities and labels."""
    labels = volume.held_out[plane]
    shape = (labels.shape[0], labels.shape[1])
    found, _ = predict_probabilities(model, working.image, [plane], shape, dtype, guide=working.guide)
    probabilities = found[0].permute(1, 2, 0).float().cpu().numpy().reshape(-1, model.setup.classes)
    for unsought in volume.unsought:  # there label 0 means background or one of these
        probabilities[:, 0] += probabilities[:, unsought]
        probabilities[:, unsought] = 0
    said = labels.ravel() != UNSAID
    probabilities, truth = probabilities[said], labels.ravel()[said]
    predicted = probabilities.argmax(axis=1)
    classes = range(1, model.setup.classes)
    both = np.array([np.count_nonzero((predicted == c) & (truth == c)) for c in classes])
    sizes = np.array([np.count_nonzero(predicted == c) + np.count_nonzero(truth == c) for c in classes])
    if len(truth) > _VOXELS:
        chosen = np.random.default_rng(plane).choice(len(truth), _VOXELS, replace=False)
        probabilities, truth = probabilities[chosen], truth[chosen]
    return both, sizes, probabilities, truth


def _calibration(probabilities: np.ndarray, truth: np.ndarray, temperature: float) -> dict[str, Any]:
    after = calibration.temper(probabilities, temperature)
    entropy = -(after * np.log(np.maximum(after, 1e-12))).sum(axis=1) / math.log(after.shape[1])
    return {
        "temperature": temperature,
        "ece_before": calibration.expected_calibration_error(probabilities, truth),
        "ece_after": calibration.expected_calibration_error(after, truth),
        "entropy": LEVEL,
        "wrong": calibration.wrong_near(entropy, after.argmax(axis=1) != truth, LEVEL),
        "voxels": len(truth),
    }
