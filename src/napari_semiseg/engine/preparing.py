"""What is prepared before the first step, as events; a stop is answered meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from typing import TypeVar

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
from napari_semiseg.steps import told

T = TypeVar("T")

_CARRYING = "carrying the annotated slices to the others"


def preparing(
    method: Method, volumes: Sequence[WorkingVolume], sources: Sequence[TrainingVolume], control: Control
) -> Generator[Event, None, Targets | None]:
    """Let a method prepare its targets; return None if somebody asked for a stop meanwhile."""
    preparation = method.targets(volumes, sources, lambda: control.wish().stop)
    return (yield from _until_stop(told(preparation, _event_of), control))


def carrying(
    model: Model, volumes: Sequence[WorkingVolume], control: Control
) -> Generator[Event, None, list[Guide | None] | None]:
    """Make the guides of the volumes, None where there is none; return None if somebody asked for a stop meanwhile."""
    return (yield from _until_stop(_guides(model, volumes), control))


def _guides(model: Model, volumes: Sequence[WorkingVolume]) -> Generator[Event, None, list[Guide | None]]:
    guides = []
    for index, volume in enumerate(volumes):

        def tell(part: float, done: int = index) -> Event:
            return events.Preparing(task=_CARRYING, progress=(done + part) / len(volumes))

        work = guiding_of(model, volume.image, volume.labels, volume.unsought)
        guides.append((yield from told(work, tell)))
    return guides


def _until_stop(work: Generator[Event, None, T], control: Control) -> Generator[Event, None, T | None]:
    """Pass on what the work tells; return what it made, None if somebody asked for a stop meanwhile."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        yield event
        if control.wish().stop:
            work.close()
            return None


def _event_of(step: Preparation) -> Event:
    if isinstance(step, Registrations):
        return events.Registered(pairs=[dataclasses.asdict(pair) for pair in step.pairs])
    return events.Preparing(task=step.task, progress=step.part)
