"""What is prepared before the first step, as events; a stop is answered meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence

from napari_semiseg.data.guide import Guide
from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.engine import events
from napari_semiseg.engine.control import Control
from napari_semiseg.engine.events import Event
from napari_semiseg.engine.guides import guiding_of
from napari_semiseg.engine.model import Model
from napari_semiseg.methods import Method
from napari_semiseg.methods.preparation import Preparation, Registrations, Targets

_CARRYING = "carrying the annotated slices to the others"


def preparing(
    method: Method, volumes: Sequence[WorkingVolume], sources: Sequence[TrainingVolume], control: Control
) -> Generator[Event, None, Targets | None]:
    """Let a method prepare its targets; return None if somebody asked for a stop meanwhile."""
    preparation = method.targets(volumes, sources, lambda: control.wish().stop)
    while True:
        try:
            step = next(preparation)
        except StopIteration as end:
            return end.value
        yield _told(step)
        if control.wish().stop:
            preparation.close()
            return None


def carrying(
    model: Model, volumes: Sequence[WorkingVolume], control: Control
) -> Generator[Event, None, list[Guide | None] | None]:
    """Make the guides of the volumes, None where there is none; return None if somebody asked for a stop meanwhile."""
    guides = []
    for index, volume in enumerate(volumes):
        work = guiding_of(model, volume.image, volume.labels, volume.plane_spacing, volume.unsought)
        while True:
            try:
                part = next(work)
            except StopIteration as end:
                guides.append(end.value)
                break
            yield events.Preparing(task=_CARRYING, progress=(index + part) / len(volumes))
            if control.wish().stop:
                work.close()
                return None
    return guides


def _told(step: Preparation) -> Event:
    if isinstance(step, Registrations):
        return events.Registered(pairs=[dataclasses.asdict(pair) for pair in step.pairs])
    return events.Preparing(task=step.task, progress=step.part)
