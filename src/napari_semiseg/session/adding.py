"""A volume that is about to be added to a session, and what is known of it already."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_semiseg import io
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry, Volume
from napari_semiseg.session.annotation import Annotation
from napari_semiseg.session.images import record_of
from napari_semiseg.session.masks import from_mask
from napari_semiseg.session.schema import SliceState, VolumeRecord, safe_id
from napari_semiseg.session.storage import storing


@dataclass(frozen=True)
class Addition:
    """A volume that is about to be added.

    Attributes
    ----------
    record : VolumeRecord
    said : ndarray of uint8, shape (planes, rows, columns)
        Class ids; 255 not painted, 0 a background stroke.
    states : list of SliceState
        One per plane.
    """

    record: VolumeRecord
    said: np.ndarray
    states: list[SliceState]

    @property
    def class_ids(self) -> set[int]:
        """Ids of the classes that are labelled."""
        return set(np.unique(self.said).tolist()) - {0, UNSAID}

    def write_annotation(self, folder: Path) -> Annotation:
        """Write what is labelled into the volume's folder.

        Raises
        ------
        StorageError
        """
        annotation = Annotation.create(folder, self.record.geometry.shape)
        for plane, state in enumerate(self.states):
            if state != SliceState.UNLABELLED:
                annotation.set_plane(plane, self.said[plane])
                annotation.set_state(plane, state)
        annotation.flush()
        return annotation


def labelled(
    volume: Volume, volume_id: str, source: Path, labels: str | Path | None, complete: Collection[int], replaced: bool
) -> Addition:
    """Return an image that was read, with what a mask says of it.

    Parameters
    ----------
    volume : Volume
    volume_id : str
    source : Path
        Where the image was read.
    labels : path, or None
        Mask on the image's grid.
    complete : collection of int
        Planes that are complete whatever the mask carries there.
    replaced : bool
        Whether values that are not finite were replaced when the image was read.

    Raises
    ------
    InputError
        If the mask or the plane numbers cannot be used.
    """
    mask = io.read_mask(labels, volume.geometry) if labels is not None else None
    planes = volume.geometry.shape[0]
    beyond = [plane for plane in complete if not 0 <= plane < planes]
    if beyond:
        raise InputError(f"{source} has slices 0 to {planes - 1}; slice {beyond[0]} cannot be complete.")
    record = record_of(volume_id, volume, source, replaced=replaced)
    return Addition(record, *from_mask(mask, volume.geometry.shape, complete))


def stored(data: np.ndarray, geometry: Geometry, name: str, folder: Path) -> Addition:
    """Write an image that comes from memory into the folder of its volume, on which nothing is painted yet.

    Parameters
    ----------
    data : ndarray, shape (planes, rows, columns)
    geometry : Geometry
    name : str
    folder : Path
        Its name is the id of the volume.

    Raises
    ------
    InputError, StorageError
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    source = folder / "image.nii.gz"
    io.write_map(source, np.asarray(data, dtype=np.float32), geometry)
    volume = io.read_volume(source, axis=geometry.axes[0])
    return Addition(record_of(folder.name, volume, source, name=name), *from_mask(None, volume.geometry.shape, ()))


def free_volume_id(name: str, folder: Path, taken: Collection[str]) -> str:
    """Return an id for a name that no volume has and no folder, be it the leftover of a crash.

    Parameters
    ----------
    name : str
    folder : Path
        That of all volumes.
    taken : collection of str
    """
    with storing(folder):
        leftovers = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return safe_id(name, leftovers | set(taken))
