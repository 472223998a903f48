"""What a method prepares before the first step, as events."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence

from napari_semiseg.data.volumes import TrainingVolume
from napari_semiseg.data.working import WorkingVolume
from napari_semiseg.engine import events
from napari_semiseg.engine.control import Control
from napari_semiseg.engine.events import Event
from napari_semiseg.methods import Method
from napari_semiseg.methods.preparation import Preparation, Registrations, Targets


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


def _told(step: Preparation) -> Event:
    if isinstance(step, Registrations):
        return events.Registered(pairs=[dataclasses.asdict(pair) for pair in step.pairs])
    return events.Preparing(task=step.task, progress=step.part)
