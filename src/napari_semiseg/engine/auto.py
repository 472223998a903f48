"""What ``auto`` trains, by what is annotated and by the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_semiseg.data.volumes import COMPLETE_SHARE, UNSAID, TrainingVolume
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import InputError

_MOST_CARRIED = 24  # classes; of each the probability at every voxel is kept in memory

if TYPE_CHECKING:
    from napari_semiseg.methods import Method


def method_of(plan: Plan, volumes: Sequence[TrainingVolume], classes: int, *, small: bool) -> tuple[Method, str]:
    """Return the method that a plan asks for, with its settings, and why it was taken.

    Parameters
    ----------
    plan : Plan
    volumes : sequence of TrainingVolume
    classes : int
        Number of classes with background.
    small : bool
        No GPU helps.

    Raises
    ------
    InputError
        For an unknown method or setting, or a setting out of bounds.
    """
    from pydantic import ValidationError

    from napari_semiseg import methods

    name, reason = plan.method, f"{plan.method} was asked for"
    if name == "auto":
        name, reason = choose_method(volumes, classes, small=small)
    kind = methods.get(name)
    try:
        return kind.preset(plan.preset, small=small, **plan.settings), reason
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        valid = ", ".join(kind.model_fields)
        raise InputError(
            f"The setting {field!r} of {name} cannot be {first['input']!r}: {first['msg']}. Its settings are {valid}."
        ) from None


def choose_method(volumes: Sequence[TrainingVolume], classes: int, *, small: bool) -> tuple[str, str]:
    """Choose a method.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
    classes : int
        Number of classes with background.
    small : bool
        No GPU helps.

    Returns
    -------
    name, reason
        The reason is one sentence for the annotator.
    """
    parts = [(volume.labels != UNSAID).mean(axis=(1, 2)) for volume in volumes]
    said = np.concatenate(parts)
    labelled, scribbled = int((said > 0).sum()), int(((said > 0) & (said < COMPLETE_SHARE)).sum())
    others = int((said < COMPLETE_SHARE).sum())
    what = f"{labelled} of {len(said)} slices can be learned from"  # Held-out ones are annotated, too.
    if scribbled:
        what += f", {scribbled} of them by scribbles"
    if others == 0:
        return "bcll", f"{what}, so nothing is left for semi-supervision: boundary contrast sharpens the edges"
    carried = any((part > 0).sum() >= 2 for part in parts)
    machine = "" if not small else " and there is no GPU"
    if carried and classes <= _MOST_CARRIED:
        taught = "a network learns from them, from where a random walk carries them and from its own average"
        return "walk_teaching", f"{what}{machine}: {taught} on the {others} others"
    pair = "two small networks" if small else "a CNN and a Transformer"
    return "mcscv2", f"{what}{machine}: {pair} teach each other on the {others} others"
