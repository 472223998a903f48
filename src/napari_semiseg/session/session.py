"""The session folder: everything an annotator did and everything a model produced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from psygnal import Signal

from napari_semiseg import io
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry, Volume
from napari_semiseg.session.annotation import Annotation
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.rounds import Round
from napari_semiseg.session.schema import (
    COLOURS,
    SCHEMA_VERSION,
    LabelClass,
    SessionFile,
    SliceState,
    VolumeRecord,
    parse_session,
    safe_id,
)
from napari_semiseg.session.storage import read_json, storing, write_json

SUFFIX = ".semiseg"


class Session:
    """A session folder that is open.

    Attributes
    ----------
    path : Path
    classes : list of LabelClass
    volumes : dict of str to VolumeRecord
        By volume id, in the order they were added.
    """

    classes_changed = Signal()
    volumes_changed = Signal()
    slice_changed = Signal(str, int)
    rounds_changed = Signal()
    problem = Signal(str)

    def __init__(self, path: Path, content: SessionFile) -> None:
        self.path = path
        self.classes = list(content.classes)
        self.volumes = {record.id: record for record in content.volumes}
        self.settings = dict(content.settings)
        self._annotations: dict[str, Annotation] = {}
        self._verified: set[str] = set()

    # -- creating and opening ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, *, classes: Mapping[int, str] | None = None) -> Session:
        """Create an empty session folder.

        Parameters
        ----------
        path : path
            Must not exist yet, or be an empty folder.
        classes : mapping of int to str, optional
            Names by class id.

        Raises
        ------
        InputError
            If there is something at the path already.
        StorageError
        """
        path = Path(path).absolute()
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} exists already; choose another name or open it.")
        with storing(path):
            path.mkdir(parents=True, exist_ok=True)
        session = cls(path, SessionFile(schema_version=SCHEMA_VERSION, classes=[], volumes=[]))
        for class_id, name in (classes or {}).items():
            session.classes.append(session._new_class(int(class_id), name))
        session._save()
        return session

    @classmethod
    def open(cls, path: str | Path) -> Session:
        """Open a session folder.

        Raises
        ------
        InputError
            If it is none, damaged, or of a newer version.
        """
        path = Path(path).absolute()
        if not path.is_dir():
            raise InputError(f"{path} is not a session folder; `semiseg new` creates one.")
        if not (path / "session.json").is_file():
            raise InputError(f"{path} holds no session.json, so it is not a session folder; `semiseg new` creates one.")
        return cls(path, parse_session(read_json(path / "session.json"), path))

    def close(self) -> None:
        """Write what is not on disk yet.

        Raises
        ------
        StorageError
        """
        for annotation in self._annotations.values():
            annotation.flush()

    @property
    def name(self) -> str:
        """Name of the session: that of its folder without the suffix."""
        return self.path.name.removesuffix(SUFFIX)

    def move(self, path: str | Path) -> None:
        """Move the session folder ("Save as…").

        Raises
        ------
        InputError
            If there is something at the new place.
        StorageError
        """
        self.close()
        path = Path(path).absolute()
        if path.exists():
            raise InputError(f"{path} exists already; choose another name.")
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.path, path)
        old, self.path = self.path, path
        for volume, annotation in self._annotations.items():
            annotation.folder = self._folder(volume)
        self.volumes = {
            i: r.model_copy(update={"source": path / r.source.relative_to(old)}) if r.source.is_relative_to(old) else r
            for i, r in self.volumes.items()
        }
        self._save()

    def _save(self) -> None:
        content = {
            "schema_version": SCHEMA_VERSION,
            "classes": [c.model_dump() for c in self.classes],
            "volumes": [record.to_json(self.path) for record in self.volumes.values()],
            "settings": self.settings,
        }
        write_json(self.path / "session.json", content)

    # -- volumes ----------------------------------------------------------------------------------------------

    def add_volume(
        self,
        source: str | Path,
        *,
        labels: str | Path | None = None,
        complete_slices: Collection[int] = (),
        axis: int | None = None,
        frame: int | None = None,
        series: str | None = None,
        replace_nonfinite: bool = False,
    ) -> VolumeRecord:
        """Add an image, and what is labelled on it already.

        Parameters
        ----------
        source : path
        labels : path, optional
            Mask on the image's grid. With 255 in it, planes without any 255 are complete and planes that say
            something are scribbled; without, planes that carry a label are complete and the others unlabelled.
        complete_slices : collection of int
            Further planes that are complete.
        axis, frame, series, replace_nonfinite
            See `napari_semiseg.io.read_volume`.

        Raises
        ------
        InputError
            If image, mask or plane numbers cannot be used; the session is left as it was.
        StorageError
        """
        source = Path(source).absolute()
        volume = io.read_volume(source, axis=axis, frame=frame, series=series, replace_nonfinite=replace_nonfinite)
        mask = io.read_mask(labels, volume.geometry) if labels is not None else None
        planes = volume.geometry.shape[0]
        beyond = [plane for plane in complete_slices if not 0 <= plane < planes]
        if beyond:
            raise InputError(f"{source} has slices 0 to {planes - 1}; slice {beyond[0]} cannot be complete.")
        said, states = from_mask(mask, volume.geometry.shape, complete_slices)
        record = VolumeRecord(
            id=safe_id(volume.name, self.volumes),
            name=volume.name,
            source=source,
            frame=volume.frame,
            series=volume.series,
            axis=volume.geometry.axes[0],
            hash=io.content_hash(source, volume.series),
            geometry=volume.geometry,
            notes=volume.notes,
            replace_nonfinite=replace_nonfinite,
        )
        return self._add(record, said, states)

    def add_array(self, data: np.ndarray, geometry: Geometry, name: str) -> VolumeRecord:
        """Add an image that comes from memory; it is stored in the session.

        Parameters
        ----------
        data : ndarray, shape (planes, rows, columns)
        geometry : Geometry
        name : str

        Raises
        ------
        InputError, StorageError
        """
        volume_id = safe_id(name, self.volumes)
        folder = self._folder(volume_id)
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        source = folder / "image.nii.gz"
        io.write_map(source, np.asarray(data, dtype=np.float32), geometry)
        stored = io.read_volume(source, axis=geometry.axes[0])
        record = VolumeRecord(
            id=volume_id,
            name=name,
            source=source,
            axis=stored.geometry.axes[0],
            hash=io.content_hash(source),
            geometry=stored.geometry,
        )
        return self._add(record, *from_mask(None, stored.geometry.shape, ()))

    def _add(self, record: VolumeRecord, said: np.ndarray, states: list[SliceState]) -> VolumeRecord:
        annotation = Annotation.create(self._folder(record.id), record.geometry.shape)
        for plane, state in enumerate(states):
            if state != SliceState.UNLABELLED:
                annotation.set_plane(plane, said[plane])
                annotation.set_state(plane, state)
        annotation.flush()
        self._annotations[record.id] = annotation
        known = {c.id for c in self.classes}
        for class_id in sorted({int(i) for i in np.unique(said)} - {0, UNSAID} - known):
            self.classes.append(self._new_class(class_id, f"class {class_id}"))
        self.volumes[record.id] = record
        self._save()
        self.volumes_changed.emit()
        return record

    def load_volume(self, volume_id: str) -> Volume:
        """Read a volume's image.

        Raises
        ------
        InputError
            If the file was moved or is not the one that was annotated.
        """
        record = self._record(volume_id)
        if not record.source.exists():
            raise InputError(f"The image {record.source} of {record.name} is gone; bring it back to that place.")
        if volume_id not in self._verified:
            if io.content_hash(record.source, record.series) != record.hash:
                raise InputError(
                    f"The image {record.source} is not the one that was annotated (its content changed); bring the "
                    "original back or start a new session."
                )
            self._verified.add(volume_id)
        volume = io.read_volume(
            record.source,
            axis=record.axis,
            frame=record.frame,
            series=record.series,
            replace_nonfinite=record.replace_nonfinite,
        )
        if volume.geometry.shape != record.geometry.shape:
            raise InputError(
                f"{record.source} has the shape {volume.geometry.shape} instead of {record.geometry.shape}; "
                "bring the original back."
            )
        return Volume(
            volume.data, record.geometry, record.name, record.source, record.frame, record.series, record.notes
        )

    def annotation(self, volume_id: str) -> Annotation:
        """Return what was painted on a volume; the same object at every call.

        Raises
        ------
        InputError
            If its files are damaged.
        """
        if volume_id not in self._annotations:
            record = self._record(volume_id)
            self._annotations[volume_id] = Annotation.open(self._folder(volume_id), record.geometry.shape)
        return self._annotations[volume_id]

    def _record(self, volume_id: str) -> VolumeRecord:
        if volume_id not in self.volumes:
            raise InputError(f"The session has no volume {volume_id!r}; it has {', '.join(self.volumes) or 'none'}.")
        return self.volumes[volume_id]

    def _folder(self, volume_id: str) -> Path:
        return self.path / "volumes" / volume_id

    # -- classes ----------------------------------------------------------------------------------------------

    def add_class(self, name: str, colour: str | None = None, key: str | None = None) -> LabelClass:
        """Add a class with the next free id.

        Raises
        ------
        InputError
            If 254 classes exist, or the name is taken.
        """
        taken = {c.id for c in self.classes}
        free = next((i for i in range(1, UNSAID) if i not in taken), None)
        if free is None:
            raise InputError("The session has 254 classes, the most there can be; remove one first.")
        self._check_name(name, None)
        added = self._new_class(free, name, colour, key)
        self.classes.append(added)
        self._changed_classes()
        return added

    def update_class(
        self, class_id: int, *, name: str | None = None, colour: str | None = None, key: str | None = None
    ) -> LabelClass:
        """Rename or recolour a class, or give it another key; a key that another class has moves over.

        Raises
        ------
        InputError
            If there is no such class, or the name is taken.
        """
        index = self._class_index(class_id)
        if name is not None:
            self._check_name(name, class_id)
        if key:
            self.classes = [c.model_copy(update={"key": ""}) if c.key == key else c for c in self.classes]
        changes = {k: v for k, v in {"name": name, "colour": colour, "key": key}.items() if v is not None}
        updated = LabelClass.model_validate({**self.classes[index].model_dump(), **changes})
        self.classes[index] = updated
        self._changed_classes()
        return updated

    def remove_class(self, class_id: int, *, erase: bool = False) -> None:
        """Remove a class.

        Parameters
        ----------
        class_id : int
        erase : bool
            Also erase what is painted of it, which becomes unpainted.

        Raises
        ------
        InputError
            If the class is painted and ``erase`` is false.
        """
        index = self._class_index(class_id)
        painted = {v: np.flatnonzero((self.annotation(v).said == class_id).any(axis=(1, 2))) for v in self.volumes}
        count = sum(len(planes) for planes in painted.values())
        if count and not erase:
            raise InputError(
                f"The class {self.classes[index].name!r} is painted on {count} slice{'s' * (count > 1)}; "
                "confirm that it may be erased there."
            )
        for volume_id, planes in painted.items():
            annotation = self.annotation(volume_id)
            for plane in planes.tolist():
                said = annotation.said[plane].copy()
                said[said == class_id] = UNSAID
                annotation.set_plane(plane, said)
                self.slice_changed.emit(volume_id, plane)
            annotation.flush()
        del self.classes[index]
        self._changed_classes()

    def _class_index(self, class_id: int) -> int:
        for index, label_class in enumerate(self.classes):
            if label_class.id == class_id:
                return index
        raise InputError(f"The session has no class {class_id}.")

    def _check_name(self, name: str, own_id: int | None) -> None:
        if not name.strip():
            raise InputError("A class needs a name.")
        if any(c.name == name and c.id != own_id for c in self.classes):
            raise InputError(f"There is a class {name!r} already; choose another name.")

    def _new_class(self, class_id: int, name: str, colour: str | None = None, key: str | None = None) -> LabelClass:
        if not 1 <= class_id <= 254:
            raise InputError(f"The class id {class_id} cannot be used; ids are 1 to 254.")
        taken_colours, taken_keys = {c.colour for c in self.classes}, {c.key for c in self.classes}
        free_colour = next((c for c in COLOURS if c not in taken_colours), COLOURS[class_id % len(COLOURS)])
        free_key = next((k for k in "123456789" if k not in taken_keys), "")
        return LabelClass(
            id=class_id, name=name.strip(), colour=colour or free_colour, key=free_key if key is None else key
        )

    def _changed_classes(self) -> None:
        self._save()
        self.classes_changed.emit()

    # -- rounds -----------------------------------------------------------------------------------------------

    def rounds(self) -> list[Round]:
        """Return all rounds, the oldest first."""
        folder = self.path / "rounds"
        if not folder.is_dir():
            return []
        return [
            Round(path) for path in sorted(folder.iterdir()) if path.name.isdigit() and (path / "config.json").exists()
        ]

    def latest_round(self, finished: bool = True) -> Round | None:
        """Return the last round; with ``finished`` the last one that has a model."""
        for found in reversed(self.rounds()):
            if not finished or found.has_model:
                return found
        return None

    def latest_prediction(self, volume_id: str) -> StoredPrediction | None:
        """Return the newest prediction of a volume, of whichever round."""
        for found in reversed(self.rounds()):
            prediction = found.prediction(volume_id)
            if prediction is not None:
                return prediction
        return None

    def new_round_path(self) -> Path:
        """Create the folder of the next round."""
        numbers = [found.number for found in self.rounds()]
        folder = self.path / "rounds"
        number = max(numbers, default=0) + 1
        with storing(folder):
            while True:
                path = folder / f"{number:04d}"
                try:
                    path.mkdir(parents=True)
                    return path
                except FileExistsError:
                    number += 1

    def training_volumes(self, since: Round | None = None) -> tuple[list[TrainingVolume], tuple[int, ...]]:
        """Return what the engine learns from.

        Parameters
        ----------
        since : Round, optional
            Planes whose labels changed after this round, and that were annotated then or are now, count as corrected.

        Returns
        -------
        volumes : list of TrainingVolume
            Labels are class indices.
        class_ids : tuple of int
            Class id of each index; the first is 0.
        """
        class_ids = (0, *sorted(c.id for c in self.classes))
        table = np.full(256, UNSAID, np.uint8)
        for index, class_id in enumerate(class_ids):
            table[class_id] = index
        volumes = []
        for volume_id in self.volumes:
            volume, annotation = self.load_volume(volume_id), self.annotation(volume_id)
            before = since.digests.get(volume_id, {}) if since is not None else {}
            corrected = (
                {p for p in annotation.annotated_planes() if annotation.digest(p) != before.get(str(p))}
                if since is not None
                else set()
            )
            volumes.append(
                TrainingVolume(
                    volume_id, volume.data, volume.geometry.spacing, table[annotation.resolved()], frozenset(corrected)
                )
            )
        return volumes, class_ids

    def digests(self) -> dict[str, dict[str, str]]:
        """Return the fingerprint of every annotated plane, by volume and plane."""
        return {
            volume_id: {
                str(p): self.annotation(volume_id).digest(p) for p in self.annotation(volume_id).annotated_planes()
            }
            for volume_id in self.volumes
        }


def from_mask(
    mask: np.ndarray | None, shape: tuple[int, int, int], complete_slices: Collection[int]
) -> tuple[np.ndarray, list[SliceState]]:
    """Turn a mask into said values and slice states; see `Session.add_volume`."""
    said = np.full(shape, UNSAID, np.uint8)
    states = [SliceState.UNLABELLED] * shape[0]
    if mask is not None:
        unsaid = mask == UNSAID
        partial = bool(unsaid.any())
        for plane in range(shape[0]):
            if partial and unsaid[plane].all():
                continue
            if not partial and not mask[plane].any():
                continue
            whole = not unsaid[plane].any()
            states[plane] = SliceState.COMPLETE if whole else SliceState.SCRIBBLED
            # What is background on a complete plane need not be painted.
            said[plane] = np.where(mask[plane] == 0, UNSAID, mask[plane]) if whole else mask[plane]
    for plane in complete_slices:
        states[plane] = SliceState.COMPLETE
    return said, states


def default_folder() -> Path:
    """Return where sessions are created: ``napari-semiseg`` in the user's documents."""
    from platformdirs import user_documents_path

    return Path(os.environ.get("SEMISEG_SESSIONS", user_documents_path() / "napari-semiseg"))


def default_path(name: str) -> Path:
    """Return a place for a new session of a name that is not taken yet."""
    folder = default_folder()
    stem = safe_id(name, ())
    number = 1
    while (path := folder / f"{stem}{'' if number == 1 else f'-{number}'}{SUFFIX}").exists():
        number += 1
    return path
