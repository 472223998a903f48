"""Predicting whole volumes into a keeper, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.engine import events
from napari_semiseg.engine.control import Control
from napari_semiseg.engine.events import Event
from napari_semiseg.engine.keeper import Keeper
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.predict import volume_steps
from napari_semiseg.errors import InputError


def attempted(volume: str, name: str, run: Iterator[Event]) -> Iterator[Event]:
    """Pass on what is told of one volume; what fails of it is told as well, and the others have their turn."""
    try:
        yield from run
    except InputError as error:
        yield events.VolumeFailed(volume=volume, name=name, error=str(error))
    except (MemoryError, torch.OutOfMemoryError):
        text = "There is too little memory for this volume; close other programs or choose the device cpu."
        yield events.VolumeFailed(volume=volume, name=name, error=text)


def predict_to_keeper(
    model: Model, volume: TrainingVolume, keeper: Keeper, control: Control, dtype: torch.dtype
) -> Iterator[Event]:
    """Predict a whole volume into a keeper; a stop leaves the earlier prediction as it was."""
    writer = keeper.prediction(volume, model.setup.classes, model.has_disagreement)
    complete = False
    total, count, told = 0.0, 0, 0.0
    # Slices that are set aside were not learned from, but what is known of them may guide the others.
    labels = volume.all_labels()
    try:
        for step in volume_steps(model, volume.image, volume.spacing, dtype, labels=labels, unsought=volume.unsought):
            if step.maps is not None:
                writer.write(step.first, step.maps)
                total, count = total + float(step.maps.entropy.sum(dtype=float)), count + step.maps.entropy.size
            if step.maps is not None or step.progress >= told + 0.01:
                told = step.progress
                yield events.Predicting(volume=volume.id, progress=told)
            if control.wish().stop:
                return
        complete = True
    finally:
        writer.close(complete=complete)
    yield events.PredictionReady(volume=volume.id, mean_entropy=total / count / 255)
