"""The session folder: everything an annotator did and everything a model produced."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_semiseg import io
from napari_semiseg.data.volumes import UNSAID, TrainingVolume
from napari_semiseg.errors import InputError
from napari_semiseg.io import Geometry, Volume
from napari_semiseg.session.adding import Addition, free_volume_id, labelled, stored
from napari_semiseg.session.annotation import Annotation
from napari_semiseg.session.beginnings import beginnings
from napari_semiseg.session.choosing import chosen, looking_for, without_class
from napari_semiseg.session.classes import index_of, with_ids
from napari_semiseg.session.folder import SessionFolder
from napari_semiseg.session.holding import judged, settle
from napari_semiseg.session.images import read_image
from napari_semiseg.session.open_annotations import OpenAnnotations
from napari_semiseg.session.rounds import Round, new_round_in
from napari_semiseg.session.schema import SessionFile, VolumeRecord
from napari_semiseg.session.training import to_training

if TYPE_CHECKING:
    from napari_semiseg.engine.plan import Plan


class Session(SessionFolder):
    """A session folder that is open: its tables, and what is painted on its volumes.

    Attributes and further signals are those of `SessionFolder`.

    Signals
    -------
    slice_changed(volume id, plane)
        The session itself changed what is painted.
    """

    slice_changed = Signal(str, int)

    def __init__(self, path: Path, content: SessionFile) -> None:
        super().__init__(path, content)
        self._annotations = OpenAnnotations(self)
        self._verified: set[str] = set()

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
        self._annotations.flush()

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
            self._annotations.follow()
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
        volume_id = self._free_volume_id(volume.name)
        addition = labelled(volume, volume_id, source, labels, complete_slices, replace_nonfinite)
        if looked_for is not None:
            known = with_ids(self.classes, addition.class_ids)
            addition = replace(addition, record=looking_for(addition.record, looked_for, known))
        with self._undone_on_failure(volume_id):
            return self._add(addition)

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
        with self._undone_on_failure(volume_id):
            return self._add(stored(data, geometry, name, self.volume_folder(volume_id)))

    def _free_volume_id(self, name: str) -> str:
        return free_volume_id(name, self.path / "volumes", self.volumes)

    @contextmanager
    def _undone_on_failure(self, volume_id: str) -> Iterator[None]:
        """Remove the folder of a volume that could not be added."""
        try:
            yield
        except BaseException:
            if volume_id not in self.volumes:
                shutil.rmtree(self.volume_folder(volume_id), ignore_errors=True)
            raise

    def _add(self, addition: Addition) -> VolumeRecord:
        record = addition.record
        annotation = addition.write_annotation(self.volume_folder(record.id))
        with self._changing:
            classes = with_ids(self.classes, addition.class_ids)
            grown = len(classes) > len(self.classes)
            self._commit(classes=classes, volumes={**self.volumes, record.id: record})
        self._annotations.put(record.id, annotation)
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
        volume = read_image(self.record(volume_id), verify=volume_id not in self._verified)
        self._verified.add(volume_id)
        return volume

    def annotation(self, volume_id: str) -> Annotation:
        """Return what was painted on a volume; the same object at every call.

        Raises
        ------
        InputError
            If its files are damaged.
        """
        return self._annotations.get(volume_id)

    def release(self, volume_id: str) -> None:
        """Write what is painted on a volume and let go of it; the next call of `annotation` reads it anew.

        Raises
        ------
        StorageError
            If it cannot be written; then it is kept.
        """
        self._annotations.release(volume_id)

    def visiting(self, volume_id: str) -> AbstractContextManager[Annotation]:
        """Lend what was painted on a volume; what was not at hand before is let go of afterwards."""
        return self._annotations.visiting(volume_id)

    # -- classes ----------------------------------------------------------------------------------------------

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
        name = self.classes[index_of(self.classes, class_id)].name
        count = 0 if erase else sum(self.count_painted(class_id, volume_id) for volume_id in self.volumes)
        if count:
            raise InputError(
                f"The class {name!r} is painted on {count} slice{'s' * (count > 1)}; "
                "confirm that it may be erased there."
            )
        for volume_id in self.volumes if erase else ():
            self.erase_class(class_id, volume_id)
        self.drop_class(class_id)

    def count_painted(self, class_id: int, volume_id: str) -> int:
        """Return on how many slices of a volume a class is painted."""
        with self.visiting(volume_id) as annotation:
            return len(annotation.planes_with(class_id))

    def erase_class(self, class_id: int, volume_id: str) -> int:
        """Make what is painted of a class on a volume unpainted; return on how many slices that was.

        Raises
        ------
        InputError, StorageError
        """
        self.refuse_if_read_only()
        with self.visiting(volume_id) as annotation:
            planes = annotation.planes_with(class_id)
            for plane in planes:
                said = annotation.said[plane].copy()
                said[said == class_id] = UNSAID
                annotation.set_plane(plane, said)
                self.slice_changed.emit(volume_id, plane)
            annotation.flush()
        return len(planes)

    def drop_class(self, class_id: int) -> None:
        """Take a class out of the table; nothing may be painted of it any more.

        Raises
        ------
        InputError
            If there is no such class.
        StorageError
        """
        index_of(self.classes, class_id)
        with self._changing:
            kept = [c for c in self.classes if c.id != class_id]
            self._commit(classes=kept, volumes=without_class(self.volumes, class_id))
            self._past_ids.add(class_id)  # a round may have been made since those of the rounds were read
        self.classes_changed.emit()

    # -- rounds -----------------------------------------------------------------------------------------------

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
        held_out = settle(self, plan.volumes) if plan.hold_out else {}
        continues, pretrained = beginnings(self.recent_rounds(), plan)
        created = new_round_in(
            self.path / "rounds",
            plan={**plan.model_dump(), "volumes": chosen(self.volumes, plan.volumes) if plan.volumes else []},
            classes=[c.model_dump() for c in self.classes],
            digests=self.digests(plan.volumes),
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

    def digests(self, volumes: Sequence[str] = ()) -> dict[str, dict[str, str]]:
        """Return the fingerprint of every annotated plane of some volumes, or all, by volume and plane.

        Without volumes that are damaged.
        """
        found: dict[str, dict[str, str]] = {}
        for volume_id in chosen(self.volumes, volumes):
            with suppress(InputError), self.visiting(volume_id) as annotation:
                found[volume_id] = annotation.digests()
        return found
