"""What ``auto`` trains, by what is annotated and by the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_semiseg.data.volumes import COMPLETE_SHARE, UNSAID, TrainingVolume
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import InputError

_MOST_GUIDED = 24  # classes; a guide is a further input channel for each, too many for a small network

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
    settings: dict[str, Any] = {}
    if name == "auto":
        name, settings, reason = choose_method(volumes, classes, small=small)
    kind = methods.get(name)
    try:
        return kind.preset(plan.preset, small=small, **{**settings, **plan.settings}), reason
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        valid = ", ".join(kind.model_fields)
        raise InputError(
            f"The setting {field!r} of {name} cannot be {first['input']!r}: {first['msg']}. Its settings are {valid}."
        ) from None


def choose_method(volumes: Sequence[TrainingVolume], classes: int, *, small: bool) -> tuple[str, dict[str, Any], str]:
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
    name, settings, reason
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
        return "bcll", {}, f"{what}, so nothing is left for semi-supervision: boundary contrast sharpens the edges"
    if not small:
        return "mcscv2", {}, f"{what}: a CNN and a Transformer teach each other on the {others} others"
    carried = any((part > 0).sum() >= 2 for part in parts)
    if carried and classes <= _MOST_GUIDED:
        reason = (
            f"{what} and there is no GPU: a small network learns from them and from where a random walk carries them"
        )
        return "supervised", {"guidance": True}, reason
    return "mcscv2", {}, f"{what} and there is no GPU: two small networks teach each other on the {others} others"
