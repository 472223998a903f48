"""The session folder: everything an annotator did and everything a model produced."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_semiseg import io
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.errors import InputError, NewerError, StorageError
from napari_semiseg.io import Geometry, Volume
from napari_semiseg.session.annotation import Annotation
from napari_semiseg.session.beginnings import beginnings
from napari_semiseg.session.choosing import chosen, looking_for, without_class
from napari_semiseg.session.classes import changed_classes, free_id, index_of, new_class, with_ids
from napari_semiseg.session.damage import mended_annotation
from napari_semiseg.session.folder import SessionFolder
from napari_semiseg.session.holding import judged, settle
from napari_semiseg.session.images import read_image, record_of
from napari_semiseg.session.masks import from_mask
from napari_semiseg.session.predictions import StoredPrediction
from napari_semiseg.session.restoring import by_recency, restore
from napari_semiseg.session.rounds import Round, new_round_in, rounds_in
from napari_semiseg.session.schema import (
    LabelClass,
    SessionFile,
    SliceState,
    VolumeRecord,
    safe_id,
)
from napari_semiseg.session.storage import storing
from napari_semiseg.session.training import to_training

if TYPE_CHECKING:
    from napari_semiseg.engine.plan import Plan


class Session(SessionFolder):
    """A session folder that is open: its volumes, annotations, classes and rounds.

    Attributes
    ----------
    path : Path
    classes : list of LabelClass
    volumes : dict of str to VolumeRecord
        By volume id, in the order they were added.
    why_read_only : str
        Why it cannot be changed by this program; empty if it can.
    reports : list of str
        Sentences about what was found and mended since it was opened.
    lock : SessionLock or None
        While this program holds it.

    Signals
    -------
    classes_changed(), volumes_changed(), rounds_changed()
    slice_changed(volume id, plane)
        The session itself changed what is painted.
    problem(str)
        A sentence about something that was found and mended.
    access_changed()
        It may be changed now, or may not be any more; maybe emitted in another thread.
    """

    classes_changed = Signal()
    volumes_changed = Signal()
    slice_changed = Signal(str, int)
    rounds_changed = Signal()

    def __init__(self, path: Path, content: SessionFile) -> None:
        super().__init__(path, content)
        self._annotations: dict[str, Annotation] = {}
        self._opening = threading.RLock()
        self._verified: set[str] = set()

    def be_read_only(self, why: str) -> None:
        """Refuse every change from now on, saying why; an empty text allows them again."""
        for annotation in self._annotations.values():
            annotation.read_only = bool(why)
        super().be_read_only(why)

    def let_go(self) -> None:
        """Write what is not on disk yet and let others change the session."""
        try:
            self.close()
        finally:
            self._unlock()

    def close(self) -> None:
        """Write what is not on disk yet.

        Raises
        ------
        StorageError
            If something cannot be written; the rest is.
        """
        if self.why_read_only and any(annotation.has_unsaved_strokes for annotation in self._annotations.values()):
            raise StorageError(self.why_read_only)
        failures = []
        for annotation in self._annotations.values():
            try:
                annotation.flush()
            except StorageError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def move(self, path: str | Path) -> None:
        """Move the session folder ("Save as…").

        Parameters
        ----------
        path : path
            Must not exist yet, or be an empty folder.

        Raises
        ------
        InputError
            If there is something at the new place, or a round is running.
        StorageError
            If it cannot be moved; it stays where it was then.
        """
        self.refuse_if_read_only()
        self.close()
        running = [r.number for r in self.rounds() if r.status == "running" or r.is_being_written]
        if running:
            raise InputError(f"Round {running[0]} is running; stop it before the session is moved.")
        try:
            self._relocate(path)
        finally:
            for volume, annotation in self._annotations.items():
                annotation.folder = self._folder(volume)
            if self.lock is not None:
                self.lock.folder = self.path

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
        looked_for: Collection[int] | None = None,
    ) -> VolumeRecord:
        """Add an image, and what is labelled on it already.

        Parameters
        ----------
        source : path
        labels : path, optional
            Mask on the image's grid; see `napari_semiseg.session.masks.from_mask`.
        complete_slices : collection of int
            Further planes that are complete.
        axis, frame, series, replace_nonfinite
            See `napari_semiseg.io.read_volume`.
        looked_for : collection of int, optional
            See `look_for`.

        Raises
        ------
        InputError
            If image, mask, plane numbers or classes cannot be used; the session is left as it was.
        StorageError
        """
        self.refuse_if_read_only()
        source = Path(source).absolute()
        volume = io.read_volume(source, axis=axis, frame=frame, series=series, replace_nonfinite=replace_nonfinite)
        mask = io.read_mask(labels, volume.geometry) if labels is not None else None
        planes = volume.geometry.shape[0]
        beyond = [plane for plane in complete_slices if not 0 <= plane < planes]
        if beyond:
            raise InputError(f"{source} has slices 0 to {planes - 1}; slice {beyond[0]} cannot be complete.")
        said, states = from_mask(mask, volume.geometry.shape, complete_slices)
        record = record_of(self._free_volume_id(volume.name), volume, source, replaced=replace_nonfinite)
        if looked_for is not None:
            record = looking_for(
                record, looked_for, with_ids(self.classes, set(np.unique(said).tolist()) - {0, UNSAID})
            )
        with self._undone_on_failure(record.id):
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
        self.refuse_if_read_only()
        volume_id = self._free_volume_id(name)
        folder = self._folder(volume_id)
        with self._undone_on_failure(volume_id):
            with storing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            source = folder / "image.nii.gz"
            io.write_map(source, np.asarray(data, dtype=np.float32), geometry)
            stored = io.read_volume(source, axis=geometry.axes[0])
            record = record_of(volume_id, stored, source, name=name)
            return self._add(record, *from_mask(None, stored.geometry.shape, ()))

    def _free_volume_id(self, name: str) -> str:
        """Return an id that no volume has and no folder, be it the leftover of a crash."""
        folder = self.path / "volumes"
        with storing(folder):
            leftovers = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return safe_id(name, leftovers | set(self.volumes))

    @contextmanager
    def _undone_on_failure(self, volume_id: str) -> Iterator[None]:
        """Remove the folder of a volume that could not be added."""
        try:
            yield
        except BaseException:
            if volume_id not in self.volumes:
                shutil.rmtree(self._folder(volume_id), ignore_errors=True)
            raise

    def _add(self, record: VolumeRecord, said: np.ndarray, states: list[SliceState]) -> VolumeRecord:
        annotation = Annotation.create(self._folder(record.id), record.geometry.shape)
        for plane, state in enumerate(states):
            if state != SliceState.UNLABELLED:
                annotation.set_plane(plane, said[plane])
                annotation.set_state(plane, state)
        annotation.flush()
        classes = with_ids(self.classes, {int(i) for i in np.unique(said)} - {0, UNSAID})
        grown = len(classes) > len(self.classes)
        self._commit(classes=classes, volumes={**self.volumes, record.id: record})
        self._annotations[record.id] = annotation
        self.volumes_changed.emit()
        if grown:
            self.classes_changed.emit()
        return record

    def load_volume(self, volume_id: str) -> Volume:
        """Read a volume's image.

        Raises
        ------
        InputError
            If the file was moved or is not the one that was annotated.
        """
        volume = read_image(self._record(volume_id), verify=volume_id not in self._verified)
        self._verified.add(volume_id)
        return volume

    def annotation(self, volume_id: str) -> Annotation:
        """Return what was painted on a volume; the same object at every call.

        Raises
        ------
        InputError
            If its files are damaged.
        """
        with self._opening:  # two threads must not mend the same files
            if volume_id not in self._annotations:
                record = self._record(volume_id)
                annotation = self._open_annotation(record)
                annotation.read_only = bool(self.why_read_only)
                self._annotations[volume_id] = annotation
                if annotation.healed:
                    planes = ", ".join(map(str, annotation.healed))
                    self._report(
                        f"{record.name}: slice {planes} was painted when the program ended; it counts as scribbled now."
                    )
            return self._annotations[volume_id]

    def release(self, volume_id: str) -> None:
        """Write what is painted on a volume and let go of it; the next call of `annotation` reads it anew.

        Raises
        ------
        StorageError
            If it cannot be written; then it is kept.
        """
        annotation = self._annotations.get(volume_id)
        if annotation is not None:
            if annotation.read_only and annotation.has_unsaved_strokes:
                raise StorageError(self.why_read_only)
            annotation.flush()
            del self._annotations[volume_id]

    @contextmanager
    def visiting(self, volume_id: str) -> Iterator[Annotation]:
        """Lend what was painted on a volume; what was not at hand before is let go of afterwards."""
        kept = volume_id in self._annotations
        try:
            yield self.annotation(volume_id)
        finally:
            if not kept:
                self.release(volume_id)

    def _open_annotation(self, record: VolumeRecord) -> Annotation:
        """Read an annotation; if it is damaged and this program holds the session, it is mended and that is told."""
        folder, shape = self._folder(record.id), record.geometry.shape
        try:
            return Annotation.open(folder, shape)
        except NewerError:
            raise
        except InputError:
            if self.lock is None or not folder.is_dir():
                raise
            annotation, sentence = mended_annotation(self.path, folder, shape)
            self._report(f"{record.name}: {sentence}")
            return annotation

    def _record(self, volume_id: str) -> VolumeRecord:
        if volume_id not in self.volumes:
            raise InputError(f"The session has no volume {volume_id!r}; it has {', '.join(self.volumes) or 'none'}.")
        return self.volumes[volume_id]

    def _folder(self, volume_id: str) -> Path:
        return self.path / "volumes" / volume_id

    def look_for(self, volume_id: str, class_ids: Collection[int] | None) -> VolumeRecord:
        """Say which classes are looked for in a volume; what is background there may be one of the others.

        Parameters
        ----------
        volume_id : str
        class_ids : collection of int, or None
            None for all, those to come as well.

        Raises
        ------
        InputError
            If there is no such volume or class, or none is named.
        """
        record = looking_for(self._record(volume_id), class_ids, self.classes)
        self._commit(volumes={**self.volumes, volume_id: record})
        self.volumes_changed.emit()
        return record

    # -- classes ----------------------------------------------------------------------------------------------

    def add_class(self, name: str, colour: str | None = None, key: str | None = None) -> LabelClass:
        """Add a class with the next free id; one that an earlier round knew is not given out again.

        Raises
        ------
        InputError
            If 254 classes exist, the name is taken, or colour or key cannot be used.
        """
        added = new_class(self.classes, free_id(self.classes, self._ids_of_rounds()), name, colour, key)
        self._commit(classes=[*self.classes, added])
        self.classes_changed.emit()
        return added

    def set_classes(self, classes: Sequence[LabelClass]) -> None:
        """Replace the table of classes of a session that has no round yet.

        Raises
        ------
        InputError
            If there is a round, whose model would mean other classes.
        """
        if self.rounds():
            raise InputError("The session has trained rounds; change its classes one by one.")
        self._commit(classes=list(classes))
        self.classes_changed.emit()

    def update_class(
        self,
        class_id: int,
        *,
        name: str | None = None,
        colour: str | None = None,
        key: str | None = None,
        locked: bool | None = None,
    ) -> LabelClass:
        """Rename, recolour or lock a class, or give it another key; a key that another class has moves over.

        Raises
        ------
        InputError
            If there is no such class, the name is taken, or a value cannot be used.
        """
        table = changed_classes(self.classes, class_id, name=name, colour=colour, key=key, locked=locked)
        self._commit(classes=table)
        self.classes_changed.emit()
        return table[index_of(table, class_id)]

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
        self.refuse_if_read_only()
        index = index_of(self.classes, class_id)
        painted: dict[str, list[int]] = {}
        for volume_id in self.volumes:
            with self.visiting(volume_id) as annotation:
                painted[volume_id] = np.flatnonzero((annotation.said == class_id).any(axis=(1, 2))).tolist()
        count = sum(len(planes) for planes in painted.values())
        if count and not erase:
            raise InputError(
                f"The class {self.classes[index].name!r} is painted on {count} slice{'s' * (count > 1)}; "
                "confirm that it may be erased there."
            )
        for volume_id, planes in painted.items():
            with self.visiting(volume_id) as annotation:
                for plane in planes:
                    said = annotation.said[plane].copy()
                    said[said == class_id] = UNSAID
                    annotation.set_plane(plane, said)
                    self.slice_changed.emit(volume_id, plane)
                annotation.flush()
        kept = [c for c in self.classes if c.id != class_id]
        self._commit(classes=kept, volumes=without_class(self.volumes, class_id))
        self.classes_changed.emit()

    def _ids_of_rounds(self) -> set[int]:
        return {class_id for earlier in self.rounds() for class_id in earlier.class_ids}

    # -- rounds -----------------------------------------------------------------------------------------------

    def rounds(self) -> list[Round]:
        """Return all rounds, the oldest first."""
        return rounds_in(self.path / "rounds")

    def recent_rounds(self) -> list[Round]:
        """Return all rounds in the order in which they count: a restored one after those that it replaced."""
        return by_recency(self.path / "rounds", self.rounds())

    def restore_round(self, number: int) -> Round:
        """Have a round's prediction be the current one and the next training continue it, until that has a model.

        Raises
        ------
        InputError
            If there is no such round, or it has no model that segments.
        StorageError
        """
        self.refuse_if_read_only()
        found = restore(self.path / "rounds", self.rounds(), number)
        self.rounds_changed.emit()
        return found

    def latest_round(self, finished: bool = True) -> Round | None:
        """Return the last round; with ``finished`` the last one that has a model which segments."""
        for found in reversed(self.recent_rounds()):
            if not finished or found.segments:
                return found
        return None

    def latest_pretraining(self) -> Round | None:
        """Return the last round that has a model which segments nothing."""
        return next((found for found in reversed(self.rounds()) if found.has_model and not found.segments), None)

    def latest_prediction(self, volume_id: str) -> StoredPrediction | None:
        """Return the newest prediction of a volume, of whichever round."""
        for found in reversed(self.recent_rounds()):
            prediction = found.prediction(volume_id)
            if prediction is not None:
                return prediction
        return None

    def new_round(self, plan: Plan) -> Round:
        """Create the folder of the next round and note what it is asked for; nothing runs yet.

        What was painted up to now is written first, for it is what the round learns from.

        Raises
        ------
        InputError
            If the plan names a round to start from that does not exist or has no model, or an unknown volume.
        StorageError
        """
        self.refuse_if_read_only()
        self.close()
        held_out = settle(self) if plan.hold_out else {}
        continues, pretrained = beginnings(self.recent_rounds(), plan)
        created = new_round_in(
            self.path / "rounds",
            plan={**plan.model_dump(), "volumes": chosen(self.volumes, plan.volumes) if plan.volumes else []},
            classes=[c.model_dump() for c in self.classes],
            digests=self.digests(),
            held_out=held_out,
            continues=continues,
            pretrained=pretrained,
        )
        self.rounds_changed.emit()
        return created

    def training_volume(
        self,
        volume_id: str,
        since: Round | None = None,
        class_ids: Sequence[int] | None = None,
        *,
        round_: Round | None = None,
    ) -> TrainingVolume:
        """Return what the engine learns from one volume.

        Parameters
        ----------
        volume_id : str
        since : Round, optional
            Annotated planes whose labels changed after this round began, or are new since, count as corrected.
        class_ids : sequence of int, optional
            Class id of each class index, those of the session by default; a model may know others.
        round_ : Round, optional
            The slices that this round sets aside are.

        Raises
        ------
        InputError
            If the image is gone or was changed.
        """
        before = None if since is None else since.digests.get(volume_id, {})
        annotation = self.annotation(volume_id)
        held_out = {} if round_ is None else round_.config.get("held_out", {})
        honest = {} if round_ is None else judged(self.rounds(), round_)
        class_ids = class_ids or self.class_ids
        found = to_training(
            self.load_volume(volume_id),
            volume_id,
            annotation,
            class_ids,
            before,
            held_out.get(volume_id, ()),
            honest.get(volume_id, ()),
        )
        unsought = self.volumes[volume_id].unsought(class_ids)
        return replace(found, unsought=frozenset(i for i, c in enumerate(class_ids) if c in unsought))

    def training_volumes(
        self, since: Round | None = None, round_: Round | None = None
    ) -> tuple[list[TrainingVolume], tuple[int, ...]]:
        """Return what the engine learns from.

        Parameters
        ----------
        since, round_ : Round, optional
            See `training_volume`.

        Returns
        -------
        volumes : list of TrainingVolume
            Labels are class indices.
        class_ids : tuple of int
            Class id of each index; the first is 0.
        """
        volumes = [self.training_volume(volume_id, since, round_=round_) for volume_id in self.volumes]
        return volumes, self.class_ids

    def digests(self) -> dict[str, dict[str, str]]:
        """Return the fingerprint of every annotated plane, by volume and plane; without volumes that are damaged."""
        found: dict[str, dict[str, str]] = {}
        for volume_id in self.volumes:
            with suppress(InputError), self.visiting(volume_id) as annotation:
                found[volume_id] = {str(p): annotation.digest(p) for p in annotation.annotated_planes()}
        return found
