"""Finished cases: volumes with a reference segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_semiseg import io
from napari_semiseg.data.volumes import UNSAID
from napari_semiseg.errors import InputError
from napari_semiseg.session.schema import SliceState
from napari_semiseg.session.session import Session


@dataclass(frozen=True)
class Case:
    """A volume with its reference.

    Attributes
    ----------
    name : str
    image : ndarray, shape (planes, rows, columns)
        Intensities in the units of the file.
    spacing : tuple of 3 floats
        mm; plane, row, column.
    reference : ndarray of uint8, same shape
        Class ids, 0 background; 255 is neither shown to anybody nor judged.
    """

    name: str
    image: np.ndarray
    spacing: tuple[float, float, float]
    reference: np.ndarray

    def __post_init__(self) -> None:
        if not self.classes():
            raise InputError(f"The reference of {self.name} shows no structure; a finished case shows at least one.")

    def classes(self) -> list[int]:
        """Return the class ids of the reference."""
        return [int(i) for i in np.unique(self.reference) if i not in (0, UNSAID)]

    def shown(self) -> list[int]:
        """Return the planes that show a structure."""
        structure = (self.reference > 0) & (self.reference != UNSAID)
        return [int(plane) for plane in np.flatnonzero(structure.any(axis=(1, 2)))]


def read_case(image: str | Path, reference: str | Path, *, axis: int | None = None) -> Case:
    """Read a volume and its reference.

    Parameters
    ----------
    image, reference : path
        The mask lies on the image's grid; axes may be permuted or flipped.
    axis : int, optional
        File axis along which slices are counted.

    Raises
    ------
    InputError
        If a file cannot be read, the grids differ, or the reference shows no structure.
    """
    volume = io.read_volume(image, axis=axis)
    mask = io.read_mask(reference, volume.geometry)
    return Case(_stem(Path(image)), volume.data, volume.geometry.spacing, mask)


def cases_of(session: Session) -> list[Case]:
    """Return the volumes of a session whose complete slices show a structure; other slices are not judged.

    Volumes in which some classes were not looked for are left out: their background may be a structure.

    Raises
    ------
    InputError
        If there is none.
    """
    found = []
    for volume_id, record in session.volumes.items():
        annotation = session.annotation(volume_id)
        reference = annotation.resolved().copy()
        finished = (SliceState.COMPLETE, SliceState.REVIEWED)
        reference[[state not in finished for state in annotation.states]] = UNSAID
        if record.looked_for is None and ((reference > 0) & (reference != UNSAID)).any():
            volume = session.load_volume(volume_id)
            found.append(Case(record.name, volume.data, volume.geometry.spacing, reference))
    if not found:
        raise InputError(
            f"No volume of the session {session.path} has a complete slice with a structure; finish some slices first, "
            "or give images with their masks."
        )
    return found


def _stem(path: Path) -> str:
    name = path.name
    while (suffix := Path(name).suffix) and not suffix[1:].isdigit():
        name = name.removesuffix(suffix)
    return name
