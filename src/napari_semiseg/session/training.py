"""From what was annotated to what the engine learns from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.io import Volume
from napari_semiseg.session.annotation import Annotation


def to_training(
    volume: Volume,
    volume_id: str,
    annotation: Annotation,
    class_ids: Sequence[int],
    before: Mapping[str, str] | None,
    held_out: Collection[int] = (),
    judged: Collection[int] = (),
) -> TrainingVolume:
    """Turn a volume and its annotation into class indices.

    Parameters
    ----------
    volume : Volume
    volume_id : str
    annotation : Annotation
    class_ids : sequence of int
        Class id of each index; ids that are not among them are not said.
    before : mapping of str to str, or None
        Fingerprints of the planes that were annotated when the last round began: annotated planes that differ from
        them count as corrected. None if there was no round.
    held_out : collection of int
        Planes that are not learned from.
    judged : collection of int
        Those of them that the model may be judged by.
    """
    table = np.full(256, UNSAID, np.uint8)
    table[list(class_ids)] = np.arange(len(class_ids))
    corrected = (
        frozenset()
        if before is None
        else frozenset(p for p in annotation.annotated_planes() if annotation.digest(p) != before.get(str(p)))
    )
    labels = table[annotation.resolved()]
    aside = {plane: labels[plane].copy() for plane in sorted(held_out) if (labels[plane] != UNSAID).any()}
    labels[list(aside)] = UNSAID
    return TrainingVolume(
        volume_id,
        volume.data,
        volume.geometry.spacing,
        labels,
        corrected - set(aside),
        held_out=aside,
        judged=frozenset(judged) & frozenset(aside),
        descending=volume.geometry.descending,
    )
