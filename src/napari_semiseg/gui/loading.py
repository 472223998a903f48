"""What is read from the disk when a volume is shown; runs on the disk lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_semiseg.gui.entries import Entry
from napari_semiseg.io import Volume
from napari_semiseg.session import Annotation, Session, SliceState
from napari_semiseg.session.annotation import swap_unsaid

if TYPE_CHECKING:
    from napari_semiseg.session import StoredPrediction


@dataclass
class Loaded:
    """A volume with its annotation in layer values, its slice states and its latest prediction."""

    volume: Volume
    values: NDArray[np.uint8]
    states: list[SliceState]
    prediction: StoredPrediction | None = None

    @classmethod
    def empty(cls, entry: Entry) -> Loaded:
        """Return a volume that no session knows, with what was painted on it so far."""
        if entry.volume is None:
            raise ValueError(f"the voxels of {entry.name} are not at hand")
        if entry.painted is not None:
            return cls(entry.volume, *entry.painted)
        shape = entry.volume.data.shape
        return cls(entry.volume, np.zeros(shape, np.uint8), [SliceState.UNLABELLED] * shape[0])


def layer_values(annotation: Annotation) -> NDArray[np.uint8]:
    """Return what was painted in the values of a layer, shape (planes, rows, columns).

    Planes that were never changed say nothing, and memory that is only asked for as zeros costs nothing.
    """
    values = np.zeros(annotation.said.shape, np.uint8)
    for plane in np.flatnonzero(annotation.revisions):
        values[plane] = swap_unsaid(annotation.said[plane])
    return values


def load(session: Session, entry: Entry, volume: Volume) -> Loaded:
    """Read what is painted on a volume of a session that was read, and its prediction.

    Raises
    ------
    InputError
        If they are damaged.
    """
    assert entry.id is not None
    annotation = session.annotation(entry.id)
    return Loaded(
        volume=volume,
        values=layer_values(annotation),
        states=list(annotation.states),
        prediction=session.latest_prediction(entry.id),
    )
