"""What was painted on one volume, plane by plane."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session.chunks import DurableStore
from napari_semiseg.session.schema import SliceState
from napari_semiseg.session.storage import storing
from napari_semiseg.session.versions import SLICES

UNSAID = 255
SILENT = (SliceState.UNLABELLED, SliceState.PROPOSED)
"""States of planes that say nothing."""
_SAYS = {SliceState.UNLABELLED: 0, SliceState.PROPOSED: 0, SliceState.SCRIBBLED: 1}  # complete and reviewed: 2


def swap_unsaid(array: np.ndarray) -> np.ndarray:
    """Swap 0 and 255: between said values (255 not painted, 0 background stroke) and napari's (0 and 255).

    Parameters
    ----------
    array : ndarray of uint8, any shape

    Returns
    -------
    ndarray of uint8, same shape
        A copy; applied twice it gives the input.
    """
    table = np.arange(256, dtype=np.uint8)
    table[0], table[UNSAID] = UNSAID, 0
    return table[array]


def resolve(said: np.ndarray, states: Sequence[SliceState]) -> np.ndarray:
    """Return what painted planes say by their states.

    Parameters
    ----------
    said : ndarray of uint8, shape (planes, rows, columns)
        Class ids as painted; 255 not painted, 0 a background stroke.
    states : sequence of SliceState
        One per plane.

    Returns
    -------
    ndarray of uint8, same shape
        A copy: 0 background, 255 not said.
    """
    result = said.copy()
    for plane, state in zip(result, states, strict=True):
        if state in SILENT:
            plane[:] = UNSAID
        elif state in (SliceState.COMPLETE, SliceState.REVIEWED):
            plane[plane == UNSAID] = 0
    return result


class Annotation:
    """Said values and slice states of a volume, in memory and on disk.

    Attributes
    ----------
    may_write : callable
        Asked before every writing; while it returns False, `flush` writes nothing and everything stays to be written.
    said : ndarray of uint8, shape (planes, rows, columns)
        Class ids as painted; 255 not painted, 0 a background stroke.
    states : list of SliceState
        One per plane.
    revisions : list of int
        How often each plane was changed.
    held_out : set of int
        Planes that are set aside to judge models by.
    decided : dict of int to bool
        Those of which the annotator said whether they are set aside; of the others the program decides.
    healed : list of int
        Planes that were found painted without a state, since a crash came between the two: they are scribbled now.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        self.folder = folder
        self.may_write: Callable[[], bool] = lambda: True
        self.said = np.full(shape, UNSAID, np.uint8)
        self.states = [SliceState.UNLABELLED] * shape[0]
        self.revisions = [0] * shape[0]
        self.held_out: set[int] = set()
        self.decided: dict[int, bool] = {}
        self.healed: list[int] = []
        self._dirty: set[int] = set()
        self._states_dirty = False
        self._stored: dict[str, dict[str, Any]] = {}  # what slices.json says
        self._lock = threading.RLock()
        self._writing = threading.Lock()

    @classmethod
    def create(
        cls,
        folder: Path,
        shape: tuple[int, int, int],
        *,
        said: np.ndarray | None = None,
        record: Mapping[str, Any] | None = None,
        lost: Collection[int] = (),
    ) -> Annotation:
        """Create an annotation on disk.

        Parameters
        ----------
        folder : Path
        shape : tuple of 3 ints
            Planes, rows, columns.
        said : ndarray of uint8, shape (planes, rows, columns), optional
            What is painted; nothing by default.
        record : mapping, optional
            What `record` returned; without, planes that are painted are scribbled.
        lost : collection of int
            Planes that count as unlabelled whatever ``record`` says.

        Raises
        ------
        InputError
            If the record makes no sense.
        StorageError
        """
        annotation = cls(folder, shape)
        if said is not None:
            annotation.said[:] = said
            annotation._dirty.update(np.flatnonzero((said != UNSAID).any(axis=(1, 2))).tolist())
        if record is not None:
            annotation.take_record(record)
        for plane in lost:
            annotation.set_state(plane, SliceState.UNLABELLED)
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            zarr.create_array(
                DurableStore(folder / "annotation.zarr"),
                shape=shape,
                chunks=(1, *shape[1:]),
                dtype="uint8",
                fill_value=UNSAID,
                overwrite=False,
            )
        annotation._heal()
        annotation._states_dirty = True
        annotation.flush()
        return annotation

    @classmethod
    def open(cls, folder: Path, shape: tuple[int, int, int]) -> Annotation:
        """Read an annotation.

        Raises
        ------
        InputError
            If its files are damaged or do not fit the volume.
        """
        try:
            stored = zarr.open_array(folder / "annotation.zarr", mode="r")
            if stored.shape != shape or stored.dtype != np.uint8:
                raise ValueError(f"shape {stored.shape} instead of {shape}")
            annotation = cls(folder, shape)
            annotation.said[:] = stored[:]
        except (ValueError, TypeError, OSError, KeyError, RuntimeError, zarr.errors.BaseZarrError) as error:
            raise InputError(f"{folder / 'annotation.zarr'} is damaged ({error}); restore it from a backup.") from None
        record = SLICES.read(folder / "slices.json")
        annotation.take_record(record)
        annotation._stored = dict(record["slices"])
        annotation._heal()
        return annotation

    def take_record(self, record: Mapping[str, Any]) -> None:
        """Take over what `record` returned.

        Raises
        ------
        InputError
            If it makes no sense.
        """
        try:
            for key, entry in record["slices"].items():
                plane = int(key)
                if not 0 <= plane < len(self.states):
                    raise ValueError(f"plane {plane}")
                self.states[plane] = SliceState(entry["state"])
                self.revisions[plane] = int(entry["revision"])
                if entry.get("held_out"):
                    self.held_out.add(plane)
                if entry.get("decided"):
                    self.decided[plane] = bool(entry.get("held_out"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            place = self.folder / "slices.json"
            raise InputError(f"{place} is damaged ({error}); restore it from a backup.") from None

    def _heal(self) -> None:
        """Make planes scribbled that are painted and whose state nobody wrote."""
        for plane in np.flatnonzero((self.said != UNSAID).any(axis=(1, 2))).tolist():
            if self.revisions[plane] == 0:
                self.set_state(plane, SliceState.SCRIBBLED)
                self.healed.append(plane)

    def set_plane(self, plane: int, said: np.ndarray) -> None:
        """Replace what is painted on a plane.

        Parameters
        ----------
        plane : int
        said : ndarray of uint8, shape (rows, columns)
        """
        with self._lock:
            self.said[plane] = said
            self.mark_dirty(plane)

    def change(self, planes: Mapping[int, np.ndarray], states: Mapping[int, SliceState]) -> None:
        """Replace what is painted on planes, and states; whoever reads or writes meanwhile sees all of it or nothing.

        Parameters
        ----------
        planes : mapping of int to ndarray of uint8, shape (rows, columns)
        states : mapping of int to SliceState
        """
        with self._lock:
            for plane, said in planes.items():
                self.set_plane(plane, said)
            for plane, state in states.items():
                self.set_state(plane, state)

    def mark_dirty(self, plane: int) -> None:
        """Tell that a plane of `said` was changed in place."""
        with self._lock:
            self.revisions[plane] += 1
            self._dirty.add(plane)
            self._states_dirty = True

    def set_state(self, plane: int, state: SliceState) -> None:
        """Change the state of a plane."""
        with self._lock:
            if self.states[plane] != state:
                self.states[plane] = state
                self.revisions[plane] += 1
                self._states_dirty = True

    def hold_out(self, plane: int, held: bool, *, decided: bool = True) -> None:
        """Set a plane aside to judge models by, or have it learned from.

        Parameters
        ----------
        plane : int
        held : bool
        decided : bool
            Whether the annotator says so; the program then leaves it as it is.
        """
        with self._lock:
            (self.held_out.add if held else self.held_out.discard)(plane)
            if decided:
                self.decided[plane] = held
            self._states_dirty = True

    @property
    def is_dirty(self) -> bool:
        """Whether something is not on disk yet."""
        return bool(self._dirty) or self._states_dirty

    @property
    def has_unsaved_strokes(self) -> bool:
        """Whether something was painted that is not on disk yet."""
        return bool(self._dirty)

    def flush(self) -> list[int]:
        """Write changed planes and the states; what fails stays to be written.

        Returns
        -------
        list of int
            The planes written.

        Raises
        ------
        StorageError
            If the disk refuses; nothing is lost in memory.
        """
        with self._writing:
            if not self.may_write():
                return []
            with self._lock:
                # States and voxels of one moment: what changes while they are written is written next time.
                planes = sorted(self._dirty)
                content = {plane: self.said[plane].copy() for plane in planes}
                record = self.record()["slices"] if self._states_dirty else None
                self._states_dirty = False
            try:
                # A plane that a crash leaves in between counts for too little, never for too much: a state that says
                # less is on disk before the voxels, one that says more after them.
                with storing(self.folder / "annotation.zarr"):
                    stored = self._array() if planes else None  # what is wrong with the folder is told first
                if record is not None and (weaker := self._weaker(planes, record)):
                    self._write_record({**self._stored, **weaker})
                if stored is not None:
                    self._write_planes(stored, content)
                if record is not None:
                    self._write_record(record)
            except BaseException:
                self._states_dirty |= record is not None
                raise
            return planes

    def _weaker(self, planes: list[int], record: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return what is to be stored of those planes that shall say less than they do on disk."""
        found = {}
        for plane in map(str, planes):
            # Painted planes without a record count as scribbled; see `_heal`.
            before = SliceState(self._stored.get(plane, {}).get("state", SliceState.SCRIBBLED))
            if _SAYS.get(SliceState(record[plane]["state"]), 2) < _SAYS.get(before, 2):
                found[plane] = {**self._stored.get(plane, {}), **record[plane]}
        return found

    def _write_planes(self, stored: zarr.Array, content: Mapping[int, np.ndarray]) -> None:
        with storing(self.folder / "annotation.zarr"):
            for plane, said in content.items():
                stored[plane] = said
        with self._lock:
            # A plane painted on while it was being written stays dirty.
            self._dirty -= {plane for plane, said in content.items() if np.array_equal(self.said[plane], said)}

    def _write_record(self, slices: dict[str, dict[str, Any]]) -> None:
        SLICES.write(self.folder / "slices.json", {"slices": slices})
        self._stored = slices

    def _array(self) -> zarr.Array:
        place = self.folder / "annotation.zarr"
        try:
            (place / "zarr.json").stat()  # zarr would create the folder anew
            return zarr.open_array(DurableStore(place), mode="r+")
        except (ValueError, KeyError, FileNotFoundError, zarr.errors.BaseZarrError) as error:
            raise StorageError(
                f"'{place}' cannot be written: it was removed or damaged while the session was open. Bring the session "
                "folder back, or save the session elsewhere."
            ) from error

    def resolved(self, planes: slice | int = slice(None)) -> np.ndarray:
        """Return what is said: unpainted voxels of complete and reviewed planes are background.

        Unlabelled and proposed planes say nothing, whatever is painted there.

        Returns
        -------
        ndarray of uint8, shape (planes, rows, columns)
            Class ids; 0 background, 255 not said.
        """
        chosen = list(range(*planes.indices(len(self.said)))) if isinstance(planes, slice) else [planes]
        with self._lock:
            return resolve(self.said[chosen], [self.states[plane] for plane in chosen])

    def planes_with(self, class_id: int) -> list[int]:
        """Return the planes on which a class is painted."""
        return np.flatnonzero((self.said == class_id).any(axis=(1, 2))).tolist()

    def annotated_planes(self) -> list[int]:
        """Return the planes that say something."""
        return [plane for plane, state in enumerate(self.states) if state not in SILENT]

    def digest(self, plane: int) -> str:
        """Return a short fingerprint of what a plane says, the same for the same content."""
        return hashlib.blake2b(self.resolved(plane).tobytes(), digest_size=8).hexdigest()

    def digests(self) -> dict[str, str]:
        """Return the fingerprint of every annotated plane, by plane."""
        return {str(plane): self.digest(plane) for plane in self.annotated_planes()}

    def record(self) -> dict[str, Any]:
        """Return what ``slices.json`` says."""
        touched: dict[str, dict[str, Any]] = {
            str(plane): {"state": str(state), "revision": revision}
            for plane, (state, revision) in enumerate(zip(self.states, self.revisions, strict=True))
            if revision or state != SliceState.UNLABELLED
        }
        for plane in self.held_out | set(self.decided):
            entry = touched.setdefault(str(plane), {"state": str(self.states[plane]), "revision": 0})
            entry |= {"held_out": plane in self.held_out, "decided": plane in self.decided}
        return {"slices": touched}
