"""What reading gives: a volume, and what a reader of one format hands over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_semiseg.io.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional greyscale image.

    Attributes
    ----------
    data : ndarray, shape (planes, rows, columns)
        Intensities in the units of the file; float32 where the file scales its numbers.
    geometry : Geometry
        Where the voxels lie, and how to write arrays of this shape back.
    name : str
        Name for people, from the file name.
    source : Path or None
        File or folder it was read from.
    frame : int or None
        Chosen time point or channel, None if the file holds one volume.
    series : str or None
        SeriesInstanceUID of a DICOM series.
    notes : tuple of str
        Sentences about what was decided while reading, for instance which of two affines was taken.
    """

    data: np.ndarray
    geometry: Geometry
    name: str
    source: Path | None = None
    frame: int | None = None
    series: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesInfo:
    """One DICOM series of a folder.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID, or ``"without-uid"`` for files that have none.
    description : str
        SeriesDescription, may be empty.
    modality : str
        ``"CT"``, ``"MR"``, ...
    n_slices : int
        Number of slices (frames of multi-frame files counted singly).
    folder : Path
        Folder of its first file.
    """

    uid: str
    description: str
    modality: str
    n_slices: int
    folder: Path


@dataclass(frozen=True)
class RawImage:
    """What the reader of one format hands over: everything but the choice of a frame.

    Attributes
    ----------
    format : str
        As in `Geometry.format`.
    shape : tuple of 3 ints
        Shape of one volume in file order.
    affine : ndarray, shape (4, 4)
        File voxel indices to RAS+ mm.
    load : callable
        ``load(frame)`` gives the array of one volume in file order.
    frames : list of str
        One description per volume in the file.
    header : dict
        As in `Geometry.header`.
    notes : list of str
        Sentences for the user.
    files : list of Path
        All files that the image is made of.
    series : str or None
        SeriesInstanceUID.
    """

    format: str
    shape: tuple[int, int, int]
    affine: np.ndarray
    load: Callable[[int], np.ndarray]
    frames: list[str] = field(default_factory=lambda: ["the only volume"])
    header: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    series: str | None = None
