"""Predictions of whole volumes on disk: zarr arrays of uint8, one chunk per plane."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_semiseg.engine.slice_facts import SliceFacts
from napari_semiseg.errors import DamagedError
from napari_semiseg.session.storage import storing

if TYPE_CHECKING:
    from napari_semiseg.engine.maps import Maps


class StoredMap:
    """An array of a stored prediction, read when it is indexed; damage is told in a sentence.

    Parameters
    ----------
    array : zarr array of uint8
    place : Path
        Folder of the prediction.
    """

    def __init__(self, array: Any, place: Path) -> None:
        self._array, self._place = array, place
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = array.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            return np.asarray(self._array[key])
        except (ValueError, TypeError, OSError, RuntimeError, zarr.errors.BaseZarrError) as error:
            raise DamagedError(
                f"The prediction {self._place} cannot be read any more ({error}); predict or train again.", self._place
            ) from None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction that is read lazily, plane by plane.

    Attributes
    ----------
    labels : StoredMap of uint8, shape (planes, rows, columns)
        Class ids.
    entropy : StoredMap of uint8, same shape
        Divided by ln C; 255 ≙ 1.
    disagreement : StoredMap of uint8, same shape, or None
        255 ≙ 1; None where one network predicted.
    probabilities : StoredMap of uint8, shape (C, planes, rows, columns)
        255 ≙ 1.
    class_ids : tuple of int
        Class id of each row of the probabilities.
    measured : SliceFacts or None
        What was measured of each plane when it was predicted.
    """

    labels: Any
    entropy: Any
    disagreement: Any
    probabilities: Any
    class_ids: tuple[int, ...]
    measured: SliceFacts | None = None

    def facts(self) -> SliceFacts:
        """Return how unsure each plane is; that of older predictions is measured now, in a second or two."""
        return self.measured or SliceFacts.of(self.labels, self.entropy, self.disagreement)

    @classmethod
    def open(cls, path: Path) -> StoredPrediction | None:
        """Open a prediction, or return None where there is none or it is damaged."""
        if not path.is_dir():
            # A crash between the two renames of `StoringWriter.close` leaves the earlier prediction under its old name.
            path = next(iter(sorted(path.parent.glob(f".{path.name}.*.old"))), path)
        if not path.is_dir():
            return None
        try:
            group = zarr.open_group(path, mode="r")
            return cls(
                StoredMap(group["labels"], path),
                StoredMap(group["entropy"], path),
                StoredMap(group["disagreement"], path) if "disagreement" in group else None,
                StoredMap(group["probabilities"], path),
                tuple(int(i) for i in group.attrs["class_ids"]),  # type: ignore[union-attr, arg-type]
                SliceFacts.from_json(group.attrs["slices"]) if "slices" in group.attrs else None,
            )
        except (KeyError, ValueError, OSError, TypeError, AttributeError, zarr.errors.BaseZarrError):
            return None


class StoringWriter:
    """Writes a prediction beside its place and moves it there when it is complete.

    Parameters
    ----------
    path : Path
        Final place, a folder ending in ``.zarr``.
    shape : tuple of 3 ints
        Planes, rows, columns.
    class_ids : sequence of int
    disagreement : bool
        Whether there is a disagreement map.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], class_ids: tuple[int, ...], disagreement: bool) -> None:
        self.path = path
        self.beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._remove("partial")  # of a run that was killed
            group = zarr.create_group(self.beside)
            group.attrs["class_ids"] = list(class_ids)
            self._group, self._facts = group, list[SliceFacts]()
            kinds = ["labels", "entropy", *(["disagreement"] if disagreement else [])]
            chunks = (1, *shape[1:])
            self.arrays = {kind: group.create_array(kind, shape=shape, chunks=chunks, dtype="uint8") for kind in kinds}
            self.arrays["probabilities"] = group.create_array(
                "probabilities", shape=(len(class_ids), *shape), chunks=(1, *chunks), dtype="uint8"
            )

    def write(self, first: int, maps: Maps) -> None:
        """Store the planes from ``first`` on.

        Raises
        ------
        StorageError
        """
        planes = slice(first, first + len(maps.labels))
        with storing(self.path):
            self.arrays["labels"][planes] = maps.labels
            self.arrays["entropy"][planes] = maps.entropy
            if "disagreement" in self.arrays and maps.disagreement is not None:
                self.arrays["disagreement"][planes] = maps.disagreement
            self.arrays["probabilities"][:, planes] = maps.probabilities
        self._facts.append(SliceFacts.of(maps.labels, maps.entropy, maps.disagreement))

    def close(self, *, complete: bool) -> None:
        """Publish the prediction if it is complete, else discard it."""
        if not complete:
            shutil.rmtree(self.beside, ignore_errors=True)
            return
        with storing(self.path):
            self._group.attrs["slices"] = SliceFacts.join(self._facts).to_json()
            if self.path.exists():
                self.path.rename(self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.old"))
            self.beside.rename(self.path)
        self._remove("old")

    def _remove(self, kind: str) -> None:
        for folder in self.path.parent.glob(f".{self.path.name}.*.{kind}"):
            shutil.rmtree(folder, ignore_errors=True)
