"""What ``auto`` trains, by what is annotated and by the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_semiseg.data.volumes import COMPLETE_SHARE, UNSAID, TrainingVolume


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
