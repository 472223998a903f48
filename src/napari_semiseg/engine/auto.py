"""What ``auto`` trains, by what is annotated and by the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_semiseg.data.volumes import COMPLETE_SHARE, UNSAID, TrainingVolume
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import InputError

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
    said = [part for volume in volumes for part in (volume.labels != UNSAID).mean(axis=(1, 2)).tolist()]
    labelled = sum(part > 0 for part in said)
    scribbled = sum(0 < part < COMPLETE_SHARE for part in said)
    unlabelled = len(said) - labelled
    what = f"{labelled} of {len(said)} slices {'are' if labelled != 1 else 'is'} annotated"
    if scribbled:
        what += f", {scribbled} of them by scribbles"
    if unlabelled == 0 and scribbled == 0:
        return "bcll", {}, f"{what}, so nothing is left for semi-supervision: boundary contrast sharpens the edges"
    if small:
        return (
            "mcscv2",
            {},
            f"{what} and there is no GPU: two small networks teach each other on the {unlabelled + scribbled} others",
        )
    return "mcscv2", {}, f"{what}: a CNN and a Transformer teach each other on the {unlabelled + scribbled} others"
